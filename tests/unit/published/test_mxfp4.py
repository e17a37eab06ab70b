"""MXFP4 as gpt-oss packs it: as transformers reads it; its names, and what does not fit, by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from etchproof.errors import InputError
from etchproof.published.config import read_quantization
from etchproof.published.matrix import PublishedMatrix
from tests.unit.published.folders import MODULE, nibbles, weights

SOURCE: Final = Path("model")
CONFIG: Final[dict[str, Any]] = {
    "quant_method": "mxfp4",
    "modules_to_not_convert": [
        *("model.layers.*.self_attn", "model.layers.*.mlp.router", "model.embed_tokens", "lm_head")
    ],
}
INSIDE: Final = f"{MODULE}.weight"


def stored(patterns: Any, scales: Any, stem: str = INSIDE) -> dict[str, torch.Tensor]:
    """Args: patterns (rows, cols), patterns of scales (rows, cols / 32), what the names begin with."""
    rows, groups = np.shape(scales)
    return {
        f"{stem}_blocks": nibbles(np.asarray(patterns)).reshape(rows, groups, 16),
        f"{stem}_scales": torch.from_numpy(np.asarray(scales, dtype=np.uint8)),
    }


def drawn(seed: int, rows: int, groups: int, stem: str = INSIDE) -> tuple[Any, Any, dict[str, torch.Tensor]]:
    rng = np.random.default_rng(seed)
    patterns, scales = rng.integers(0, 16, (rows, groups * 32)), rng.integers(0, 255, (rows, groups))
    return patterns, scales, stored(patterns, scales, stem)


def read(
    tensors: dict[str, torch.Tensor], shape: tuple[int, int], module: str = MODULE, **changes: Any
) -> PublishedMatrix:
    return read_quantization(CONFIG | changes, SOURCE).read(module, shape, tensors, SOURCE)


def refused(
    tensors: dict[str, torch.Tensor], shape: tuple[int, int], module: str = MODULE, **changes: Any
) -> str:
    with pytest.raises(InputError) as caught:
        read(tensors, shape, module, **changes)
    return str(caught.value)


@given(
    seed=st.integers(0, 2**32 - 1),
    rows=st.integers(1, 4),
    groups=st.integers(1, 3),
    stem=st.sampled_from([INSIDE, MODULE]),
)
@settings(max_examples=25, deadline=None)
def test_as_transformers(seed: int, rows: int, groups: int, stem: str) -> None:
    library = pytest.importorskip("transformers.integrations.mxfp4")
    patterns, scales, tensors = drawn(seed, rows, groups, stem)
    found = read(tensors, (rows, groups * 32))
    assert (found.form, found.bits, found.group_size) == ("MXFP4 of gpt-oss", 4, 32)
    assert (found.element, found.factor, found.minimums, found.groups) == ("E2M1", 1, None, None)
    assert found.patterns is not None and np.array_equal(found.patterns, patterns)
    assert np.array_equal(found.scales, np.ldexp(0.5, scales - 127))
    blocks, held = (tensors[f"{stem}_{part}"][None] for part in ("blocks", "scales"))  # of one expert
    expected = library.convert_moe_packed_tensors(blocks, held, dtype=torch.float64)[0].T  # inputs first
    assert np.array_equal(weights(found), expected.numpy())
    assert np.array_equal(found.weights(), expected.numpy())


def test_every_pattern_and_scale() -> None:
    patterns = np.tile(np.arange(16), (255, 2))
    found = read(stored(patterns, np.arange(255)[:, None]), (255, 32))
    assert found.patterns is not None and np.array_equal(found.patterns, patterns)
    assert found.codes[7, :16].tolist() == [0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12]
    assert found.scales[:, 0].tolist() == [2.0**exponent for exponent in range(-128, 127)]


def test_a_nan_scale() -> None:
    patterns, scales, _ = drawn(1, 3, 2)
    scales[2, 1] = 255
    assert refused(stored(patterns, scales), (3, 64)) == (
        f"model: {INSIDE}_scales: holds 0xff for row 2, group 1: NaN of E8M0, expected a number"
    )


def test_tensors_that_do_not_fit() -> None:
    _, _, good = drawn(2, 4, 2)
    blocks, scales = f"{INSIDE}_blocks", f"{INSIDE}_scales"
    read(good | {f"{MODULE}.bias": torch.zeros(4)}, (4, 64))
    flat = good[blocks].reshape(4, 32)
    for tensors, line in (
        (
            {blocks: flat},
            f"{blocks}: has shape [4, 32], expected [4, 2, 16], as 64 inputs of 4 bits are packed in blocks",
        ),
        (
            {blocks: good[blocks].expand(8, 4, 2, 16)},
            f"{blocks}: has shape [8, 4, 2, 16], expected [4, 2, 16]",
        ),
        ({blocks: good[blocks].to(torch.int8)}, f"{blocks}: has dtype I8, expected U8"),
        ({scales: good[scales].float()}, f"{scales}: has dtype F32, expected U8"),
        ({scales: good[scales][:, :1]}, f"{scales}: has shape [4, 1], expected [4, 2], blocks of 32 inputs"),
        ({INSIDE: torch.zeros((4, 64))}, f"{INSIDE}: is a tensor that MXFP4 does not have"),
        ({f"{MODULE}_blocks": flat}, f"{MODULE}_blocks: is there beside {blocks}, expected one of them"),
    ):
        assert refused(good | tensors, (4, 64)).startswith(f"model: {line}")
    assert refused(good, (4, 72)).startswith(
        f"model: {blocks}: cannot hold 72 inputs: MXFP4 has blocks of 32"
    )
    assert refused({}, (4, 64)).startswith(f"model: {blocks}: is missing, expected shape [4, 2, 16]")
    _, _, beside = drawn(2, 4, 2, MODULE)
    del beside[f"{MODULE}_scales"]
    assert refused(beside, (4, 64)).startswith(f"model: {MODULE}_scales: is missing, expected shape [4, 2]")
    assert refused({}, (4, 64), "lm").startswith("model: lm.weight_blocks: is missing")


@pytest.mark.parametrize(
    ("module", "entry"),
    [
        ("model.layers.11.self_attn.q_proj", "model.layers.*.self_attn"),
        ("model.layers.0.mlp.router", "model.layers.*.mlp.router"),
        ("lm_head", "lm_head"),
    ],
)
def test_what_is_left_out(module: str, entry: str) -> None:
    _, _, tensors = drawn(3, 1, 1, f"{module}.weight")
    assert f"weight_blocks: is left out by {entry!r} in modules_to_not_convert" in refused(
        tensors, (1, 32), module
    )
    read(tensors, (1, 32), module, modules_to_not_convert=None)


def test_a_module_is_left_out_up_to_a_dot() -> None:
    _, _, tensors = drawn(3, 1, 1, "model.layers.11.mlp.up_proj.weight")
    module = "model.layers.11.mlp.up_proj"
    read(
        tensors,
        (1, 32),
        module,
        modules_to_not_convert=["model.layers.1", "mlp.up", "model.layers.1[0-9]+.mlp.up"],
    )
    assert "is left out by 'up_proj'" in refused(tensors, (1, 32), module, modules_to_not_convert=["up_proj"])


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        (
            {"modules_to_not_convert": "lm_head"},
            "modules_to_not_convert: is 'lm_head', expected a list of names",
        ),
        (
            {"modules_to_not_convert": ["(a+)+b"]},
            "modules_to_not_convert: holds '(a+)+b', an expression that is not",
        ),
        (
            {"modules_to_not_convert": ["("]},
            "modules_to_not_convert: holds '(', which is no regular expression",
        ),
        ({"dequantize": True}, "dequantize: is True: the weights are no longer in the format then"),
        ({"group_size": 32}, "group_size: is 32: this key is not known here"),
    ],
)
def test_keys_that_do_not_fit(changes: dict[str, Any], line: str) -> None:
    with pytest.raises(InputError) as caught:
        read_quantization(CONFIG | changes, Path("config.json"))
    assert str(caught.value).startswith(f"config.json: quantization_config.{line}")
