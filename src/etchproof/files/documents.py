"""What people write by hand (YAML, TOML, Hjson), parsed: plain values of a sensible size, or refused in one line.

The formats can say more than any of our files needs: integers of thousands of digits, infinite numbers, text that is
no Unicode, lists within lists without end. A library may answer each in its own way, deep in its own code. They are
refused here, once, for every file.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from etchproof.errors import InputError, shown, shown_name
from etchproof.files.regular import read_text

LIMIT_BYTES: Final = 128 << 10
"""The most that a file written by hand may hold; our longest is below 20 KiB."""

MAX_DEPTH: Final = 32
"""Lists and mappings within one another."""


def read_document(path: Path, kind: str, parse: Callable[[str], Any], limit_bytes: int = LIMIT_BYTES) -> Any:
    """The values of a UTF-8 file.

    Args:
        kind: what the file is ("TOML"), for the message.
        parse: raises a ``ValueError`` of text that is not of this kind.
        limit_bytes: the most that it may hold; a file that a program wrote may be longer.

    Raises:
        InputError: the file cannot be read, is larger, is not of this kind, or holds a value that ``check_values``
            refuses.
    """
    text = read_text(path, limit_bytes)
    try:
        values = parse(text)
    except RecursionError:
        raise InputError(
            f"is not valid {kind}: it nests deeper than {MAX_DEPTH} levels", source=path
        ) from None
    except (ValueError, ArithmeticError, LookupError) as error:  # the last two are slips of a library
        raise InputError(f"is not valid {kind}: {error}", source=path) from None
    check_values(values, path)
    return values


def unique_keys(source: Path) -> Callable[[list[tuple[str, Any]]], dict[str, Any]]:
    """What makes an object of its pairs: the ``object_pairs_hook`` of a parser that would keep the last of two keys.

    Args:
        source: the file, for the ``InputError`` of a key that stands twice.
    """

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, value in pairs:
            if key in found:
                raise InputError("stands twice in one object", source=source, key=shown_name(key))
            found[key] = value
        return found

    return unique


def check_values(values: object, source: Path, *, depth: int = MAX_DEPTH, bits: int = 63) -> None:
    """Refuse what no file needs, wherever in ``values`` it stands.

    Args:
        depth: of lists and mappings within one another, at most.
        bits: of an integer without its sign, at most.

    Raises:
        InputError: text that is no Unicode or holds a NUL, a larger integer, a number that is not finite, more levels.
    """
    check_depth(values, source, depth)
    for key, value in _walk(values):
        if (problem := _problem(value, bits)) is not None:
            raise InputError(problem, source=source, key=key or None)


def check_depth(values: object, source: Path, depth: int) -> None:
    """Refuse lists and mappings that stand within one another more than ``depth`` deep.

    Raises:
        InputError: they do.
    """
    level: list[Any] = [values] if isinstance(values, dict | list) else []
    for _ in range(depth):
        below = [
            value
            for container in level
            for value in (container.values() if isinstance(container, dict) else container)
            if isinstance(value, dict | list)
        ]
        if not below:
            return
        level = below
    raise InputError(f"is nested more than {depth} levels deep", source=source)


def _walk(values: object) -> Iterator[tuple[str, object]]:
    """Each value with its key, keys as values of their own."""
    ahead: list[tuple[str, object]] = [("", values)]
    while ahead:
        key, value = ahead.pop()
        yield key, value
        if isinstance(value, dict):
            for name, inner in value.items():
                yield key, name
                text = shown_name(name) if isinstance(name, str) else shown(name)
                ahead.append((f"{key}.{text}"[-200:].lstrip("."), inner))
        elif isinstance(value, list):
            ahead += [(f"{key}[{index}]", inner) for index, inner in enumerate(value)]


def _problem(value: object, bits: int) -> str | None:
    match value:
        case str():
            if "\0" in value:
                return f"is {shown(value)}, expected text without NUL"
            try:
                value.encode()
            except UnicodeEncodeError:
                return f"is {shown(value)}, which holds half of a surrogate pair"
        case bool():
            return None
        case int() if value.bit_length() > bits:
            return f"is an integer of {value.bit_length()} bits, expected at most {bits}"
        case float() if not math.isfinite(value):
            return f"is {value}, expected a finite number"
    return None
