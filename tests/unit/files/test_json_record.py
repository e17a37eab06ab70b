"""Records that a run leaves: read strictly, or refused in one line that names the key."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from pydantic import BaseModel, ConfigDict

from etchproof.errors import InputError
from etchproof.files.json_record import read_json_record


class Inner(BaseModel):
    model_config = ConfigDict(extra="forbid")

    number: int


class Outer(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: str
    inner: tuple[Inner, ...] = ()


def refusal(path: Path, **options: bool) -> str:
    with pytest.raises(InputError) as caught:
        read_json_record(path, Outer, **options)
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"name": 1}', "name: is 1, expected a string"),
        ("{}", "name: is missing"),
        ('{"name": "a", "more": 1}', "more: is 1, but there is no such key"),
        ('{"name": "a", "inner": [{"number": "x"}]}', "inner.number: is 'x'"),
        ('{"name": "a", "inner": [3]}', "inner: is 3, expected an object"),
        ('{"name": "a", "name": "b"}', "name: stands twice"),
        ("[]", "is [], expected an object"),
        ('{"name": "a", "inner": [' + ", ".join(["{}"] * 2000) + "]}", "does not fit in 2,000 places"),
        ("[" + "[]," * 500_000 + "1]", "holds more values than any record does"),
    ],
)
def test_refused(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "a.json"
    path.write_text(text, encoding="utf-8")
    assert f"a.json: {said}" in refusal(path)


def test_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    assert "is a FIFO" in refusal(tmp_path / "fifo")
    assert "file not found" in refusal(tmp_path / "none")


def test_read(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"name": "a", "inner": [{"number": "5"}]}), encoding="utf-8")
    assert read_json_record(path, Outer).inner == (Inner(number=5),)
    assert "inner.number: is '5', expected an integer" in refusal(path, strict=True)
