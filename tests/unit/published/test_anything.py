"""Whatever a config or a tensor holds, the answer is a matrix or one line."""

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
from etchproof.published.config import read_quantization
from tests.unit.published import test_awq, test_compressed_tensors, test_gptq, test_mxfp4, test_packed_float
from tests.unit.published.folders import MODULE, awq, gptq, weights

SHAPE: Final = (32, 64)
SOURCE: Final = Path("model")


def _folders() -> dict[str, tuple[dict[str, Any], dict[str, torch.Tensor]]]:
    codes, scales = test_gptq.drawn(1, *SHAPE, 2, 4)
    order = np.arange(64) // 32
    packed = test_compressed_tensors.config(symmetric=False, actorder="group")
    zeros = torch.zeros((4, 2), dtype=torch.int32)
    tensors = {
        f"{MODULE}.weight_packed": torch.zeros((32, 8), dtype=torch.int32),
        f"{MODULE}.weight_shape": torch.tensor(SHAPE),
        f"{MODULE}.weight_scale": torch.ones((32, 2)),
        f"{MODULE}.weight_zero_point": zeros,
        f"{MODULE}.weight_g_idx": torch.from_numpy(order.astype(np.int32)),
    }
    return {
        "gptq": (
            test_gptq.config(sym=False, desc_act=True),
            gptq(codes, np.full((2, 32), 3), scales, 4, order),
        ),
        "awq": (dict(test_awq.CONFIG), awq(codes, np.full((2, 32), 3), scales)),
        "compressed-tensors": (packed, tensors),
        "nvfp4": (
            test_packed_float.config("nvfp4", test_packed_float.LOCAL),
            test_packed_float.drawn("nvfp4", 1, 32, 4)[2],
        ),
        "mxfp4": (test_packed_float.config("mxfp4"), test_packed_float.drawn("mxfp4", 1, 32, 2)[2]),
        "gpt-oss": (dict(test_mxfp4.CONFIG), test_mxfp4.drawn(1, 32, 2)[2]),
    }


