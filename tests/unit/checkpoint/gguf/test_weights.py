"""The tensors of a GGUF file under Hugging Face's names: values, order of rows, published codes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etchproof.checkpoint import Checkpoint, expected_tensors, load_checkpoint
from etchproof.checkpoint.gguf.weights import GgufWeights, gguf_name, rows_of
from etchproof.errors import InputError
from tests.gguf_model import Parts, Sizes, model, plain


def load(path: Path, parts: Parts) -> Checkpoint:
    (path / "drawn.gguf").write_bytes(parts.content())
    return load_checkpoint(path / "drawn.gguf")


def permuted(weights: npt.NDArray[np.float32], heads: int) -> npt.NDArray[np.float32]:
    """As llama.cpp's converter lays the rows of q and k out (``LlamaModel.permute``)."""
    split = weights.reshape(heads, 2, weights.shape[0] // heads // 2, *weights.shape[1:])
    return split.swapaxes(1, 2).reshape(weights.shape)


@settings(max_examples=20, deadline=None)
@given(
    groups=st.integers(1, 3),
    kv_heads=st.integers(1, 3),
    half=st.integers(1, 5),
    biased=st.booleans(),
    seed=st.integers(0, 99),
)
def test_every_weight_comes_back(
    groups: int, kv_heads: int, half: int, biased: bool, seed: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    heads = groups * kv_heads
    sizes = Sizes(hidden=2 * half * heads, mlp=6, layers=2, heads=heads, kv_heads=kv_heads, vocab=300)
    parts = model(sizes, "F32", embedding="F32", tied=False, seed=seed)
    folder = tmp_path_factory.mktemp("weights")
    config = load(folder, parts).config.model_copy(update={"attention_bias": biased, "mlp_bias": biased})
    rng = np.random.default_rng(seed)
    own = {
        name: rng.normal(size=shape).astype(np.float32) for name, shape in expected_tensors(config).items()
    }
    parts.tensors = {}
    for name, values in own.items():
        count = heads if "q_proj" in name else kv_heads if "k_proj" in name else 0
        parts.tensors[gguf_name(name)] = plain("F32", permuted(values, count) if count else values)
    found = load(folder, parts)
    assert found.config.attention_bias == found.config.mlp_bias == biased
    assert found.tensor_names == tuple(own)
    for name, values in own.items():
        assert (found.tensor(name).numpy() == values).all(), name


def test_names() -> None:
    assert gguf_name("model.layers.11.mlp.down_proj.weight") == "blk.11.ffn_down.weight"
    assert gguf_name("model.layers.0.self_attn.o_proj.bias") == "blk.0.attn_output.bias"
    assert gguf_name("lm_head.weight") == "output.weight"


@pytest.mark.parametrize("kind", ["Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0"])
def test_published_codes_are_the_weights(kind: str, tmp_path: Path) -> None:
    found = load(tmp_path, model(kind=kind))
    assert found.published == (f"14 {kind}, 1 Q8_0" if kind != "Q8_0" else "15 Q8_0")
    weights = found.weights
    assert isinstance(weights, GgufWeights)
    for name, shape in weights.shapes.items():
        matrix = weights.matrix(name)
        if len(shape) == 1:
            assert matrix is None
            continue
        assert matrix is not None and matrix.codes.shape == shape
        repeated = np.repeat(matrix.scales, matrix.group_size, axis=1) * matrix.codes
        if matrix.minimums is not None:
            repeated += np.repeat(matrix.minimums, matrix.group_size, axis=1)
        assert (repeated.astype(np.float32) == found.tensor(name).numpy()).all()
    with pytest.raises(KeyError):
        weights.matrix("model.none")
    with pytest.raises(KeyError):
        weights.read("lm_head.weight")


@pytest.mark.parametrize("kind", ["Q3_K", "Q4_K", "Q5_K", "Q6_K"])
def test_k_quants(kind: str, tmp_path: Path) -> None:
    sizes = Sizes(hidden=256, mlp=256, layers=1, heads=4, kv_heads=1, vocab=300)
    found = load(tmp_path, model(sizes, lambda name: "Q4_1" if "ffn_up" in name else kind))
    assert found.published == f"6 {kind}, 1 Q8_0, 1 Q4_1"
    matrix = found.weights.matrix("model.layers.0.self_attn.k_proj.weight")  # type: ignore[attr-defined]
    assert matrix.form == kind and (matrix.codes.shape, matrix.bits) == ((64, 256), int(kind[1]))
    assert float(found.tensor("model.layers.0.self_attn.k_proj.weight").abs().max()) < 1


def test_plain_floats_were_not_published_as_codes(tmp_path: Path) -> None:
    assert load(tmp_path, model(kind="BF16", embedding="F16")).published is None


def test_values_are_checked(tmp_path: Path) -> None:
    parts = model(kind="F16")
    wrong = np.zeros((16, 32))
    wrong[3, 4] = np.inf
    parts.tensors["blk.1.attn_v.weight"] = plain("F16", wrong)
    with pytest.raises(
        InputError, match=r"drawn.gguf: blk.1.attn_v.weight: is NaN or infinite in 1 of 512 values"
    ):
        load(tmp_path, parts)


def test_the_hash_is_the_files(tmp_path: Path) -> None:
    one = load(tmp_path, model())
    assert (
        one.files == (tmp_path / "drawn.gguf",)
        and one.file_of("model.norm.weight") == tmp_path / "drawn.gguf"
    )
    assert one.sha256 == load(tmp_path, model()).sha256 != load(tmp_path, model(seed=2)).sha256
    with pytest.raises(InputError, match="was changed since it was opened"):
        one.tensor("model.norm.weight")


def test_rows_of_other_tensors_lie_in_order(tmp_path: Path) -> None:
    config = load(tmp_path, model()).config
    assert rows_of("model.layers.0.self_attn.v_proj.weight", config) is None
    rows = rows_of("model.layers.0.self_attn.k_proj.weight", config)
    assert rows is not None and rows.tolist()[:8] == [0, 2, 4, 6, 1, 3, 5, 7]
