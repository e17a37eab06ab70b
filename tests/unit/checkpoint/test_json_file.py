"""The strict reader of JSON: what Python's own reader lets pass is refused in one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from etchproof.errors import InputError
from etchproof.files.json_file import MAX_DEPTH, read_json, read_json_object


def written(folder: Path, text: str) -> Path:
    path = folder / "a.json"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is not valid JSON"),
        ('{"a": 1, "a": 2}', "a: stands twice in one object"),
        ('{"a": {"b": [1, NaN]}}', "a.b[1]: is nan, expected a finite number"),
        ("[-Infinity]", "[0]: is -inf, expected a finite number"),
        ('{"a": 1e999}', "a: is inf, expected a finite number"),
        ('{"a": ' + "9" * 5000 + "}", "is not valid JSON: it holds an integer of 5,000 characters"),
        ('{"a": -' + "9" * 60 + "}", "is not valid JSON: it holds an integer of 61 characters"),
        ('{"a": "x\\ud800"}', "a: is 'x\\ud800', which holds half of a surrogate pair"),
        ('{"a": {"\\udc00": 1}}', "a: is '\\udc00', which holds half of a surrogate pair"),
        ("[" * 100_000, "is not valid JSON: it nests too deep"),
        ("[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1), "is nested more than 64 levels deep"),
        ('{"a":' * 80 + "1" + "}" * 80, "is nested more than 64 levels deep"),
    ],
)
def test_refused(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(InputError) as caught:
        read_json(written(tmp_path, text))
    assert f"a.json: {said}" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("[" * MAX_DEPTH + "]" * MAX_DEPTH, None),
        ("[1e300, 123456789012345678901234567890, -0.5]", [1e300, 123456789012345678901234567890, -0.5]),
        ('{"a": "\\ud83d\\ude00"}', {"a": "\U0001f600"}),
        ("[" + ",".join(["[]"] * 1000) + "]", [[]] * 1000),
        ("5", 5),
    ],
)
def test_read(tmp_path: Path, text: str, value: Any) -> None:
    found = read_json(written(tmp_path, text))
    assert value is None or found == value


def test_an_object_is_asked_for(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"holds \[1\], expected a JSON object"):
        read_json_object(written(tmp_path, "[1]"))


def test_a_long_key_above_many_values(tmp_path: Path) -> None:
    """A message needs the key of one value, not those of all."""
    inner = ", ".join(f'"{number}": 1' for number in range(100_000))
    text = f'{{"{"k" * 500_000}": {{{inner}, "z": NaN}}}}'
    with pytest.raises(InputError, match="is nan, expected a finite number"):
        read_json(written(tmp_path, text))
