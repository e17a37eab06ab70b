"""compressed-tensors' block formats: as the library restores them; each trap, and what does not fit, by name."""

from __future__ import annotations

import copy
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from etchproof.errors import InputError
from etchproof.published.block_scaled import MXFP4, MXFP6_E2M3, NVFP4
from etchproof.published.config import read_quantization
from etchproof.quantize.block_formats import quantize_blocks
from tests.unit.published.folders import MODULE, SOURCE, nibbles, read, refused, sixes, weights

FORMS: Final = {"nvfp4": NVFP4, "mxfp4": MXFP4, "mxfp6": MXFP6_E2M3}
WEIGHTS: Final[dict[str, dict[str, Any]]] = {
    "nvfp4": {
        "num_bits": 4,
        "strategy": "tensor_group",
        "group_size": 16,
        "scale_dtype": "torch.float8_e4m3fn",
    },
    "mxfp4": {"num_bits": 4, "strategy": "group", "group_size": 32, "scale_dtype": "torch.uint8"},
    "mxfp6": {"num_bits": 6, "strategy": "group", "group_size": 32, "scale_dtype": "torch.uint8"},
}
LOCAL: Final = {
    "num_bits": 4,
    "type": "float",
    "strategy": "tensor_group",
    "group_size": 16,
    "dynamic": "local",
}


def config(name: str, inputs: Any = None, **changes: Any) -> dict[str, Any]:
    plain = {"type": "float", "symmetric": True, "dynamic": False, "zp_dtype": None, "observer": "minmax"}
    group = {"targets": ["Linear"], "weights": plain | WEIGHTS[name] | changes, "input_activations": inputs}
    return {
        "quant_method": "compressed-tensors",
        "format": f"{name}-pack-quantized",
        "quantization_status": "compressed",
        "config_groups": {"group_0": group},
        "ignore": ["lm_head"],
    }


def stored(name: str, patterns: Any, scales: Any, divisor: float | None = None) -> dict[str, torch.Tensor]:
    """A linear as the library stores it. Args: patterns (rows, cols), patterns of scales (rows, groups)."""
    held = torch.from_numpy(np.asarray(scales, dtype=np.uint8))
    tensors = {
        f"{MODULE}.weight_packed": (sixes if name == "mxfp6" else nibbles)(np.asarray(patterns)),
        f"{MODULE}.weight_scale": held.view(torch.float8_e4m3fn) if name == "nvfp4" else held,
    }
    if divisor is not None:
        tensors[f"{MODULE}.weight_global_scale"] = torch.tensor([divisor], dtype=torch.float32)
    return tensors


def drawn(name: str, seed: int, rows: int, groups: int) -> tuple[Any, Any, dict[str, torch.Tensor]]:
    """Patterns and scales, every one of either somewhere if there is room, and the linear of them."""
    rng, form = np.random.default_rng(seed), FORMS[name]
    patterns = rng.integers(0, 1 << form.element.bits, (rows, groups * form.size))
    scales = rng.integers(0, 127 if name == "nvfp4" else 255, (rows, groups))
    divisor = float(np.float32(rng.uniform(1e-3, 1e5))) if name == "nvfp4" else None
    return patterns, scales, stored(name, patterns, scales, divisor)


def restored(name: str, tensors: dict[str, torch.Tensor]) -> torch.Tensor:
    """The weights, bfloat16, by the library."""
    library = pytest.importorskip("compressed_tensors.compressors")
    quantization = pytest.importorskip("compressed_tensors.quantization")
    raw = config(name)
    scheme = quantization.QuantizationScheme.model_validate(copy.deepcopy(raw["config_groups"]["group_0"]))
    state = {key.removeprefix(f"{MODULE}."): tensor for key, tensor in tensors.items()}
    found: torch.Tensor = library.BaseCompressor.get_value_from_registry(raw["format"]).decompress(
        state, scheme
    )["weight"]
    return found


