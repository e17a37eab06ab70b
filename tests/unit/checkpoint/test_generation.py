"""``generation_config.json``: what is read, what is without effect, what a line says of, what is refused by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from etchproof.checkpoint import load_checkpoint
from etchproof.checkpoint.generation import HOSTS, NO_EFFECT, Generation, generation_notes, read_generation
from etchproof.checkpoint.prompt import notes
from etchproof.errors import InputError


def written(folder: Path, **keys: Any) -> Path:
    (folder / "generation_config.json").write_text(json.dumps(keys))
    return folder


def test_no_file_says_nothing(folder: Path) -> None:
    assert read_generation(folder) == Generation()
    assert generation_notes(folder, 1) == ()


def test_as_public_checkpoints_have_it(folder: Path) -> None:
    """Llama 3 Instruct's keys: sampling is the host's, and no line is due."""
    written(
        folder, bos_token_id=1, eos_token_id=[2, 3], do_sample=True, temperature=0.6, top_p=0.9, max_length=4096,
        pad_token_id=0, transformers_version="4.40.0",
    )  # fmt: skip
    checkpoint = load_checkpoint(folder)
    assert checkpoint.config.eos_token_ids == (2, 3)
    assert notes(checkpoint, checkpoint.tokenizer()) == ()


@pytest.mark.parametrize("key", NO_EFFECT)
@pytest.mark.parametrize("value", [True, 3, "text", [1], {"a": 1}], ids=str)
def test_a_key_without_effect_is_silent(folder: Path, key: str, value: object) -> None:
    assert generation_notes(written(folder, **{key: value}), None) == ()


@pytest.mark.parametrize("key", HOSTS)
def test_a_key_of_the_hosts_is_said(folder: Path, key: str) -> None:
    """In one line with its value; null and the values that do nothing are silent."""
    for neutral in (None, *HOSTS[key]):
        assert generation_notes(written(folder, **{key: neutral}), None) == (), neutral
    for value in (7, 0.5, "text", [[1, 2]]):
        (said,) = generation_notes(written(folder, **{key: value}), None)
        assert f"generation_config.json has {key} {value!r}: the host's" in said


def test_several_are_one_line(folder: Path) -> None:
    (said,) = generation_notes(written(folder, min_length=5, repetition_penalty=1.2, num_beams=1), None)
    assert "has repetition_penalty 1.2, min_length 5: the host's" in said


@pytest.mark.parametrize(("bos", "lines"), [(1, 0), (2, 1), (None, 0)])
def test_another_bos_is_said(folder: Path, bos: int | None, lines: int) -> None:
    said = notes(load_checkpoint(written(folder, bos_token_id=bos)), None)
    assert len(said) == lines
    assert all("has bos_token_id 2, config.json has bos_token_id 1" in line for line in said)


@pytest.mark.parametrize(
    ("keys", "line"),
    [
        ({"new_penalty": 1.1}, "new_penalty: is 1.1, a key that Etchproof does not know"),
        ({"new_penalty": False}, "new_penalty: is False, a key that Etchproof does not know"),
        ({"a\nb": 1}, "'a\\nb': is 1, a key that Etchproof does not know"),
        ({"bos_token_id": "1"}, "bos_token_id: is '1', expected an integer"),
        ({"bos_token_id": True}, "bos_token_id: is True, expected an integer"),
        ({"eos_token_id": [2, -1]}, "eos_token_id: is -1, expected at least 0"),
    ],
)
def test_a_bad_one_is_refused_by_name(folder: Path, keys: dict[str, Any], line: str) -> None:
    with pytest.raises(InputError) as caught:
        load_checkpoint(written(folder, **keys))
    assert str(caught.value).startswith(f"{folder / 'generation_config.json'}: {line}")


def test_an_unknown_key_that_is_null_says_nothing(folder: Path) -> None:
    assert read_generation(written(folder, new_penalty=None)) == Generation()
