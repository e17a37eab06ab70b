"""Opening what others wrote: a regular file of a sensible size, or refused at once and by name.

A FIFO, a device, a socket or a folder in place of a file would hang a reader, fill memory, or fail deep inside a
library. Every loader opens its file here.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import BinaryIO, Final

from etchproof.errors import InputError

SMALL_BYTES: Final = 64 << 20
"""The most that a configuration, list or record may hold; the largest real ``tokenizer.json`` is below 40 MB."""

_KINDS: Final = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a FIFO"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def open_regular(path: str | Path) -> BinaryIO:
    """A regular file, or a link to one, opened for reading bytes. Nothing else is opened, and nothing blocks.

    Raises:
        InputError: there is no such file, the path is unusable, it is no regular file, or it cannot be read.
    """
    try:
        _refuse_irregular(os.stat(path), path)  # before opening: opening a device may do something
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            _refuse_irregular(os.fstat(descriptor), path)  # another may have come in its place
            os.set_blocking(descriptor, True)
            return os.fdopen(descriptor, "rb")
        except BaseException:
            os.close(descriptor)
            raise
    except FileNotFoundError:
        raise InputError("file not found", source=path) from None
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", source=path) from None
    except ValueError as error:  # NUL, or half of a surrogate pair
        raise InputError(f"is no usable path: {error}", source=path) from None


def check_regular(path: str | Path) -> None:
    """What ``open_regular`` refuses, for a library that opens the file itself."""
    open_regular(path).close()


def exists(path: str | Path) -> bool:
    """Whether there is something at ``path``, of whatever kind; a dangling link is there too.

    Raises:
        InputError: the path is unusable or cannot be looked at.
    """
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", source=path) from None
    except ValueError as error:
        raise InputError(f"is no usable path: {error}", source=path) from None
    return True


def check_writable(path: Path, key: str) -> None:
    """Look whether a file can come to ``path``, before the work for it begins; a regular file there is replaced.

    Raises:
        InputError: something else is there, the folder is not, or the name cannot be one.
    """
    if exists(path):
        try:
            _refuse_irregular(os.stat(path), path)
        except FileNotFoundError:
            raise InputError("is a link to nothing", source=path, key=key) from None
        except OSError as error:
            raise InputError(f"cannot be used: {error.strerror}", source=path, key=key) from None
    elif not path.absolute().parent.is_dir():
        raise InputError("lies in a folder that is not there", source=path, key=key)


def read_bytes(path: str | Path, limit_bytes: int = SMALL_BYTES) -> bytes:
    """A small regular file, whole.

    Raises:
        InputError: as ``open_regular``, or the file holds more than ``limit_bytes``.
    """
    try:
        with open_regular(path) as stream:
            content = stream.read(limit_bytes + 1)
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", source=path) from None
    if len(content) > limit_bytes:
        raise InputError(f"holds more than {limit_bytes:,} bytes, the most of such a file", source=path)
    return content


def read_text(path: str | Path, limit_bytes: int = SMALL_BYTES) -> str:
    """A small regular file of UTF-8 text.

    Raises:
        InputError: as ``read_bytes``, or the bytes are no UTF-8.
    """
    try:
        return read_bytes(path, limit_bytes).decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"is not UTF-8 text at byte {error.start}", source=path) from None


def _refuse_irregular(found: os.stat_result, path: str | Path) -> None:
    if not stat.S_ISREG(found.st_mode):
        kind = next((name for test, name in _KINDS if test(found.st_mode)), "something else")
        raise InputError(f"is {kind}, expected a regular file", source=path)