FOLDERS: Final = _folders()
JSON: Final = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=12)
    | st.sampled_from(["re:.*", "Linear"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


def _places(raw: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    if not isinstance(raw, dict):
        return [path]
    return [path, *(place for key, value in raw.items() for place in _places(value, (*path, key)))]


def answer(raw: Any, tensors: dict[str, torch.Tensor]) -> None:
    try:
        weights(read_quantization(raw, SOURCE).read(MODULE, SHAPE, tensors, SOURCE))
    except InputError as error:
        line = str(error)
        assert line.startswith("model: ") and line.isprintable() and len(line) <= 1000


def test_as_they_are() -> None:
    for raw, tensors in FOLDERS.values():
        read_quantization(raw, SOURCE).read(MODULE, SHAPE, tensors, SOURCE)


AS_WRITTEN: Final[dict[str, dict[str, Any]]] = {
    "AutoGPTQ": {
        "quant_method": "gptq", "bits": 4, "group_size": 128, "damp_percent": 0.1, "desc_act": True, "sym": True,
        "static_groups": False, "true_sequential": True, "model_name_or_path": None, "model_file_base_name": "model",
    },
    "optimum": {
        "quant_method": "gptq", "bits": 4, "group_size": 128, "damp_percent": 0.01, "desc_act": False, "sym": True,
        "batch_size": 1, "block_name_to_quantize": None, "cache_block_outputs": True, "dataset": None,
        "exllama_config": {"version": 1}, "max_input_length": None, "model_seqlen": None, "pad_token_id": None,
        "module_name_preceding_first_block": None, "modules_in_block_to_quantize": None, "tokenizer": None,
        "true_sequential": True, "use_cuda_fp16": False, "use_exllama": True,
    },
    "GPTQModel": {
        "quant_method": "gptq", "bits": 4, "group_size": 32, "desc_act": True, "sym": True, "lm_head": False,
        "checkpoint_format": "gptq", "pack_dtype": "int32", "dynamic": None, "true_sequential": True,
        "meta": {"quantizer": ["gptqmodel:1.1.0"], "damp_percent": 0.1},
    },
    "AutoAWQ": {
        "quant_method": "awq", "bits": 4, "group_size": 128, "zero_point": True, "version": "gemm",
        "modules_to_not_convert": None,
    },
    "AWQ of transformers": {
        "quant_method": "awq", "bits": 4, "group_size": 128, "zero_point": True, "version": "gemm",
        "modules_to_not_convert": ["lm_head"], "backend": "autoawq", "do_fuse": False, "exllama_config": None,
        "fuse_max_seq_len": None, "modules_to_fuse": None,
    },
    "gpt-oss": {
        "quant_method": "mxfp4",
        "modules_to_not_convert": ["model.layers.*.self_attn", "model.layers.*.mlp.router", "lm_head"],
    },
    "NVFP4": {
        "quant_method": "compressed-tensors", "format": "nvfp4-pack-quantized", "quantization_status": "compressed",
        "global_compression_ratio": None, "ignore": ["lm_head"], "kv_cache_scheme": None, "sparsity_config": {},
        "transform_config": {}, "version": "0.12.2",
        "config_groups": {
            "group_0": {
                "format": "nvfp4-pack-quantized", "targets": ["Linear"], "output_activations": None,
                "input_activations": {
                    "actorder": None, "block_structure": None, "dynamic": "local", "group_size": 16, "num_bits": 4,
                    "observer": "static_minmax", "observer_kwargs": {}, "scale_dtype": "torch.float8_e4m3fn",
                    "strategy": "tensor_group", "symmetric": True, "type": "float", "zp_dtype": None,
                },
                "weights": {
                    "actorder": None, "block_structure": None, "dynamic": False, "group_size": 16, "num_bits": 4,
                    "observer": "minmax", "observer_kwargs": {}, "scale_dtype": "torch.float8_e4m3fn",
                    "strategy": "tensor_group", "symmetric": True, "type": "float", "zp_dtype": None,
                },
            }
        },
    },
    "W8A8": {
        "quant_method": "compressed-tensors", "format": "int-quantized", "quantization_status": "compressed",
        "global_compression_ratio": 1.24, "ignore": ["lm_head"], "kv_cache_scheme": None,
        "config_groups": {
            "group_0": {
                "targets": ["Linear"],
                "input_activations": {
                    "actorder": None, "block_structure": None, "dynamic": True, "group_size": None, "num_bits": 8,
                    "observer": None, "observer_kwargs": {}, "strategy": "token", "symmetric": True, "type": "int",
                },
                "output_activations": None,
                "weights": {
                    "actorder": None, "block_structure": None, "dynamic": False, "group_size": None, "num_bits": 8,
                    "observer": "minmax", "observer_kwargs": {}, "strategy": "channel", "symmetric": True,
                    "type": "int",
                },
            }
        },
    },
}  # fmt: skip
"""Configs in the manner of each writer."""


@pytest.mark.parametrize("writer", AS_WRITTEN)
def test_configs_of_each_writer(writer: str) -> None:
    read_quantization(AS_WRITTEN[writer], SOURCE)


@given(data=st.data(), name=st.sampled_from(sorted(FOLDERS)))
@settings(max_examples=150, deadline=None)
def test_any_config(data: st.DataObject, name: str) -> None:
    raw, tensors = FOLDERS[name]
    raw = copy.deepcopy(raw)
    path = data.draw(st.sampled_from(_places(raw)))
    value = data.draw(JSON)
    if not path:
        raw = value
    else:
        at: Any = raw
        for key in path[:-1]:
            at = at[key]
        if data.draw(st.booleans()):
            at[path[-1]] = value
        else:
            del at[path[-1]]
    answer(raw, tensors)


@given(data=st.data(), name=st.sampled_from(sorted(FOLDERS)))
@settings(max_examples=150, deadline=None)
def test_any_tensor(data: st.DataObject, name: str) -> None:
    raw, tensors = FOLDERS[name]
    changed = data.draw(st.sampled_from(sorted(tensors)))
    tensor = tensors[changed]
    how = data.draw(st.sampled_from(["missing", "dtype", "shape", "values", "more"]))
    if how == "missing":
        answer(raw, {key: value for key, value in tensors.items() if key != changed})
    elif how == "more":
        answer(raw, tensors | {f"{MODULE}.{data.draw(st.text(max_size=5))}": tensor})
    elif how == "dtype":
        dtypes = [
            torch.int8,
            torch.int32,
            torch.int64,
            torch.float16,
            torch.bfloat16,
            torch.float8_e4m3fn,
            torch.uint8,
            torch.float64,
            torch.bool,
        ]
        answer(raw, tensors | {changed: tensor.to(data.draw(st.sampled_from(dtypes)))})
    elif how == "shape":
        shape = data.draw(st.lists(st.integers(0, 3), max_size=3))
        answer(raw, tensors | {changed: torch.zeros(shape, dtype=tensor.dtype)})
    else:
        seed = data.draw(st.integers(0, 2**32 - 1))
        raw_bytes = np.random.default_rng(seed).bytes(tensor.numel() * tensor.element_size())
        values = torch.frombuffer(bytearray(raw_bytes), dtype=tensor.dtype).reshape(tensor.shape)
        answer(raw, tensors | {changed: values})
