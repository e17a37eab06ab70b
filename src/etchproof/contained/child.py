"""The inner side of ``etchproof.contained.parent``: limits, then one JSON object a line in, one out."""

from __future__ import annotations

import json
import math
import os
import resource
import sys
import time
from collections.abc import Callable
from typing import Any


class RefusedError(Exception):
    """What the input is not; the text completes "the file ..."."""


def serve(answer: Callable[[dict[str, Any]], Any]) -> None:
    """Answer requests until there are no more.

    Whatever is raised becomes an answer: a panic of a Rust library too, which derives from ``BaseException``.
    """
    cpu_s, memory_bytes, answer_bytes = map(int, sys.argv[1:4])
    replies = os.fdopen(os.dup(1), "w", encoding="ascii")
    os.dup2(2, 1)  # what a library prints is no answer
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    for line in sys.stdin.buffer:
        until = math.ceil(time.process_time()) + cpu_s
        resource.setrlimit(
            resource.RLIMIT_CPU, (until if hard == resource.RLIM_INFINITY else min(until, hard), hard)
        )
        try:
            reply = json.dumps({"answer": answer(json.loads(line))})
            if len(reply) > answer_bytes:
                raise RefusedError(f"makes more than {answer_bytes >> 20} MiB of it")
        except RefusedError as error:
            reply = json.dumps({"refused": str(error)})
        except MemoryError:
            reply = json.dumps({"refused": f"takes more than {memory_bytes >> 30} GiB of memory"})
        except BaseException as error:
            said = " ".join(str(error).split())[:200]
            reply = json.dumps({"refused": f"fails in the library: {said or type(error).__name__}"})
        replies.write(reply + "\n")
        replies.flush()
