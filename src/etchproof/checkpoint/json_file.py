"""The small JSON files of a checkpoint. Reading: every way in which one can be bad is one ``InputError``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from etchproof.errors import InputError, shown, shown_name
from etchproof.files import read_text

__all__ = ["read_json_object", "shown", "shown_name", "write_json"]


def read_json_object(path: Path, limit_bytes: int = 4 << 20) -> dict[str, Any]:
    """The top-level object of a UTF-8 JSON file; a repeated key is refused, as readers differ on which one
    counts.

    Raises:
        InputError: the file is missing, unreadable, not UTF-8, not JSON, not an object, or larger than
            ``limit_bytes``: parsed, a file takes twenty times its size of memory.
    """
    text = read_text(path, limit_bytes)

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        seen: dict[str, Any] = {}
        for key, value in pairs:
            if key in seen:
                raise InputError("stands twice in one object", source=path, key=shown_name(key))
            seen[key] = value
        return seen

    try:
        parsed = json.loads(text, object_pairs_hook=unique)
    except (
        ValueError,
        RecursionError,
    ) as error:  # JSONDecodeError; an integer too long for Python; deep nesting
        raise InputError(f"is not valid JSON: {error}", source=path) from None
    if not isinstance(parsed, dict):
        raise InputError(f"holds {shown(parsed)}, expected a JSON object", source=path)
    return parsed


def write_json(path: Path, content: dict[str, Any]) -> None:
    """As transformers writes it, ASCII only, keys in the order given."""
    path.write_text(json.dumps(content, indent=2, ensure_ascii=True) + "\n", encoding="utf-8")
