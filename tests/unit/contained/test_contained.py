"""``etchproof.contained.parent``: whatever happens in the child is one line here, in time and memory."""

from __future__ import annotations

import resource
import textwrap
import time
from pathlib import Path

import pytest

from etchproof.contained.parent import Child, ContainedError

CPU_S = 1

HOW = {
    "hang": ("while True: pass", f"took more than {CPU_S} seconds of processor time"),
    "memory": ("return len(bytearray(4 << 30))", "takes more than 1 GiB of memory"),
    "panic": ("raise BaseException('a panic')", "fails in the library: a panic"),
    "exit": ("import os; os._exit(3)", r"ended the process that read it \(3\)"),
    "abort": ("import os; os.abort()", "was aborted"),
    "much": ("return 'a' * (20 << 20)", "makes more than 16 MiB of it"),
    "refusal": ("raise RefusedError('is bad')", "is bad"),
}

SCRIPT = """
from etchproof.contained.child import RefusedError, serve

def answer(request):
{body}

serve(answer)
"""


def child(folder: Path, body: str) -> Child:
    script = folder / "child.py"
    script.write_text(SCRIPT.format(body=textwrap.indent(body, "    ")))
    return Child(script, CPU_S)


@pytest.mark.parametrize("how", HOW)
def test_one_line(tmp_path: Path, how: str) -> None:
    body, line = HOW[how]
    asked = child(tmp_path, body)
    begun = time.monotonic()
    with pytest.raises(ContainedError, match=line):
        asked.ask()
    assert time.monotonic() - begun < 25
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss < 1_200_000  # KiB
    if how != "hang":
        with pytest.raises(ContainedError, match=line):  # and again
            asked.ask()


def test_time_is_limited_by_request_and_not_in_all(tmp_path: Path) -> None:
    busy = "import time\nuntil = time.process_time() + request['s']\nwhile time.process_time() < until: pass\nreturn 1"
    asked = child(tmp_path, busy)
    for _ in range(4):
        assert asked.ask(s=CPU_S * 0.3) == 1


def test_what_a_library_prints_is_no_answer(tmp_path: Path) -> None:
    asked = child(tmp_path, "print('noise', flush=True)\nreturn request")
    assert asked.ask(a=[1], b="\u20ac") == {"a": [1], "b": "\u20ac"}
    asked.close()
    with pytest.raises(ContainedError, match="was closed"):
        asked.ask()