@given(
    seed=st.integers(0, 2**32 - 1),
    name=st.sampled_from(sorted(FORMS)),
    rows=st.integers(1, 5),
    groups=st.integers(1, 4),
)
@settings(max_examples=40, deadline=None)
def test_as_the_library(seed: int, name: str, rows: int, groups: int) -> None:
    """The library divides the scale in float32, multiplies in it, and rounds to bfloat16; so does this test."""
    form = FORMS[name]
    patterns, _, tensors = drawn(name, seed, rows, groups)
    shape = (rows, groups * form.size)
    found = read(config(name), tensors, shape)
    assert (found.form, found.bits) == (f"compressed-tensors {name}-pack-quantized", form.element.bits)
    assert (found.group_size, found.groups, found.minimums) == (form.size, None, None)
    assert (found.element, found.codes.dtype, found.scales.dtype) == (form.element.name, np.int8, np.float64)
    assert found.patterns is not None and np.array_equal(found.patterns, patterns)
    unit = 2.0**-form.element.fraction
    scale = torch.from_numpy(found.scales / unit).float()
    divisor = torch.tensor([float(1 / found.factor)])
    assert Fraction(divisor.item()) == 1 / found.factor
    scale = (scale / divisor).repeat_interleave(form.size, dim=1)
    expected = torch.from_numpy(found.codes * unit).float() * scale
    expected[expected == 0] = torch.from_numpy(
        np.where(patterns >> (form.element.bits - 1), -0.0, 0.0)
    ).float()[expected == 0]
    library = restored(name, tensors)
    assert torch.equal(expected.bfloat16(), library)
    assert torch.equal(torch.signbit(expected), torch.signbit(library))
    assert np.array_equal(weights(found), found.weights())


@pytest.mark.parametrize("name", sorted(FORMS))
def test_every_pattern_and_scale(name: str) -> None:
    """By hand: elements lie from the lowest bit on, so the low nibble is the first; a scale is its own byte."""
    form = FORMS[name]
    count = 127 if name == "nvfp4" else 255
    patterns = np.tile(np.arange(1 << form.element.bits), (count, 64 >> form.element.bits))[:, : 2 * 32]
    cols = patterns.shape[1]
    scales = np.repeat(np.arange(count)[:, None], cols // form.size, axis=1)
    found = read(
        config(name), stored(name, patterns, scales, 3.0 if name == "nvfp4" else None), (count, cols)
    )
    assert found.patterns is not None and np.array_equal(found.patterns, patterns)
    assert found.factor == (Fraction(1, 3) if name == "nvfp4" else 1)
    half = 1 << (form.element.bits - 1)
    assert (
        found.codes[0, half] == 0 and found.patterns[0, half] == half
    )  # negative zero is 0, and keeps its pattern
    top = {"nvfp4": 448.0, "mxfp4": 2.0**127, "mxfp6": 2.0**127}[name]
    assert found.scales[-1, 0] == top * 2.0**-form.element.fraction
    assert found.scales[0, 0] == (0 if name == "nvfp4" else 2.0 ** (-127 - form.element.fraction))


def test_the_first_is_the_low_nibble() -> None:
    packed = torch.tensor([[0x10, 0x32, 0x54, 0x76, 0x98, 0xBA, 0xDC, 0xFE] * 2], dtype=torch.uint8)
    tensors = {
        f"{MODULE}.weight_packed": packed,
        f"{MODULE}.weight_scale": torch.tensor([[128]], dtype=torch.uint8),
    }
    found = read(config("mxfp4"), tensors, (1, 32))
    assert found.patterns is not None and found.patterns[0].tolist() == [*range(16)] * 2
    halves = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0]
    assert found.weights()[0, :16].tolist() == [
        2 * value for value in (*halves, *(-value for value in halves))
    ]


def test_the_global_scale_divides() -> None:
    patterns, scales = np.full((1, 16), 7), [[0x38]]  # 6, 1
    one, two = (read(config("nvfp4"), stored("nvfp4", patterns, scales, of), (1, 16)) for of in (1.0, 2688.0))
    assert one.weights().tolist() == [[6.0] * 16]
    assert two.weights().tolist() == [[6.0 / 2688] * 16]
    assert two.factor == Fraction(1, 2688)
    assert np.array_equal(one.scales, two.scales)


@given(
    seed=st.integers(0, 2**32 - 1),
    name=st.sampled_from(sorted(FORMS)),
    rows=st.integers(1, 4),
    groups=st.integers(1, 3),
)
@settings(max_examples=30, deadline=None)
def test_what_was_rounded_is_read_again(seed: int, name: str, rows: int, groups: int) -> None:
    form = FORMS[name]
    weight = np.random.default_rng(seed).normal(0, 0.05, (rows, groups * form.size)).astype(np.float32)
    made = quantize_blocks(weight, form)
    tensors = stored(name, made.patterns, made.scales, made.divisor if form.divided else None)
    found, expected = read(config(name), tensors, weight.shape), made.published()
    assert found.patterns is not None and np.array_equal(found.patterns, made.patterns)
    assert np.array_equal(found.codes, expected.codes)
    assert np.array_equal(found.scales, expected.scales)
    assert found.factor == expected.factor == 1 / Fraction(made.divisor)
    again = quantize_blocks(found.weights().astype(np.float32), form)
    if (
        not form.divided
    ):  # what the format holds stays, but for blocks whose largest elements have become smaller
        assert np.array_equal(again.published().weights(), found.weights())


