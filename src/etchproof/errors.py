"""The two ways in which Etchproof says no.

``InputError`` is the user's to mend (exit code 2); every other exception is a bug of ours and shows a traceback.
A verdict of FAIL is a result, not an exception.
"""

from __future__ import annotations

from pathlib import Path


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
