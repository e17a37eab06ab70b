"""compressed-tensors: what the library wrote is read as the library reads it; what its config can ask for, by name."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from etchproof.errors import InputError
from etchproof.published.compressed_tensors import CompressedTensors
from etchproof.published.config import read_quantization
from tests.unit.published.folders import MODULE, SOURCE, read, refused, weights

TOKEN: Final = {"num_bits": 8, "type": "int", "symmetric": True, "strategy": "token", "dynamic": True}


def config(form: str = "pack-quantized", inputs: Any = None, **changes: Any) -> dict[str, Any]:
    scheme = {
        "num_bits": 4,
        "type": "int",
        "symmetric": True,
        "strategy": "group",
        "group_size": 32,
        "dynamic": False,
        "actorder": None,
        "block_structure": None,
        "observer": "minmax",
        "observer_kwargs": {},
    }
    scheme |= changes
    if scheme["strategy"] != "group":
        scheme["group_size"] = changes.get("group_size")
    return {
        "quant_method": "compressed-tensors",
        "format": form,
        "quantization_status": "compressed",
        "global_compression_ratio": None,
        "config_groups": {
            "group_0": {
                "targets": ["Linear"],
                "weights": scheme,
                "input_activations": inputs,
                "output_activations": None,
            }
        },
        "ignore": ["lm_head"],
        "kv_cache_scheme": None,
        "sparsity_config": {},
        "transform_config": {},
        "version": "0.12.2",
    }


def written(
    raw: dict[str, Any], seed: int, shape: tuple[int, int]
) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """A linear as the library stores it, and as it restores it. Scales are half precision in float32, so that the
    library's own products are exact."""
    library = pytest.importorskip("compressed_tensors.compressors")
    quantization = pytest.importorskip("compressed_tensors.quantization")
    group = raw["config_groups"]["group_0"]
    scheme = quantization.QuantizationScheme.model_validate(copy.deepcopy(group))
    compressor = library.BaseCompressor.get_value_from_registry(raw["format"])
    args, rng = group["weights"], np.random.default_rng(seed)
    rows, cols = shape
    groups = {"group": -(-cols // (args["group_size"] or cols)), "channel": 1, "tensor": 1}[args["strategy"]]
    held = (1,) if args["strategy"] == "tensor" else (rows, groups)
    half = 1 << (args["num_bits"] - 1)
    scale = torch.from_numpy(rng.uniform(1e-3, 1, held).astype(np.float16).astype(np.float32))
    state = {
        "weight": torch.from_numpy(rng.normal(0, half / 3, shape).astype(np.float32)),
        "weight_scale": scale,
    }
    if args["symmetric"]:
        state["weight_zero_point"] = torch.zeros(held, dtype=torch.int8)
    else:
        state["weight_zero_point"] = torch.from_numpy(rng.integers(-half, half, held).astype(np.int8))
    stored = compressor.compress(state, scheme)
    restored: torch.Tensor = compressor.decompress(stored, scheme)["weight"]
    tensors = {f"{MODULE}.{name}": tensor for name, tensor in stored.items()}
    return tensors, restored.to(torch.float64)


@given(
    seed=st.integers(0, 2**32 - 1),
    form=st.sampled_from(["pack-quantized", "int-quantized"]),
    bits=st.sampled_from([4, 8]),
    rows=st.integers(9, 20),  # the library cannot unpack zeros that take one word
    cols=st.integers(1, 70),
    strategy=st.sampled_from(["group", "channel", "tensor"]),
    symmetric=st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_as_the_library(
    seed: int, form: str, bits: int, rows: int, cols: int, strategy: str, symmetric: bool
) -> None:
    bits = 8 if form == "int-quantized" else bits
    size = 8 if strategy == "group" else None
    cols = 8 * cols if strategy == "group" else cols  # the library's groups are whole
    raw = config(form, num_bits=bits, strategy=strategy, group_size=size, symmetric=symmetric)
    tensors, expected = written(raw, seed, (rows, cols))
    found = read(raw, tensors, (rows, cols))
    assert (found.form, found.bits) == (f"compressed-tensors {form}", bits)
    assert (found.group_size, found.groups) == (size or cols, None)
    assert (found.codes.dtype, found.codes.shape) == (np.int8, (rows, cols))
    assert found.scales.shape == (rows, -(-cols // found.group_size))
    assert (found.minimums is None) == symmetric
    assert np.array_equal(weights(found), expected.numpy())


@pytest.mark.parametrize("bits", [4, 8])
def test_every_code_and_zero(bits: int) -> None:
    """By hand: codes lie from the lowest bit on, plus half their range; zeros likewise, along the outputs."""
    count, half = 1 << bits, 1 << (bits - 1)
    raw = config(num_bits=bits, symmetric=False, strategy="channel")
    together = 32 // bits
    words = [
        [sum((first + i) << (bits * i) for i in range(together)) for first in range(0, count, together)]
    ] * count
    zeros = [[sum((first + i) << (bits * i) for i in range(together))] for first in range(0, count, together)]
    tensors = {
        f"{MODULE}.weight_packed": torch.from_numpy(np.array(words, dtype=np.uint32).view(np.int32).copy()),
        f"{MODULE}.weight_shape": torch.tensor([count, count]),
        f"{MODULE}.weight_scale": torch.ones((count, 1)),
        f"{MODULE}.weight_zero_point": torch.from_numpy(
            np.array(zeros, dtype=np.uint32).view(np.int32).copy()
        ),
    }
    found = read(raw, tensors, (count, count))
    assert found.codes.tolist() == [list(range(-half, half))] * count
    assert found.minimums is not None
    assert (-found.minimums[:, 0]).tolist() == list(range(-half, half))


def test_the_order_of_inputs() -> None:
    raw = config()
    tensors, _ = written(raw, 1, (4, 64))
    order = np.arange(64) // 32
    np.random.default_rng(1).shuffle(order)
    tensors[f"{MODULE}.weight_g_idx"] = torch.from_numpy(order.astype(np.int32))
    name = f"{MODULE}.weight_g_idx"
    assert f"{name}: is a tensor that this pack-quantized scheme does not have" in refused(
        raw, tensors, (4, 64)
    )
    ordered = config(actorder="group")
    assert np.array_equal(read(ordered, tensors, (4, 64)).groups, order)
    straight = tensors | {name: torch.from_numpy(np.sort(order))}
    assert read(ordered, straight, (4, 64)).groups is None
    assert f"{name}: is missing, expected shape [64]" in refused(
        ordered, written(raw, 1, (4, 64))[0], (4, 64)
    )
    wrong = torch.full((64,), -1, dtype=torch.int32)
    assert f"{name}: puts input 0 into group -1, expected 0 .. 1" in refused(
        ordered, tensors | {name: wrong}, (4, 64)
    )
    wrong = torch.zeros(64, dtype=torch.int32)
    assert f"{name}: puts 64 inputs into group 0, expected 32" in refused(
        ordered, tensors | {name: wrong}, (4, 64)
    )


def test_tensors_that_do_not_fit() -> None:
    raw = config(symmetric=False)
    good, _ = written(raw, 2, (9, 40 * 4))
    shape = (9, 160)
    read(raw, good | {f"{MODULE}.bias": torch.zeros(9)}, shape)
    name = f"{MODULE}.weight_packed"
    assert refused(raw, {k: v for k, v in good.items() if k != name}, shape) == (
        f"model: {name}: is missing, expected shape [9, 20], as 160 inputs of 4 bits are packed"
    )
    assert "weight_shape: is [9, 160], expected [9, 161]" in refused(raw, good, (9, 161))
    assert "weight_shape: is [160, 9], expected [9, 160]" in refused(
        raw, good | {f"{MODULE}.weight_shape": torch.tensor([160, 9])}, shape
    )
    assert "weight_packed: has dtype I8, expected I32" in refused(
        raw, good | {name: good[name].to(torch.int8)}, shape
    )
    assert "weight_packed: has shape [9, 20], expected [9, 40]" in refused(
        config(num_bits=8), good_symmetric(good), shape
    )
    zeros = f"{MODULE}.weight_zero_point"
    assert "weight_zero_point: is a tensor that this pack-quantized scheme does not have" in refused(
        config(), good, shape
    )
    assert "weight_zero_point: has shape [9, 5], expected [2, 5]" in refused(
        raw, good | {zeros: torch.zeros((9, 5), dtype=torch.int32)}, shape
    )
    spare = good[zeros].clone()
    spare[1, 0] |= 1 << 24  # the fifteenth of nine outputs
    assert "weight_zero_point: holds 1 in word space beyond the last code, expected 0" in refused(
        raw, good | {zeros: spare}, shape
    )
    assert "weight_scale: is nan at [0, 0], expected a finite number" in refused(
        raw, good | {f"{MODULE}.weight_scale": good[f"{MODULE}.weight_scale"] * float("nan")}, shape
    )


def test_zeros_of_older_releases_are_not_packed() -> None:
    raw = config(symmetric=False)
    good, expected = written(raw, 3, (9, 64))
    name = f"{MODULE}.weight_zero_point"
    packed = good[name].numpy().view(np.uint32)  # (2, 2)
    plain = np.stack([packed[o // 8] >> np.uint32(4 * (o % 8)) & 15 for o in range(9)]).astype(np.int8) - 8
    found = read(raw, good | {name: torch.from_numpy(plain)}, (9, 64))
    assert np.array_equal(weights(found), expected.numpy())
    assert "weight_zero_point: has shape [2, 9], expected [9, 2]" in refused(
        raw, good | {name: torch.from_numpy(plain.T.copy())}, (9, 64)
    )


def good_symmetric(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: tensor for name, tensor in tensors.items() if not name.endswith("zero_point")}


def _change(path: str, value: Any) -> dict[str, Any]:
    raw = config()
    *outer, last = path.split(".")
    at: Any = raw
    for key in outer:
        at = at[key]
    at[last] = value
    return raw


GROUP: Final = "config_groups.group_0"
KEYS: Final[tuple[tuple[str, Any, str], ...]] = (
    (
        "format",
        "marlin-24",
        "format: is 'marlin-24', expected pack-quantized or int-quantized or nvfp4-pack-quantized or "
        "mxfp4-pack-quantized or mxfp6-pack-quantized or mixed-precision",
    ),
    ("format", "float-quantized", "format: is 'float-quantized', expected pack-quantized"),
    ("format", "mixed-precision", f"{GROUP}.format: is missing, expected pack-quantized or int-quantized"),
    ("format", "int-quantized", f"{GROUP}.weights.num_bits: is 4, expected one of 8"),
    (
        "quantization_status",
        "calibration",
        "quantization_status: is 'calibration', expected compressed or frozen",
    ),
    ("config_groups", {}, "config_groups: is {}, expected an object of schemes"),
    ("config_groups", [1], "config_groups: is [1], expected an object of schemes"),
    ("config_groups", {"W4A16": ["Linear"]}, "config_groups.W4A16: is ['Linear'], expected an object"),
    ("ignore", "lm_head", "ignore: is 'lm_head', expected a list of names"),
    ("ignore", ["re:(a+)+b"], "ignore: holds 're:(a+)+b', an expression that is not read here"),
    ("ignore", ["re:.*.*.*.*.*"], "ignore: holds 're:.*.*.*.*.*', an expression that is not read here"),
    ("ignore", ["re:("], "ignore: holds 're:(', which is no regular expression"),
    (
        "kv_cache_scheme",
        {"num_bits": 8},
        "kv_cache_scheme: is {'num_bits': 8}: the cache's format is the recipe's",
    ),
    (
        "sparsity_config",
        {"format": "sparse-24-bitmask"},
        "sparsity_config: is {'format': 'sparse-24-bitmask'}: sparse",
    ),
    ("sparsity_config", 5, "sparsity_config: is 5: sparse weights are not read"),
    ("transform_config", {"a": 1}, "transform_config: is {'a': 1}: transformed weights are not read"),
    ("colour", 3, "colour: is 3: this key is not known here"),
    (f"{GROUP}.targets", [], f"{GROUP}.targets: is missing or empty, expected names of modules"),
    (
        f"{GROUP}.output_activations",
        {"num_bits": 8},
        f"{GROUP}.output_activations: is {{'num_bits': 8}}: results that",
    ),
    (f"{GROUP}.input_activations", 8, f"{GROUP}.input_activations: is 8, expected an object"),
    (f"{GROUP}.weights", None, f"{GROUP}.weights: is None, expected an object"),
    (f"{GROUP}.weights.type", "float", f"{GROUP}.weights.type: is 'float', expected int"),
    (f"{GROUP}.weights.num_bits", 3, f"{GROUP}.weights.num_bits: is 3, expected one of 4, 8"),
    (
        f"{GROUP}.weights.strategy",
        "block",
        f"{GROUP}.weights.strategy: is 'block', expected group or channel or tensor",
    ),
    (f"{GROUP}.weights.strategy", "channel", f"{GROUP}.weights.group_size: is 32, and strategy is channel"),
    (
        f"{GROUP}.weights.group_size",
        -1,
        f"{GROUP}.weights.group_size: is -1, expected an integer of at least 1",
    ),
    (f"{GROUP}.weights.group_size", None, f"{GROUP}.weights.group_size: is missing, expected an integer"),
    (f"{GROUP}.weights.symmetric", None, f"{GROUP}.weights.symmetric: is missing, expected true or false"),
    (f"{GROUP}.weights.dynamic", True, f"{GROUP}.weights.dynamic: is True: weights have no codes then"),
    (
        f"{GROUP}.weights.block_structure",
        [8, 8],
        f"{GROUP}.weights.block_structure: is [8, 8]: blocks of outputs",
    ),
    (
        f"{GROUP}.weights.actorder",
        "odd",
        f"{GROUP}.weights.actorder: is 'odd', expected weight, static, group or dynamic",
    ),
    (f"{GROUP}.weights.colour", 3, f"{GROUP}.weights.colour: is 3: this key is not known here"),
)


@pytest.mark.parametrize(("path", "value", "line"), KEYS)
def test_keys_that_do_not_fit(path: str, value: Any, line: str) -> None:
    with pytest.raises(InputError) as caught:
        read_quantization(_change(path, value), Path("config.json"))
    assert str(caught.value).startswith(f"config.json: quantization_config.{line}")


def scheme_of(raw: dict[str, Any], module: str) -> Any:
    found = read_quantization(raw, SOURCE)
    assert isinstance(found, CompressedTensors)
    return found.scheme_of(module, SOURCE)


def test_which_scheme_is_for_a_module() -> None:
    raw = config()
    raw["format"] = "mixed-precision"
    first = raw["config_groups"]["group_0"] | {"format": "pack-quantized"}
    second = copy.deepcopy(first)
    second["weights"]["num_bits"] = 8
    raw["config_groups"] = {
        "a": first | {"targets": [r"re:.*layers\.\d+\.mlp\..*_proj$"]},
        "b": second | {"targets": ["model.layers.0.self_attn.q_proj", MODULE]},
    }
    raw["ignore"] = ["lm_head", "re:.*down_proj"]
    assert scheme_of(raw, "model.layers.3.mlp.gate_proj").bits == 4
    assert scheme_of(raw, "model.layers.0.self_attn.q_proj").bits == 8
    for module, line in (
        (MODULE, f"{MODULE}.weight: is the target of 2 schemes in config_groups, which differ"),
        ("model.layers.0.self_attn.k_proj", "is the target of no scheme in config_groups"),
        ("model.layers.0.mlp.down_proj", "is left out by 're:.*down_proj' in ignore"),
        ("lm_head", "is left out by 'lm_head' in ignore"),
    ):
        with pytest.raises(InputError, match=line.replace("*", r"\*")):
            scheme_of(raw, module)
    raw["config_groups"]["b"] = first | {"targets": [MODULE]}
    assert scheme_of(raw, MODULE).bits == 4  # twice the same is no question


def test_what_is_asked_of_the_inputs_is_kept() -> None:
    raw = config("int-quantized", TOKEN, num_bits=8, strategy="channel")
    assert scheme_of(raw, MODULE).activations == "int of 8 bits by token, dynamic"
    assert scheme_of(config(), MODULE).activations is None
