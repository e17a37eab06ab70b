"""Whatever the bytes, the loader answers with an adapter or an ``InputError``: never another exception."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etchproof.adapter import AdapterConfig, load_adapter, write_synthetic_adapter
from etchproof.adapter.unsupported import KNOWN_KEYS
from etchproof.checkpoint import ModelConfig
from etchproof.errors import InputError
from tests.unit.checkpoint.test_corruption import spoil

WORDS = st.sampled_from(
    ["q_proj", "model.layers.0.self_attn.v_proj", "all-linear", ".*", "(", "[[", "layers", "\ud800"]
)
JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | WORDS
    | st.integers(-1, 4),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8) | WORDS, inner, max_size=3)
    ),
    max_leaves=5,
)
KEYS = sorted({*AdapterConfig.model_fields, *KNOWN_KEYS} - {"peft_type"})


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory, base: ModelConfig) -> tuple[Path, Path]:
    """An adapter, and a folder to spoil copies in."""
    root = tmp_path_factory.mktemp("corruption")
    config = AdapterConfig(r=2, lora_alpha=4, rank_pattern={"1.self_attn.q_proj": 1})
    return write_synthetic_adapter(root / "whole", base, config, seed=1), root / "spoiled"


def load_spoiled(pristine: tuple[Path, Path], model: ModelConfig, name: str, content: bytes) -> None:
    source, spoiled = pristine
    shutil.rmtree(spoiled, ignore_errors=True)
    shutil.copytree(source, spoiled)
    (spoiled / name).write_bytes(content)
    try:
        load_adapter(spoiled, model, max_rank=4)
    except InputError as error:
        assert "\n" not in str(error)
        str(error).encode()  # it can be printed


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_weights(pristine: tuple[Path, Path], base: ModelConfig, data: st.DataObject) -> None:
    content = (pristine[0] / "adapter_model.safetensors").read_bytes()
    header_bytes = 8 + int.from_bytes(content[:8], "little")
    load_spoiled(pristine, base, "adapter_model.safetensors", spoil(content, data, header_bytes))


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_config_bytes(pristine: tuple[Path, Path], base: ModelConfig, data: st.DataObject) -> None:
    content = (pristine[0] / "adapter_config.json").read_bytes()
    load_spoiled(pristine, base, "adapter_config.json", spoil(content, data, 400))


@settings(max_examples=300, deadline=None)
@given(changes=st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=8) | WORDS, JSON_VALUES, max_size=3))
def test_config_values(pristine: tuple[Path, Path], base: ModelConfig, changes: dict[str, object]) -> None:
    raw = json.loads((pristine[0] / "adapter_config.json").read_text())
    load_spoiled(pristine, base, "adapter_config.json", json.dumps(raw | changes).encode())