def test_nvfp4_is_rounded_as_by_the_library() -> None:
    """Whose float32 arithmetic rounds more often; of these weights, none near enough to a border to show it."""
    helpers = pytest.importorskip("compressed_tensors.quantization.utils")
    library = pytest.importorskip("compressed_tensors.compressors")
    quantization = pytest.importorskip("compressed_tensors.quantization")
    scheme = quantization.QuantizationScheme(targets=["Linear"], **quantization.quant_scheme.NVFP4A16)
    weight = torch.from_numpy(np.random.default_rng(2).normal(0, 0.02, (64, 256)).astype(np.float32))
    split = weight.unflatten(-1, (16, 16))
    divisor = helpers.generate_gparam(weight.amin(), weight.amax())
    scale, _ = helpers.calculate_qparams(split.amin(-1), split.amax(-1), scheme.weights, global_scale=divisor)
    state = {"weight": weight, "weight_scale": scale, "weight_global_scale": divisor}
    stored = library.BaseCompressor.get_value_from_registry("nvfp4-pack-quantized").compress(state, scheme)
    found = quantize_blocks(weight.numpy(), NVFP4)
    assert found.divisor == float(divisor)
    assert np.array_equal(found.scales, stored["weight_scale"].view(torch.uint8).numpy())
    low, high = found.patterns[:, ::2], found.patterns[:, 1::2]
    assert np.array_equal(low | high << 4, stored["weight_packed"].numpy())


def test_scales_that_are_no_numbers() -> None:
    for name, code in (("nvfp4", 0x7F), ("nvfp4", 0xFF), ("mxfp4", 0xFF), ("mxfp6", 0xFF)):
        patterns, scales, _ = drawn(name, 1, 5, 4)
        scales[3, 2] = code
        tensors = stored(name, patterns, scales, 1.0 if name == "nvfp4" else None)
        line = refused(config(name), tensors, patterns.shape)
        scale = FORMS[name].scale.name
        assert line == (
            f"model: {MODULE}.weight_scale: holds {code:#04x} for row 3, group 2: NaN of {scale}, expected a number"
        )
    patterns, scales, _ = drawn("nvfp4", 1, 5, 4)
    scales[4, 1] = 0x80
    assert (
        "weight_scale: holds 0x80 for row 4, group 1: a negative E4M3, expected one without a sign"
        in refused(config("nvfp4"), stored("nvfp4", patterns, scales, 1.0), patterns.shape)
    )


@pytest.mark.parametrize(
    ("value", "line"),
    [
        (torch.tensor([0.0]), "is 0, expected more than 0: the whole matrix is divided by it"),
        (torch.tensor([-2.0]), "is -2, expected more than 0"),
        (torch.tensor([float("nan")]), "is nan at [0], expected a finite number"),
        (torch.tensor([float("inf")]), "is inf at [0], expected a finite number"),
        (torch.tensor([1.0], dtype=torch.bfloat16), "has dtype BF16, expected F32"),
        (torch.tensor(1.0), "has shape [], expected [1], one number for the matrix"),
        (None, "is missing, expected shape [1], one number for the matrix"),
    ],
)
def test_global_scales_that_do_not_fit(value: torch.Tensor | None, line: str) -> None:
    _, _, tensors = drawn("nvfp4", 2, 2, 1)
    name = f"{MODULE}.weight_global_scale"
    del tensors[name]
    tensors |= {} if value is None else {name: value}
    assert f"model: {name}: {line}" in refused(config("nvfp4"), tensors, (2, 16))


