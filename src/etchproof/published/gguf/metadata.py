"""A GGUF file's metadata: values with the types that the file gives them, each checked as it is taken."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NoReturn

import numpy as np

from etchproof.errors import InputError, shown, shown_name

INTEGERS: Final[dict[int, tuple[str, np.dtype[Any]]]] = {
    0: ("UINT8", np.dtype("u1")),
    1: ("INT8", np.dtype("i1")),
    2: ("UINT16", np.dtype("<u2")),
    3: ("INT16", np.dtype("<i2")),
    4: ("UINT32", np.dtype("<u4")),
    5: ("INT32", np.dtype("<i4")),
    10: ("UINT64", np.dtype("<u8")),
    11: ("INT64", np.dtype("<i8")),
}
FLOATS: Final[dict[int, tuple[str, np.dtype[Any]]]] = {
    6: ("FLOAT32", np.dtype("<f4")),
    12: ("FLOAT64", np.dtype("<f8")),
}
BOOL, STRING, ARRAY = 7, 8, 9

_WHOLE: Final = frozenset(name for name, _ in INTEGERS.values())
_REAL: Final = frozenset(name for name, _ in FLOATS.values())


@dataclass(frozen=True)
class Value:
    """One value.

    Attributes:
        kind: its type, such as "UINT32", or of an array the type of its elements.
        value: int, float, bool or bytes (a string, not decoded yet); of an array, a list of those.
        array: whether it is an array.
    """

    kind: str
    value: Any
    array: bool = False

    def __str__(self) -> str:
        if self.array:
            return f"an array of {len(self.value)} {self.kind}"
        value = self.value.decode("utf-8", "replace") if isinstance(self.value, bytes) else self.value
        return f"{shown(value)} ({self.kind})"


class Metadata:
    """All values of a file by key.

    Args:
        values: by key.
        source: the file, for messages.
    """

    def __init__(self, values: Mapping[str, Value], source: Path) -> None:
        self._values, self.source = values, source

    def __contains__(self, key: str) -> bool:
        return key in self._values

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def shown(self, key: str) -> str:
        """A value, for messages."""
        return str(self._values[key])

    def raw(self, key: str) -> Any:
        """A value as Python has it, a string decoded; of an array, its list; None where there is none."""
        found = self._values.get(key)
        if found is None or found.array or not isinstance(found.value, bytes):
            return None if found is None else found.value
        return self.text(key)

    def whole(self, key: str, *, default: int | None = None) -> int:
        """An integer; without ``default`` the file has to have it.

        Raises:
            InputError: it is missing, or no integer.
        """
        return int(self._one(key, _WHOLE, "an integer", default))

    def real(self, key: str, *, default: float | None = None) -> float:
        """A floating-point number, as the file holds it: a FLOAT32 is not rounded to fewer digits.

        Raises:
            InputError: it is missing, no such number, or NaN or infinite.
        """
        found = float(self._one(key, _REAL, "a floating-point number", default))
        if not np.isfinite(found):
            self.refuse(f"is {found}, expected a finite number", key)
        return found

    def flag(self, key: str, *, default: bool | None = None) -> bool:
        """True or false; errors as of ``whole``."""
        return bool(self._one(key, ("BOOL",), "true or false (BOOL)", default))

    def text(self, key: str, *, default: str | None = None) -> str:
        """A string; errors as of ``whole``, or it is no UTF-8."""
        found = self._one(key, ("STRING",), "a text (STRING)", default)
        return found if isinstance(found, str) else self._decoded(found, key, "")

    def texts(self, key: str) -> list[str]:
        """An array of strings, which the file has to have; errors as of ``text``."""
        return [
            self._decoded(value, key, f"[{at}]") for at, value in enumerate(self._array(key, ("STRING",)))
        ]

    def wholes(self, key: str) -> list[int]:
        """An array of integers, which the file has to have; errors as of ``whole``."""
        return self._array(key, _WHOLE)

    def reals(self, key: str) -> list[float]:
        """An array of floating-point numbers, which the file has to have; errors as of ``whole``."""
        return self._array(key, _REAL)

    def refuse(self, problem: str, key: str, hint: str | None = None) -> NoReturn:
        """``InputError`` about one key."""
        raise InputError(problem, source=self.source, key=shown_name(key), hint=hint)

    def _one(self, key: str, kinds: Collection[str], expected: str, default: Any) -> Any:
        found = self._values.get(key)
        if found is None:
            if default is None:
                self.refuse(f"is missing, expected {expected}", key)
            return default
        if found.array or found.kind not in kinds:
            self.refuse(f"is {found}, expected {expected}", key)
        return found.value

    def _array(self, key: str, kinds: Collection[str]) -> list[Any]:
        found, expected = self._values.get(key), " or ".join(sorted(kinds))
        if found is None:
            self.refuse(f"is missing, expected an array of {expected}", key)
        if not found.array or (found.kind not in kinds and found.value):
            self.refuse(f"is {found}, expected an array of {expected}", key)
        values: list[Any] = found.value
        return values

    def _decoded(self, value: bytes, key: str, at: str) -> str:
        try:
            return value.decode("utf-8")
        except UnicodeDecodeError as error:
            self.refuse(f"{at and f'{at} '}is no UTF-8 at its byte {error.start}", key)
