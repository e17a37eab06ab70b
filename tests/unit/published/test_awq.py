"""AWQ: codes and zeros in the order of its nibbles; what its config can ask for, by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from etchproof.errors import InputError
from etchproof.published.awq import Awq
from etchproof.published.config import read_quantization
from etchproof.published.matrix import PublishedMatrix
from tests.unit.published.folders import MODULE, awq, ruled, weights

SOURCE: Final = Path("model")
CONFIG: Final[dict[str, Any]] = {
    "quant_method": "awq",
    "bits": 4,
    "group_size": 32,
    "zero_point": True,
    "version": "gemm",
    "modules_to_not_convert": None,
}


def read(tensors: dict[str, torch.Tensor], shape: tuple[int, int], **changes: Any) -> PublishedMatrix:
    return read_quantization(CONFIG | changes, SOURCE).read(MODULE, shape, tensors, SOURCE)


def refused(tensors: dict[str, torch.Tensor], shape: tuple[int, int], **changes: Any) -> str:
    with pytest.raises(InputError) as caught:
        read(tensors, shape, **changes)
    return str(caught.value)


def drawn(seed: int, rows: int, cols: int, groups: int) -> tuple[Any, Any, torch.Tensor]:
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, 16, (rows, cols))
    codes.flat[:16] = np.arange(16)[: codes.size]
    scales = rng.uniform(1e-4, 2, (groups, rows)).astype(np.float16)
    return codes, rng.integers(0, 16, (groups, rows)), torch.from_numpy(scales)


@given(
    seed=st.integers(0, 2**32 - 1),
    rows=st.integers(1, 4),
    cols=st.integers(1, 70),
    group_size=st.sampled_from([-1, 1, 8, 32, 1000]),
    dtype=st.sampled_from([torch.float16, torch.bfloat16]),
)
@settings(max_examples=40, deadline=None)
def test_what_the_rule_says(seed: int, rows: int, cols: int, group_size: int, dtype: torch.dtype) -> None:
    shape, size = (8 * rows, cols), cols if group_size == -1 else group_size
    codes, zeros, scales = drawn(seed, *shape, -(-cols // size))
    scales = scales.to(dtype)
    found = read(awq(codes, zeros, scales), shape, group_size=group_size)
    assert (found.form, found.bits, found.group_size, found.groups) == ("AWQ", 4, size, None)
    assert (found.codes.dtype, found.scales.dtype) == (np.int8, np.float64)
    assert np.array_equal(found.codes, codes - 8)
    assert np.array_equal(weights(found), ruled(codes, zeros, scales, np.arange(cols) // size))


def test_the_order_of_nibbles() -> None:
    """Nibble i, the lowest first, is output 0, 2, 4, 6, 1, 3, 5, 7; zeros are stored as they are."""
    tensors = {
        f"{MODULE}.qweight": torch.tensor([[0x76543210]], dtype=torch.int32),
        f"{MODULE}.qzeros": torch.tensor([[0x0FEDCBA9]], dtype=torch.int32),
        f"{MODULE}.scales": torch.ones((1, 8), dtype=torch.float16),
    }
    found = read(tensors, (8, 1))
    assert (found.codes[:, 0] + 8).tolist() == [0, 4, 1, 5, 2, 6, 3, 7]
    assert found.minimums is not None
    assert (8 - found.minimums[:, 0]).tolist() == [9, 13, 10, 14, 11, 15, 12, 0]


def test_the_order_of_another_kernel_does_not_fit() -> None:
    """GEMV packs along the inputs: of a square matrix the codes have the shape of GEMM's, and the zeros tell."""
    codes, zeros, scales = drawn(1, 64, 64, 2)
    tensors = awq(codes, zeros, scales)
    gemv = tensors | {f"{MODULE}.qzeros": torch.zeros((64, 1), dtype=torch.int32)}
    assert "qzeros: has shape [64, 1], expected [2, 8]" in refused(gemv, (64, 64))


def test_tensors_that_do_not_fit() -> None:
    codes, zeros, scales = drawn(2, 16, 64, 2)
    good = awq(codes, zeros, scales)
    read(good | {f"{MODULE}.bias": torch.zeros(16)}, (16, 64))
    name = f"{MODULE}.qweight"
    packed = "as 16 outputs of 4 bits are packed for each input of 64"
    assert refused({k: v for k, v in good.items() if k != name}, (16, 64)) == (
        f"model: {name}: is missing, expected shape [64, 2], {packed}"
    )
    assert refused(good | {name: good[name].T}, (16, 64)) == (
        f"model: {name}: has shape [2, 64], expected [64, 2], {packed}"
    )
    assert (
        refused(good | {name: good[name].long()}, (16, 64)) == f"model: {name}: has dtype I64, expected I32"
    )
    assert "cannot hold 20 outputs: 4-bit codes are packed by 8" in refused(good, (20, 64))
    assert "scales: is nan at [0, 0], expected a finite number" in refused(
        good | {f"{MODULE}.scales": scales * float("nan")}, (16, 64)
    )
    assert f"{MODULE}.g_idx: is a tensor that AWQ does not have" in refused(
        good | {f"{MODULE}.g_idx": torch.zeros(64)}, (16, 64)
    )
    line = refused(good, (16, 64), modules_to_not_convert=["lm_head", "mlp"])
    assert line == f"model: {MODULE}.qweight: is left out by 'mlp' in modules_to_not_convert"


KEYS: Final[tuple[tuple[dict[str, Any], str], ...]] = (
    ({"bits": 8}, "bits: is 8, expected one of 4"),
    ({"w_bit": 3}, "bits: is 4, and w_bit is 3"),
    ({"group_size": -2}, "group_size: is -2, expected an integer of at least 1, or -1"),
    ({"zero_point": False}, "zero_point: is false: AWQ without zeros has no layout that its tools agree on"),
    ({"zero_point": None}, "zero_point: is missing, expected true or false"),
    ({"version": "gemv"}, "version: is 'gemv', expected gemm"),
    ({"version": None}, "version: is missing, expected gemm"),
    ({"modules_to_not_convert": "lm_head"}, "modules_to_not_convert: is 'lm_head', expected a list of names"),
    ({"modules_to_not_convert": [1]}, "modules_to_not_convert: is [1], expected a list of names"),
    ({"colour": 3}, "colour: is 3: this key is not known here"),
)


@pytest.mark.parametrize(("changes", "line"), KEYS)
def test_keys_that_do_not_fit(changes: dict[str, Any], line: str) -> None:
    with pytest.raises(InputError) as caught:
        read_quantization(CONFIG | changes, Path("config.json"))
    assert str(caught.value).startswith(f"config.json: quantization_config.{line}")


def test_the_names_of_both_writers() -> None:
    older = {"quant_method": "awq", "w_bit": 4, "q_group_size": 64, "zero_point": True, "version": "GEMM"}
    assert read_quantization(older, SOURCE) == Awq(64, ())
