"""GPTQ: every code, zero and order comes out as the rule has it; each known trap, and what cannot be told, by name."""

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
from etchproof.published.gptq import Gptq
from etchproof.published.matrix import PublishedMatrix
from tests.unit.published.folders import MODULE, gptq, ruled, weights

SOURCE: Final = Path("model")
CONFIG: Final[dict[str, Any]] = {
    "quant_method": "gptq",
    "bits": 4,
    "group_size": 32,
    "desc_act": False,
    "sym": True,
    "checkpoint_format": "gptq",
    "damp_percent": 0.01,
    "true_sequential": True,
}


def config(**changes: Any) -> dict[str, Any]:
    return CONFIG | changes


def read(tensors: dict[str, torch.Tensor], shape: tuple[int, int], **changes: Any) -> PublishedMatrix:
    return read_quantization(config(**changes), SOURCE).read(MODULE, shape, tensors, SOURCE)


def refused(tensors: dict[str, torch.Tensor], shape: tuple[int, int], **changes: Any) -> str:
    with pytest.raises(InputError) as caught:
        read(tensors, shape, **changes)
    return str(caught.value)


def drawn(seed: int, rows: int, cols: int, groups: int, bits: int) -> tuple[Any, Any]:
    """Codes (rows, cols), every one of them somewhere, and scales (groups, rows)."""
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, 1 << bits, (rows, cols))
    codes.flat[: 1 << bits] = np.arange(1 << bits)[: codes.size]
    return codes, torch.from_numpy(rng.uniform(1e-4, 2, (groups, rows)).astype(np.float16))


