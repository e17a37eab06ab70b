"""JSON that others wrote, read strictly: every way in which a file can be bad is one ``InputError``.

Python's reader takes more than the standard does, and readers differ on what it means. A key that stands twice, NaN,
infinity, half of a surrogate pair, an integer without end and nesting without end are refused here.
"""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any, Final

from etchproof.errors import InputError
from etchproof.files import read_text

SHOWN_CHARS = 80
_SHOWN_NAME_CHARS: Final = 200

MAX_DEPTH: Final = 64
"""How deep lists and objects may stand in each other; a real file has less than ten levels."""

_MAX_DIGITS: Final = 40
_LONG_NUMBER: Final = re.compile(rf"\d{{{_MAX_DIGITS}}}|\d[eE]\+?\d{{3}}")


def shown(value: object) -> str:
    """A value as an error line shows it: printable ASCII, at most ``SHOWN_CHARS`` characters."""
    text = ascii(value)
    return text if len(text) <= SHOWN_CHARS else f"{text[: SHOWN_CHARS - 3]}..."


def shown_name(name: str) -> str:
    """A key or tensor name as it stands; escaped where it cannot be printed, cut where it has no end."""
    if not name.isprintable():
        return shown(name)
    return name if len(name) <= _SHOWN_NAME_CHARS else f"{name[: _SHOWN_NAME_CHARS - 3]}..."


def read_json_object(path: Path, limit_bytes: int = 4 << 20) -> dict[str, Any]:
    """The top-level object of a UTF-8 JSON file.

    Raises:
        InputError: as ``read_json``, or the file holds no object.
    """
    parsed = read_json(path, limit_bytes)
    if not isinstance(parsed, dict):
        raise InputError(f"holds {shown(parsed)}, expected a JSON object", source=path)
    return parsed


def read_json(path: Path, limit_bytes: int = 4 << 20) -> Any:
    """What a UTF-8 JSON file holds.

    Raises:
        InputError: the file is missing, unreadable, not UTF-8, not strict JSON (``parse_json``), or larger than
            ``limit_bytes``: parsed, a file takes twenty times its size of memory.
    """
    return parse_json(read_text(path, limit_bytes), path)


def parse_json(text: str, source: Path) -> Any:
    """What a JSON text means.

    Args:
        source: the file that holds the text, for messages.

    Raises:
        InputError: the text is no JSON, an object holds a key twice, a number is NaN, infinite or endless, a string
            holds half of a surrogate pair, or values nest deeper than ``MAX_DEPTH``.
    """

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        seen: dict[str, Any] = {}
        for key, value in pairs:
            if key in seen:
                raise InputError("stands twice in one object", source=source, key=shown_name(key))
            seen[key] = value
        return seen

    odd: list[str] = []

    def constant(name: str) -> float:
        odd.append(name)
        return float(name)

    long = _LONG_NUMBER.search(text) is not None
    try:
        parsed = json.loads(
            text,
            object_pairs_hook=unique,
            parse_constant=constant,
            parse_int=_integer if long else None,
        )
    except RecursionError:
        raise InputError("is not valid JSON: it nests too deep", source=source) from None
    except ValueError as error:
        raise InputError(f"is not valid JSON: {error}", source=source) from None
    if text.count("[") + text.count("{") > MAX_DEPTH:
        _check_depth(parsed, source)
    if odd or long or "\\ud" in text or "\\uD" in text:
        _check_values(parsed, source)
    return parsed


def _integer(digits: str) -> int:
    if len(digits) > _MAX_DIGITS:
        raise ValueError(f"it holds an integer of {len(digits):,} characters")
    return int(digits)


def _check_depth(tree: Any, source: Path) -> None:
    """Refuse what nests too deep."""
    level = [tree]
    for _ in range(MAX_DEPTH):
        below: list[Any] = []
        for container in level:
            inner = container.values() if isinstance(container, dict) else container
            below += [value for value in inner if isinstance(value, dict | list)]
        if not below:
            return
        level = below
    raise InputError(f"is nested more than {MAX_DEPTH} levels deep", source=source)


def _check_values(tree: Any, source: Path) -> None:
    """Refuse a string with half of a surrogate pair, and a number that is not finite; the key is named."""
    waiting: list[tuple[str, Any]] = [("", tree)]
    while waiting:
        key, value = waiting.pop()
        if isinstance(value, dict):
            waiting += [(key, name) for name in value]
            waiting += [(_below(key, name), inner) for name, inner in value.items()]
        elif isinstance(value, list):
            waiting += [(key, inner) for inner in value]
        elif isinstance(value, str) and any("\ud800" <= sign <= "\udfff" for sign in value):
            problem = f"is {shown(value)}, which holds half of a surrogate pair"
            raise InputError(problem, source=source, key=shown_name(key) or None)
        elif isinstance(value, float) and not math.isfinite(value):
            problem = f"is {value}, expected a finite number"
            raise InputError(problem, source=source, key=shown_name(key) or None)


def _below(key: str, name: str) -> str:
    """The key of an inner value; of a million values below a long key, each has one."""
    return f"{key}.{name}"[:_SHOWN_NAME_CHARS] if key else name[:_SHOWN_NAME_CHARS]


def write_json(path: Path, content: dict[str, Any]) -> None:
    """As transformers writes it, ASCII only, keys in the order given."""
    path.write_text(json.dumps(content, indent=2, ensure_ascii=True) + "\n", encoding="utf-8")
