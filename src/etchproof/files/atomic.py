"""Files that are written whole or not at all, and never through a link that somebody left in their place."""

from __future__ import annotations

import os
from pathlib import Path


def write_atomically(path: Path, content: str | bytes) -> None:
    """Put a file in place in one step; what stood there, a symbolic link too, is replaced and not followed.

    Text is UTF-8.

    Raises:
        OSError: it cannot be written; then nothing of it is left, and what stood there before stays.
    """
    raw = content.encode() if isinstance(content, str) else content
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    partial.unlink(missing_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    try:
        with open(os.open(partial, flags, 0o666), "wb") as stream:
            stream.write(raw)
            stream.flush()
            os.fsync(stream.fileno())
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
