"""The inner side of ``pool``: makes a case, loads it, and says in one line of JSON what came of it.

It is started as ``python -m tests.fuzz.worker TABLE SEEDS WORK EXTRA_BYTES``. A line that comes in is
``LOADER NUMBER``. Two lines go out: one when the input lies there, from when on the time counts, and one with the
outcome.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import resource
import shutil
import sys
import traceback
import warnings
from pathlib import Path
from typing import Any, Final

from etchproof.errors import InputError
from tests.fuzz.table import AS_IT_IS, Loader, loaders, make_case

LONGEST: Final = 1000
"""Characters of a message that a person still reads."""


def outcome(loader: Loader, folder: Path, number: int) -> tuple[str, str]:
    """("clean" or "refused" or "failed", what was said)."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            loader.load(folder)
    except InputError as error:
        said = str(error)
        if number == AS_IT_IS:
            return "failed", f"refuses the valid input: {said}"
        if problem := bad_message(said):
            return "failed", f"the message {problem}: {ascii(said)[:300]}"
        return "refused", said
    except MemoryError as error:
        error.__traceback__ = None
        return "failed", "takes more memory than a loader may"
    except BaseException as error:  # a panic of a Rust library derives from it
        where = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{Path(where.filename).name}:{where.lineno}"
        return "failed", f"{type(error).__name__} at {place}: {ascii(str(error))[:300]}"
    return "clean", ""


def bad_message(said: str) -> str | None:
    """What is wrong with a message; None where it is one line that a person can read."""
    if len(said.splitlines()) != 1:
        return "is not one line"
    if not said.isprintable():
        return "cannot be printed"
    if len(said) > LONGEST:
        return f"has {len(said):,} characters"
    return None


def limit_memory(extra_bytes: int) -> None:
    """What this process holds now and ``extra_bytes`` more, of memory of its own: a file that is mapped is none."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    held = next(int(line.split()[1]) << 10 for line in status.splitlines() if line.startswith("VmData:"))
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (held + extra_bytes, hard))


def main() -> None:
    table, seeds, work, extra_bytes = (
        loaders(sys.argv[1]),
        Path(sys.argv[2]),
        Path(sys.argv[3]),
        int(sys.argv[4]),
    )
    replies = os.fdopen(os.dup(1), "w", encoding="ascii")
    os.dup2(2, 1)  # what a loader prints is no reply
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    os.chdir(work)
    warm: set[str] = set()

    def reply(**content: Any) -> None:
        replies.write(json.dumps(content) + "\n")
        replies.flush()

    for line in sys.stdin:
        name, number = line.split()
        loader, folder = table[name], work / "case"
        resource.setrlimit(resource.RLIMIT_DATA, (hard, hard))
        if name not in warm:  # what it imports is not the input's memory
            warm.add(name)
            shutil.copytree(seeds / name, folder, symlinks=True)
            with contextlib.suppress(Exception):
                loader.load(folder)
            shutil.rmtree(folder)
            gc.collect()
            gc.freeze()  # PyTorch's million objects are not looked through for each case
        try:
            make_case(loader, seeds / name, int(number), folder)
        except Exception:
            reply(made=False, said=traceback.format_exc())
            raise
        gc.collect()
        reply(made=True)
        limit_memory(extra_bytes)
        how, said = outcome(loader, folder, int(number))
        resource.setrlimit(resource.RLIMIT_DATA, (hard, hard))
        shutil.rmtree(folder, ignore_errors=True)
        reply(how=how, said=said)


if __name__ == "__main__":
    main()
