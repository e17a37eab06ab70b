"""Whatever the bytes, the loader answers with a checkpoint or an ``InputError``: never another exception."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etchproof.checkpoint import ModelConfig, load_checkpoint, write_synthetic
from etchproof.errors import InputError

JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from([1, 2, 12, 70, "llama3"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=5,
)
ROPE_KEYS = (
    "rope_type",
    "type",
    "rope_theta",
    "factor",
    "low_freq_factor",
    "original_max_position_embeddings",
)


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory, tiny: ModelConfig) -> tuple[Path, Path, Path]:
    """One whole checkpoint, one sharded, and a folder to spoil copies in."""
    root = tmp_path_factory.mktemp("corruption")
    whole = write_synthetic(root / "whole", tiny, seed=1)
    return whole, write_synthetic(root / "parts", tiny, seed=1, shards=2), root / "spoiled"


def load_spoiled(source: Path, spoiled: Path, name: str, content: bytes) -> None:
    shutil.rmtree(spoiled, ignore_errors=True)
    shutil.copytree(source, spoiled)
    (spoiled / name).write_bytes(content)
    try:
        checkpoint = load_checkpoint(spoiled)
        for tensor in checkpoint.tensor_names:
            checkpoint.tensor(tensor)
        checkpoint.tokenizer().decode([3, 4])
    except InputError as error:
        assert "\n" not in str(error)
        str(error).encode()  # it can be printed


def spoil(content: bytes, data: st.DataObject, header_bytes: int) -> bytes:
    """Flip bytes, cut, or insert: half of the time within the first ``header_bytes``."""
    spoiled = bytearray(content)
    for _ in range(data.draw(st.integers(1, 3))):
        end = data.draw(st.sampled_from([8, header_bytes, len(spoiled)])) if spoiled else 0
        at = data.draw(st.integers(0, max(0, min(end, len(spoiled)) - 1)))
        kind = data.draw(st.sampled_from(["set", "cut", "insert", "drop"]))
        if kind == "cut":
            del spoiled[at:]
        elif kind == "drop":
            del spoiled[at : at + data.draw(st.integers(1, 9))]
        elif kind == "insert":
            spoiled[at:at] = data.draw(st.binary(min_size=1, max_size=9))
        elif spoiled:
            spoiled[at] = data.draw(st.integers(0, 255))
    return bytes(spoiled)


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_weight_file(pristine: tuple[Path, Path, Path], data: st.DataObject) -> None:
    whole, _, spoiled = pristine
    content = (whole / "model.safetensors").read_bytes()
    header_bytes = 8 + int.from_bytes(content[:8], "little")
    load_spoiled(whole, spoiled, "model.safetensors", spoil(content, data, header_bytes))


@settings(max_examples=60, deadline=None)
@given(
    data=st.data(), name=st.sampled_from(["model.safetensors.index.json", "tokenizer.json", "config.json"])
)
def test_json_bytes(pristine: tuple[Path, Path, Path], data: st.DataObject, name: str) -> None:
    _, parts, spoiled = pristine
    load_spoiled(parts, spoiled, name, spoil((parts / name).read_bytes(), data, 400))


def edited(path: Path, data: st.DataObject, keys: tuple[str, ...] = ()) -> bytes:
    raw: dict[str, Any] = json.loads(path.read_text())
    key = data.draw(st.sampled_from([*raw, *keys]) | st.text(max_size=8))
    raw[key] = data.draw(JSON_VALUES | st.dictionaries(st.sampled_from(ROPE_KEYS), JSON_VALUES))
    return json.dumps(raw).encode()


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_config_values(pristine: tuple[Path, Path, Path], data: st.DataObject) -> None:
    whole, _, spoiled = pristine
    keys = ("rope_scaling", "rope_theta", "sliding_window", "layer_types", "quantization_config", "auto_map")
    load_spoiled(whole, spoiled, "config.json", edited(whole / "config.json", data, keys))


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_index_and_generation_values(pristine: tuple[Path, Path, Path], data: st.DataObject) -> None:
    _, parts, spoiled = pristine
    if data.draw(st.booleans()):
        content = json.dumps({"eos_token_id": data.draw(JSON_VALUES)}).encode()
        load_spoiled(parts, spoiled, "generation_config.json", content)
        return
    raw = json.loads((parts / "model.safetensors.index.json").read_text())
    raw["weight_map"][data.draw(st.sampled_from([*raw["weight_map"]]) | st.text(max_size=5))] = data.draw(
        JSON_VALUES
    )
    load_spoiled(parts, spoiled, "model.safetensors.index.json", json.dumps(raw).encode())
