"""Whether a file is still the one that was opened before."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from etchproof.errors import InputError


@dataclass(frozen=True)
class Stamp:
    """What a file's metadata said when it was opened; a later difference means that its bytes may differ."""

    size_bytes: int
    mtime_ns: int

    @classmethod
    def of(cls, path: Path) -> Stamp:
        """The stamp of a file as it is now.

        Raises:
            InputError: it cannot be looked at.
        """
        try:
            stat = path.stat()
        except OSError as error:
            raise InputError(f"cannot be read: {error.strerror}", source=path) from None
        return cls(stat.st_size, stat.st_mtime_ns)

    def check(self, path: Path) -> None:
        """Refuse a file that has another stamp now.

        Raises:
            InputError: it has, or cannot be looked at.
        """
        if Stamp.of(path) != self:
            raise InputError("was changed since it was opened", source=path, hint="load the checkpoint again")
