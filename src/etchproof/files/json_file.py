"""JSON that others wrote, read strictly: every way in which a file can be bad is one ``InputError``.

Python's reader takes more than the standard does, and readers differ on what it means. A key that stands twice, NaN,
infinity, half of a surrogate pair, an integer without end and nesting without end are refused here.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, Final

from etchproof.errors import InputError, shown
from etchproof.files.documents import check_depth, check_values, unique_keys
from etchproof.files.regular import read_text

MAX_DEPTH: Final = 64
"""How deep lists and objects may stand in each other; a real file has less than ten levels."""

_MAX_DIGITS: Final = 40
_MAX_BITS: Final = 128
"""Integers of checkpoints may be large: `model_max_length` is 10^30 where a tokenizer has no limit."""

_ESCAPED: Final = re.compile(r"\\u(?:[dD][89a-fA-F]|0000)")
_LONG_NUMBER: Final = re.compile(rf"\d{{{_MAX_DIGITS}}}|\d[eE]\+?\d{{3}}")


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

    odd: list[str] = []

    def constant(name: str) -> float:
        odd.append(name)
        return float(name)

    long = _LONG_NUMBER.search(text) is not None
    try:
        parsed = json.loads(
            text,
            object_pairs_hook=unique_keys(source),
            parse_constant=constant,
            parse_int=_integer if long else None,
        )
    except RecursionError:
        raise InputError("is not valid JSON: it nests too deep", source=source) from None
    except ValueError as error:
        raise InputError(f"is not valid JSON: {error}", source=source) from None
    if text.count("[") + text.count("{") > MAX_DEPTH:
        check_depth(parsed, source, MAX_DEPTH)
    if odd or long or _ESCAPED.search(text):
        check_values(parsed, source, depth=MAX_DEPTH, bits=_MAX_BITS)
    return parsed


def _integer(digits: str) -> int:
    if len(digits) > _MAX_DIGITS:
        raise ValueError(f"it holds an integer of {len(digits):,} characters")
    return int(digits)


def write_json(path: Path, content: dict[str, Any]) -> None:
    """As transformers writes it, ASCII only, keys in the order given."""
    path.write_text(json.dumps(content, indent=2, ensure_ascii=True) + "\n", encoding="utf-8")
