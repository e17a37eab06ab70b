"""A folder that one command at a time works in: a regression, a sign-off."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from filelock import FileLock, Timeout

from etchproof.errors import InputError, shown_name
from etchproof.files.atomic import write_atomically
from etchproof.files.json_file import read_json_object

LOCK_FILES: Final = frozenset({".lock", ".lock.json"})
"""What a lock leaves in its folder; neither counts as content."""


@contextlib.contextmanager
def hold(folder: Path) -> Iterator[None]:
    """Hold a folder, which is made when it is missing, for as long as the context lasts or this process lives.

    A folder that was made for this, and in which nothing came to lie, goes again.

    Raises:
        InputError: another process holds it, which is named, or the folder cannot be made.
    """
    holder = folder / ".lock.json"
    try:
        made = not folder.exists()
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / ".lock")
        lock.acquire(blocking=False)
    except Timeout:
        raise InputError(
            f"is in use by {_told(holder)}",
            source=folder,
            key="--out",
            hint="wait for it, or name another folder",
        ) from None
    except OSError as error:
        raise InputError(f"cannot be used: {error.strerror}", source=folder, key="--out") from error
    try:
        command = shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])
        since = time.strftime("%Y-%m-%d %H:%M:%S")
        write_atomically(holder, json.dumps({"pid": os.getpid(), "command": command, "since": since}))
        yield
    finally:
        holder.unlink(missing_ok=True)
        lock.release()
        if made and {path.name for path in folder.iterdir()} <= LOCK_FILES:
            shutil.rmtree(folder, ignore_errors=True)


def _told(holder: Path) -> str:
    try:
        found = read_json_object(holder)
        words = [shown_name(str(found[key])) for key in ("pid", "since", "command")]
        return "process {} since {}: {}".format(*words)
    except (InputError, KeyError):
        return "another process"