@given(
    seed=st.integers(0, 2**32 - 1),
    bits=st.sampled_from([2, 3, 4, 8]),
    rows=st.integers(1, 2),
    cols=st.integers(1, 3),
    group_size=st.sampled_from([-1, 8, 32, 40, 1000]),
    symmetric=st.booleans(),
    version=st.sampled_from([1, 2]),
    order=st.sampled_from(["none", "missing", "shuffled"]),
    dtype=st.sampled_from([torch.float16, torch.bfloat16, torch.float32]),
)
@settings(max_examples=60, deadline=None)
def test_what_the_rule_says(
    seed: int,
    bits: int,
    rows: int,
    cols: int,
    group_size: int,
    symmetric: bool,
    version: int,
    order: str,
    dtype: torch.dtype,
) -> None:
    rng = np.random.default_rng(seed)
    shape = (32 * rows, 32 * cols)
    size = shape[1] if group_size == -1 else group_size
    group_of = np.arange(shape[1]) // size
    if order == "shuffled":
        rng.shuffle(group_of)
    groups, middle = -(-shape[1] // size), 1 << (bits - 1)
    codes, scales = drawn(seed, *shape, groups, bits)
    scales = scales.to(dtype)
    low, high = (1, (1 << bits) - 1) if version == 1 else (0, (1 << bits) - 1)  # version 1 has no zero of 0
    zeros = rng.integers(low, high + 1, (groups, shape[0]))
    zeros = np.full_like(zeros, middle) if symmetric else zeros
    tensors = gptq(codes, zeros - (version == 1), scales, bits, None if order == "missing" else group_of)
    found = read(
        tensors,
        shape,
        bits=bits,
        group_size=group_size,
        sym=symmetric,
        desc_act=order == "shuffled",
        checkpoint_format="gptq" if version == 1 else "gptq_v2",
    )
    assert (found.form, found.bits, found.group_size) == (f"GPTQ v{version}", bits, size)
    assert (found.codes.dtype, found.scales.dtype) == (np.int8, np.float64)
    assert np.array_equal(found.codes, codes - middle)
    assert np.array_equal(found.scales, scales.to(torch.float64).numpy().T)
    assert (found.minimums is None) == symmetric
    consecutive = np.array_equal(group_of, np.arange(shape[1]) // size)
    assert found.groups is None if consecutive else np.array_equal(found.groups, group_of)
    assert np.array_equal(weights(found), ruled(codes, zeros, scales, group_of))


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_zeros_are_stored_less_one_in_version_1_alone(bits: int) -> None:
    """The same bits under both names: all weights apart by one scale."""
    codes, scales = drawn(1, 32, 32, 1, bits)
    tensors = gptq(codes, np.full((1, 32), 1), scales, bits, None)
    one, two = (
        read(tensors, (32, 32), bits=bits, sym=False, checkpoint_format=name) for name in ("gptq", "gptq_v2")
    )
    assert np.array_equal(one.codes, two.codes)
    assert one.minimums is not None and two.minimums is not None
    assert np.array_equal(two.minimums - one.minimums, two.scales)


@pytest.mark.parametrize("named", ["gptq", "gptq_v2", None])
@pytest.mark.parametrize("bits", [2, 3, 4, 8])
@pytest.mark.parametrize("version", [1, 2])
def test_a_symmetric_file_tells_its_version_whatever_its_name(
    bits: int, version: int, named: str | None
) -> None:
    """Some writers name version 1 and store the zeros of version 2: sym says what they have to be."""
    codes, scales = drawn(2, 32, 64, 2, bits)
    middle = 1 << (bits - 1)
    tensors = gptq(codes, np.full((2, 32), middle - (version == 1)), scales, bits, None)
    found = read(tensors, (32, 64), bits=bits, checkpoint_format=named)
    assert (found.form, found.minimums) == (f"GPTQ v{version}", None)
    assert np.array_equal(weights(found), ruled(codes, np.full((2, 32), middle), scales, np.arange(64) // 32))


def test_a_symmetric_file_with_another_zero_is_none() -> None:
    codes, scales = drawn(3, 32, 32, 1, 4)
    stored = np.full((1, 32), 7)
    stored[0, 5] = 8
    assert refused(gptq(codes, stored, scales, 4, None), (32, 32)) == (
        f"model: {MODULE}.qzeros: stores 8 for output 5, group 0, and sym is true, for which version 1 stores 7 "
        "everywhere and version 2 8"
    )


def test_what_cannot_be_told_is_refused() -> None:
    codes, scales = drawn(4, 32, 32, 1, 4)
    tensors = gptq(codes, np.full((1, 32), 3), scales, 4, None)
    line = refused(tensors, (32, 32), sym=False, checkpoint_format=None)
    assert line.startswith(
        f"model: {MODULE}.qzeros: may be stored less one or not: sym is false and no checkpoint_format says"
    )
    stored = np.full((1, 32), 3)
    stored[0, 31] = 15
    line = refused(gptq(codes, stored, scales, 4, None), (32, 32), sym=False)
    assert "stores 15 for output 31, group 0, which no file of version 1 can mean" in line
    assert "named gptq and holds gptq_v2 shows itself so" in line
    read(gptq(codes, stored, scales, 4, None), (32, 32), sym=False, checkpoint_format="gptq_v2")


def test_three_bits_lie_across_words() -> None:
    """The eleventh and twenty-second code of 32, one bit at a time."""
    scales = torch.ones((1, 32), dtype=torch.float16)
    for place in (9, 10, 11, 20, 21, 22, 31):
        for code in (1, 2, 4, 7):
            codes = np.zeros((32, 32), dtype=np.int64)
            codes[0, place] = code
            found = read(gptq(codes, np.full((1, 32), 3), scales, 3, None), (32, 32), bits=3)
            assert np.array_equal(found.codes + 4, codes)


ORDERS: Final[tuple[tuple[list[int] | None, bool, str], ...]] = (
    (None, True, "g_idx: is missing, expected shape [64]: desc_act is true"),
    (
        [1] * 32 + [0] * 32,
        False,
        "g_idx: puts input 0 into group 1, and desc_act is false: by order it is in group 0",
    ),
    ([0] * 64, False, "g_idx: puts input 32 into group 0, and desc_act is false"),
    ([0] * 32 + [-1] * 32, True, "g_idx: puts input 32 into group -1, expected 0 .. 1"),
    ([0] * 32 + [2] * 32, True, "g_idx: puts input 32 into group 2, expected 0 .. 1"),
    ([0] * 33 + [1] * 31, True, "g_idx: puts 33 inputs into group 0, expected 32"),
)


@pytest.mark.parametrize(("order", "act_order", "line"), ORDERS)
def test_orders_that_are_none(order: list[int] | None, act_order: bool, line: str) -> None:
    codes, scales = drawn(5, 32, 64, 2, 4)
    tensors = gptq(codes, np.full((2, 32), 7), scales, 4, None if order is None else np.array(order))
    assert f"{MODULE}.{line}" in refused(tensors, (32, 64), desc_act=act_order)


def test_tensors_that_do_not_fit() -> None:
    codes, scales = drawn(6, 32, 64, 2, 4)
    good = gptq(codes, np.full((2, 32), 7), scales, 4, np.arange(64) // 32)
    read(good, (32, 64))
    read(good | {f"{MODULE}.bias": torch.zeros(32)}, (32, 64))
    name = f"{MODULE}.qweight"
    packed = "as 32 outputs and 64 inputs of 4 bits are packed"
    assert refused({k: v for k, v in good.items() if k != name}, (32, 64)) == (
        f"model: {name}: is missing, expected shape [8, 32], {packed}"
    )
    assert refused(good | {name: good[name][:-1]}, (32, 64)) == (
        f"model: {name}: has shape [7, 32], expected [8, 32], {packed}"
    )
    assert (
        refused(good | {name: good[name].float()}, (32, 64)) == f"model: {name}: has dtype F32, expected I32"
    )
    assert "qweight: has shape [8, 32], expected [16, 32]" in refused(good, (32, 64), bits=8)
    assert "qzeros: has shape [2, 4], expected [4, 4]" in refused(good, (32, 64), group_size=16)
    assert "qweight: has shape [8, 32], expected [4, 64]" in refused(good, (64, 32))
    assert "cannot hold 32 outputs and 60 inputs: 4-bit codes are packed by 8" in refused(good, (32, 60))
    assert "cannot hold 40 outputs and 64 inputs: 3-bit codes are packed by 32" in refused(
        good, (40, 64), bits=3
    )
    for value in (float("nan"), float("inf"), float("-inf")):
        bad = scales.clone()
        bad[1, 3] = value
        assert f"scales: is {value} at [1, 3], expected a finite number" in refused(
            good | {f"{MODULE}.scales": bad}, (32, 64)
        )
    line = refused(good | {f"{MODULE}.weight": torch.zeros(1)}, (32, 64))
    assert line == f"model: {MODULE}.weight: is a tensor that GPTQ does not have"
    assert "scales: has dtype I32, expected F16 or BF16 or F32" in refused(
        good | {f"{MODULE}.scales": scales.int()}, (32, 64)
    )


KEYS: Final[tuple[tuple[dict[str, Any], str], ...]] = (
    ({"bits": 5}, "bits: is 5, expected one of 2, 3, 4, 8"),
    ({"bits": True}, "bits: is True, expected one of 2, 3, 4, 8"),
    ({"bits": "4"}, "bits: is '4', expected one of 2, 3, 4, 8"),
    ({"bits": None}, "bits: is missing, expected one of 2, 3, 4, 8"),
    ({"group_size": 0}, "group_size: is 0, expected an integer of at least 1, or -1"),
    ({"group_size": 32.0}, "group_size: is 32.0, expected an integer"),
    ({"desc_act": 1}, "desc_act: is 1, expected true or false"),
    ({"desc_act": None}, "desc_act: is missing, expected true or false"),
    ({"sym": None}, "sym: is missing, expected true or false"),
    ({"checkpoint_format": "marlin"}, "checkpoint_format: is 'marlin', expected gptq or gptq_v2"),
    ({"checkpoint_format": []}, "checkpoint_format: is [], expected gptq or gptq_v2"),
    ({"format": "gptq_v2"}, "checkpoint_format: is 'gptq', and format is 'gptq_v2'"),
    ({"dynamic": {"-:.*": {}}}, "dynamic: is {'-:.*': {}}: other bits for some modules are not read"),
    ({"is_marlin_format": True}, "is_marlin_format: is True: the order of Marlin's kernel is not read"),
    ({"pack_dtype": "int16"}, "pack_dtype: is 'int16', expected int32"),
    ({"colour": 3}, "colour: is 3: this key is not known here"),
    (
        {"quant_method": "bitsandbytes"},
        "quant_method: is 'bitsandbytes', expected gptq, awq, compressed-tensors or mxfp4: its",
    ),
    ({"quant_method": "hqq"}, "quant_method: is 'hqq', expected gptq, awq, compressed-tensors or mxfp4"),
    ({"quant_method": None}, "quant_method: is missing, expected gptq, awq, compressed-tensors or mxfp4"),
    ({"quant_method": ["gptq"]}, "quant_method: is ['gptq'], expected gptq"),
)


@pytest.mark.parametrize(("changes", "line"), KEYS)
def test_keys_that_do_not_fit(changes: dict[str, Any], line: str) -> None:
    with pytest.raises(InputError) as caught:
        read_quantization(config(**changes), Path("config.json"))
    assert str(caught.value).startswith(f"config.json: quantization_config.{line}")


@pytest.mark.parametrize("raw", [None, [], 4, "gptq"])
def test_no_object(raw: object) -> None:
    with pytest.raises(InputError, match=r"config\.json: quantization_config: is .*, expected an object"):
        read_quantization(raw, Path("config.json"))


def test_what_the_config_says() -> None:
    found = read_quantization(config(group_size=-1, sym=False, desc_act=True, format="gptq"), SOURCE)
    assert found == Gptq(4, None, act_order=True, symmetric=False, version=1)
