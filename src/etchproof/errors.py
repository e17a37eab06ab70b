"""The two ways in which Etchproof says no.

``InputError`` is the user's to mend (exit code 2); every other exception is a bug of ours and shows a traceback.
A verdict of FAIL is a result, not an exception.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Final

_OF_THE_MACHINE: Final = frozenset(
    {
        *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO),
        *(
            errno.EMFILE,
            errno.ENFILE,
            errno.ENOMEM,
            errno.ENAMETOOLONG,
            errno.ELOOP,
            errno.ENOTDIR,
            errno.EISDIR,
        ),
    }
)
_LIMITS: Final = {
    errno.EFBIG: "the limit of a file's size (ulimit -f)",
    errno.EMFILE: "the limit of open files (ulimit -n)",
}


class EtchproofError(Exception):
    """Base of everything Etchproof raises on purpose."""


class InputError(EtchproofError):
    """Bad input or a missing tool: one line that names the file, the key, the value, and what to do.

    Args:
        problem: what is wrong, with the value ("hidden_size is 'abc', expected a positive integer").
        source: the file or folder in which it stands.
        key: the field, tensor or option at fault.
        hint: what to do about it.
    """

    def __init__(
        self,
        problem: str,
        *,
        source: str | Path | None = None,
        key: str | None = None,
        hint: str | None = None,
    ) -> None:
        self.problem, self.source, self.key, self.hint = problem, source, key, hint
        where = [str(part) for part in (source, key) if part is not None]
        line = ": ".join([*where, problem])
        if hint:
            line = f"{line} ({hint})"
        super().__init__(" ".join(line.split()))


def machine_trouble(error: OSError, place: str | Path | None = None) -> InputError | None:
    """What to say of an error that lies in the machine, not in the program: a full disk, a limit, no permission.

    Args:
        error: of a call to the operating system.
        place: the file or folder that was worked on, for an error that names none.

    Returns:
        None for an error of another kind, which is a bug of ours.
    """
    unwritten = error.errno is None and "written" in str(error)  # NumPy's, of a write that was cut short
    if error.errno not in _OF_THE_MACHINE and not unwritten:
        return None
    said = os.strerror(error.errno) if error.errno else f"{error}; the disk may be full"
    return InputError(
        f"cannot be used: {said}" if error.filename or place else f"the system refuses: {said}",
        source=os.fsdecode(error.filename) if isinstance(error.filename, str | bytes) else place,
        hint=_LIMITS.get(error.errno or 0),
    )


def said_by_the_system(text: str) -> str | None:
    """The first complaint of a full disk or a limit in what a program printed; None where there is none."""
    for number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS):
        if (said := os.strerror(number)) in text:
            limit = _LIMITS.get(number)
            return f"{said}: {limit}" if limit else said
    return None
