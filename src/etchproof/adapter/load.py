"""A LoRA adapter folder in PEFT form, validated against its base model's architecture."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from torch import Tensor

from etchproof.adapter.config import CONFIG_FILE, read_adapter_config
from etchproof.adapter.targets import resolve_targets
from etchproof.checkpoint.config import ModelConfig
from etchproof.checkpoint.folder import content_hash, existing_folder
from etchproof.checkpoint.safetensors_file import (
    check_finite,
    check_header,
    open_safetensors,
    own_float32,
    refuse_missing,
)
from etchproof.errors import InputError, shown_name
from etchproof.files.regular import exists

WEIGHTS_FILE: Final = "adapter_model.safetensors"

_SURPLUS_HINTS: Final = (
    (re.compile(r"embed_tokens|lm_head|lora_embedding"), "embedding and head are etched"),
    (re.compile(r"lora_magnitude_vector"), "this is DoRA's, which rescales the etched weights"),
    (re.compile(r"lora_[AB]\.bias$"), "a bias on the adapter's own product is not modelled"),
    (
        re.compile(r"lora_[AB]\.[^.]+\.weight$"),
        "drop the adapter's name in it, as PEFT's save_pretrained does",
    ),
)


@dataclass(frozen=True, eq=False)
class LoraLinear:
    """What an adapter adds to one linear: ``scaling * B (A x)``.

    Attributes:
        module: the linear's name in the base model, ``model.layers.0.self_attn.q_proj``.
        r: the rank.
        alpha: as ``lora_alpha`` or ``alpha_pattern`` gives it.
        scaling: ``alpha / r``, or ``alpha / sqrt(r)`` with ``use_rslora``.
        A: (r, in_features) float32.
        B: (out_features, r) float32.
    """

    module: str
    r: int
    alpha: float
    scaling: float
    A: Tensor = field(repr=False)
    B: Tensor = field(repr=False)


@dataclass(frozen=True)
class Adapter:
    """A validated adapter.

    Attributes:
        path: the folder.
        name: the folder's name, for reports.
        sha256: hash of the content: ``adapter_config.json``, then ``adapter_model.safetensors``, each as file
            name, size and bytes. It does not depend on where the folder lies.
        linears: by (layer, linear) in dataflow order, as in ``etchproof.checkpoint.linears.LINEARS``; those that
            the adapter leaves alone are not in it.
    """

    path: Path
    name: str
    sha256: str
    linears: Mapping[tuple[int, str], LoraLinear] = field(repr=False, compare=False)


def load_adapter(path: str | Path, model: ModelConfig, max_rank: int | None = None) -> Adapter:
    """Read an adapter folder made for ``model``, whole: its config, its tensors' names and shapes, every value.

    The config says which tensors there must be; the file must hold those and no other.

    Args:
        max_rank: the highest rank that the chip takes; None sets no limit.

    Raises:
        InputError: one line that names the file, the key or tensor, what was found and what was expected.
    """
    folder = existing_folder(path, "adapter", CONFIG_FILE)
    config_file, weights_file = folder / CONFIG_FILE, folder / WEIGHTS_FILE
    config = read_adapter_config(folder)
    targets = resolve_targets(config, model, config_file, max_rank)
    if not exists(weights_file):
        raise _no_weights(folder)

    shapes = {name: shape for target in targets for name, shape in target.tensors().items()}
    tensors = _read_tensors(weights_file, shapes, model)
    linears = {}
    for target in targets:
        a, b = (tensors[name] for name in target.tensors())
        linears[target.linear.layer, target.linear.linear] = LoraLinear(
            module=target.linear.module,
            r=target.r,
            alpha=target.alpha,
            scaling=config.scaling(target.r, target.alpha),
            A=a,
            B=b,
        )
    return Adapter(
        path=folder,
        name=folder.absolute().name,
        sha256=content_hash((config_file, weights_file)),
        linears=linears,
    )


def _read_tensors(path: Path, shapes: Mapping[str, tuple[int, ...]], model: ModelConfig) -> dict[str, Tensor]:
    tensors = {}
    with open_safetensors(path) as file:
        _check_names(file.keys(), shapes, model, path)
        hint = f"was the adapter made for {model.name}, and do r and rank_pattern fit?"
        for name, shape in shapes.items():
            check_header(file, name, shape, path, hint)
        for name in shapes:
            tensors[name] = own_float32(file.get_tensor(name))
            check_finite(tensors[name], name, path)
    return tensors


def _check_names(
    found: Iterable[str], expected: Mapping[str, tuple[int, ...]], model: ModelConfig, source: Path
) -> None:
    held = set(found)
    for name in sorted(held):
        if name not in expected:
            raise InputError(
                "is a tensor that adapter_config.json does not ask for",
                source=source,
                key=shown_name(name),
                hint=_surplus_hint(name, model),
            )
    refuse_missing(held, expected, source)


def _surplus_hint(name: str, model: ModelConfig) -> str:
    for expression, hint in _SURPLUS_HINTS:
        if expression.search(name):
            return hint
    layer = re.search(r"\.layers\.(\d{1,9})\.", name)
    if layer and int(layer[1]) >= model.n_layers:
        return f"{model.name} has {model.n_layers} layers"
    return "does target_modules fit?"


def _no_weights(folder: Path) -> InputError:
    if exists(folder / "adapter_model.bin"):
        return InputError(
            f"holds adapter_model.bin but no {WEIGHTS_FILE}",
            source=folder,
            hint="convert it: PeftModel.from_pretrained(...).save_pretrained(...) of peft",
        )
    return InputError(f"holds no {WEIGHTS_FILE}", source=folder)