def test_tensors_that_do_not_fit() -> None:
    _, _, good = drawn("nvfp4", 3, 4, 2)
    raw, shape = config("nvfp4"), (4, 32)
    read(raw, good | {f"{MODULE}.bias": torch.zeros(4)}, shape)
    packed, scale = f"{MODULE}.weight_packed", f"{MODULE}.weight_scale"
    for tensors, line in (
        ({packed: good[packed].to(torch.int32)}, "weight_packed: has dtype I32, expected U8"),
        (
            {packed: good[packed][:, 1:]},
            "weight_packed: has shape [4, 15], expected [4, 16], as 32 inputs of 4 bits",
        ),
        ({scale: good[scale].view(torch.uint8)}, "weight_scale: has dtype U8, expected F8_E4M3"),
        ({scale: good[scale].float()}, "weight_scale: has dtype F32, expected F8_E4M3"),
        ({scale: good[scale][:, :1]}, "weight_scale: has shape [4, 1], expected [4, 2], blocks of 16 inputs"),
        (
            {f"{MODULE}.weight_shape": torch.tensor(shape)},
            "weight_shape: is a tensor that this nvfp4-pack-quantized scheme",
        ),
        ({f"{MODULE}.input_global_scale": torch.ones(1)}, "input_global_scale: is a tensor that this"),
    ):
        assert line in refused(raw, good | tensors, shape)
    assert "weight_packed: cannot hold 40 inputs: NVFP4 has blocks of 16" in refused(raw, good, (4, 40))
    _, _, plain = drawn("mxfp4", 3, 4, 2)
    assert "weight_global_scale: is a tensor that this mxfp4-pack-quantized scheme does not have" in refused(
        config("mxfp4"), plain | {f"{MODULE}.weight_global_scale": torch.ones(1)}, (4, 64)
    )
    assert "weight_scale: has shape [4, 2], expected [4, 4], blocks of 16 inputs" in refused(
        config("nvfp4"), plain | {f"{MODULE}.weight_global_scale": torch.ones(1)}, (4, 64)
    )


def test_a_scale_of_the_inputs_changes_no_code() -> None:
    _, _, tensors = drawn("nvfp4", 4, 2, 1)
    more = tensors | {f"{MODULE}.input_global_scale": torch.tensor([3.0])}
    found = read(config("nvfp4", LOCAL), more, (2, 16))
    assert np.array_equal(found.codes, read(config("nvfp4"), tensors, (2, 16)).codes)
    scheme = read_quantization(config("nvfp4", LOCAL), SOURCE).schemes[0][1]  # type: ignore[attr-defined]
    assert scheme.activations == "float of 4 bits by tensor_group, dynamic under a static scale"
    dynamic = LOCAL | {"dynamic": True}
    assert "input_global_scale: is a tensor that this" in refused(config("nvfp4", dynamic), more, (2, 16))


KEYS: Final[tuple[tuple[str, str, Any, str], ...]] = (
    ("nvfp4", "type", "int", "type: is 'int', expected float"),
    ("nvfp4", "num_bits", 8, "num_bits: is 8, expected one of 4"),
    ("nvfp4", "strategy", "group", "strategy: is 'group', expected tensor_group"),
    ("mxfp4", "strategy", "tensor_group", "strategy: is 'tensor_group', expected group"),
    ("nvfp4", "group_size", 32, "group_size: is 32, expected one of 16"),
    ("mxfp4", "group_size", 16, "group_size: is 16, expected one of 32"),
    ("mxfp6", "num_bits", 4, "num_bits: is 4, expected one of 6"),
    ("nvfp4", "symmetric", False, "symmetric: is false: NVFP4 has no zeros"),
    ("nvfp4", "symmetric", None, "symmetric: is missing, expected true or false"),
    ("nvfp4", "scale_dtype", "torch.uint8", "scale_dtype: is 'torch.uint8', expected torch.float8_e4m3fn or"),
    (
        "mxfp4",
        "scale_dtype",
        "torch.float8_e4m3fn",
        "scale_dtype: is 'torch.float8_e4m3fn', expected torch.uint8",
    ),
    (
        "nvfp4",
        "actorder",
        "group",
        "actorder: is 'group', expected weight or static: blocks are of consecutive",
    ),
    ("nvfp4", "dynamic", True, "dynamic: is True: weights have no codes then"),
    ("nvfp4", "block_structure", [8, 8], "block_structure: is [8, 8]: blocks of outputs"),
    ("nvfp4", "colour", 3, "colour: is 3: this key is not known here"),
)


@pytest.mark.parametrize(("name", "key", "value", "line"), KEYS)
def test_keys_that_do_not_fit(name: str, key: str, value: Any, line: str) -> None:
    with pytest.raises(InputError) as caught:
        read_quantization(config(name, **{key: value}), Path("config.json"))
    where = "config.json: quantization_config.config_groups.group_0.weights."
    assert str(caught.value).startswith(f"{where}{line}")


@pytest.mark.parametrize("name", sorted(FORMS))
@pytest.mark.parametrize("dtype", [None, "short"])
def test_a_scale_dtype_may_be_missing_or_short(name: str, dtype: str | None) -> None:
    word = None if dtype is None else WEIGHTS[name]["scale_dtype"].removeprefix("torch.")
    _, _, tensors = drawn(name, 5, 2, 1)
    read(config(name, scale_dtype=word, actorder="static"), tensors, (2, FORMS[name].size))
