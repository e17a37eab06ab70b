"""The two ways in which Etchproof says no.

``InputError`` is the user's to mend (exit code 2); every other exception is a bug of ours and shows a traceback.
A verdict of FAIL is a result, not an exception.
"""

from __future__ import annotations

import errno
import os
import sysconfig
import traceback
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


SHOWN_CHARS: Final = 80
_MOST_CHARS: Final = 1000  # of a line


def shown(value: object) -> str:
    """A value as an error line shows it: printable ASCII, at most ``SHOWN_CHARS`` characters."""
    text = ascii(value)
    return text if len(text) <= SHOWN_CHARS else f"{text[: SHOWN_CHARS - 3]}..."


def shown_name(name: str) -> str:
    """A key or tensor name as it stands; escaped where it cannot be printed, cut where it has no end."""
    return _cut(name, 200) if name.isprintable() else shown(name)


def named(path: str | Path) -> str:
    """A path as an error line shows it: escaped where it cannot be printed, cut where it has no end."""
    text = str(path)
    return _cut(text if text.isprintable() else ascii(text), 400)


def _cut(text: str, most: int) -> str:
    """Text of at most ``most`` characters; of a longer one its begin, and its end, which tells what it was."""
    return text if len(text) <= most else f"{text[: most - 103]}...{text[-100:]}"


class EtchproofError(Exception):
    """Base of everything Etchproof raises on purpose."""


class InputError(EtchproofError):
    """Bad input or a missing tool: one line that names the file, the key, the value, and what to do.

    The line can be printed, whatever the input held: other characters are escaped, and a line that has no end is cut in
    its middle.

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
        where = [named(source)] if source is not None else []
        where += [key] if key is not None else []
        line = ": ".join([*where, problem])
        if hint:
            line = f"{line} ({hint})"
        super().__init__(_printable(" ".join(line.split())))


def _printable(line: str) -> str:
    if not line.isprintable():
        line = "".join(sign if sign.isprintable() else ascii(sign)[1:-1] for sign in line)
    return _cut(line, _MOST_CHARS)


def own_line(error: BaseException) -> str:
    """Where an error of a project's code is: the innermost place in no library, else the innermost of all."""
    places = traceback.extract_tb(error.__traceback__)
    libraries = (sysconfig.get_path("stdlib"), sysconfig.get_path("purelib"), sysconfig.get_path("platlib"))
    own = [place for place in places if not place.filename.startswith((*libraries, "<"))] or places[-1:]
    return f"{Path(own[-1].filename).name}:{own[-1].lineno}"


def machine_trouble(error: Exception, place: str | Path | None = None) -> InputError | None:
    """What to say of an error that lies in the machine, not in the program: a full disk, a limit, no permission.

    Args:
        error: of a call to the operating system, or of a library that tells of one in its own words.
        place: the file or folder that was worked on, for an error that names none.

    Returns:
        None for an error of another kind: a bug of ours, or input that somebody has to mend.
    """
    if isinstance(error, InputError):
        return error if said_by_the_system(str(error)) else None
    number, file = (error.errno, error.filename) if isinstance(error, OSError) else (None, None)
    source = os.fsdecode(file) if isinstance(file, str | bytes) else place
    if number in _OF_THE_MACHINE:
        said, hint = os.strerror(number or 0), _LIMITS.get(number or 0)
    elif isinstance(error, OSError) and number is None and "written" in str(error):
        said, hint = f"{error}; the disk may be full", None  # NumPy's, of a write that was cut short
    elif not isinstance(error, OSError) and (found := said_by_the_system(str(error))):
        said, hint = found, None
    else:
        return None
    return InputError(
        f"cannot be used: {said}" if source else f"the system refuses: {said}", source=source, hint=hint
    )


def said_by_the_system(text: str) -> str | None:
    """The first complaint of a full disk or a limit in what a program printed; None where there is none."""
    for number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS):
        if (said := os.strerror(number)) in text:
            limit = _LIMITS.get(number)
            return f"{said}: {limit}" if limit else said
    return None
