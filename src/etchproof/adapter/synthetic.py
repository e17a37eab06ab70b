"""Adapters in PEFT form from given or from seeded random tensors, for tests.

The same seed gives the same bytes on any machine, as with ``etchproof.checkpoint.synthetic``.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from etchproof.adapter.config import CONFIG_FILE, AdapterConfig
from etchproof.adapter.load import WEIGHTS_FILE
from etchproof.adapter.targets import resolve_targets
from etchproof.checkpoint.config import ModelConfig
from etchproof.checkpoint.synthetic import random_tensor
from etchproof.files.json_file import write_json


def write_synthetic_adapter(
    folder: str | Path,
    model: ModelConfig,
    config: AdapterConfig,
    seed: int,
    *,
    dtype: torch.dtype = torch.float32,
    gain: float = 1.0,
) -> Path:
    """Write an adapter folder of seeded random tensors for ``model``; return the folder.

    A has a standard deviation of 1/sqrt(in_features) and B of ``gain``/sqrt(r): inputs of about 1 get an addition of
    about ``gain`` times the scaling. A ``gain`` of 0 is the adapter that changes nothing; one of -1 cancels that of 1
    from the same seed.

    Args:
        folder: made if need be; files of the same names are replaced.
        dtype: float32, float16 or bfloat16, for all tensors.

    Raises:
        InputError: the config adapts no linear of ``model``, or something that is none.
    """
    tensors = {}
    for target in resolve_targets(config, model, Path(folder) / CONFIG_FILE):
        name_a, name_b = target.tensors()
        shape_a, shape_b = target.tensors().values()
        tensors[name_a] = random_tensor(name_a, shape_a, seed).to(dtype)
        tensors[name_b] = (gain * random_tensor(name_b, shape_b, seed)).to(dtype)
    return write_adapter(folder, config, tensors)


def write_adapter(folder: str | Path, config: AdapterConfig, tensors: Mapping[str, Tensor]) -> Path:
    """Write an adapter folder of ``tensors`` by their PEFT names, as they are; return the folder.

    Nothing is checked: a test of refusals needs files that do not fit.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / CONFIG_FILE, peft_config(config))
    save_file(dict(tensors), folder / WEIGHTS_FILE, metadata={"format": "pt"})
    return folder


def peft_config(config: AdapterConfig) -> dict[str, Any]:
    """The ``adapter_config.json`` that ``read_adapter_config`` reads as ``config``; PEFT wants null for empty."""
    settings = config.model_dump()
    for key in ("exclude_modules", "layers_to_transform", "layers_pattern"):
        settings[key] = settings[key] or None
    return {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "bias": "none",
        "inference_mode": True,
        "init_lora_weights": True,
        "lora_dropout": 0.0,
        "modules_to_save": None,
        **settings,
    }
