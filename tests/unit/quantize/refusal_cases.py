"""A case for every refusal between a checkpoint and its integers: what gives it, and what its line has to name."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from etchproof.adapter import Adapter, AdapterConfig, load_adapter, write_adapter, write_synthetic_adapter
from etchproof.checkpoint import Checkpoint, ModelConfig, load_checkpoint, write_synthetic
from etchproof.checkpoint.rope import rope_cos_sin
from etchproof.checkpoint.shape import cut_shape, load_shape
from etchproof.project.declaration import Project, load_project
from etchproof.published.block_scaled import MXFP4
from etchproof.quantize import (
    load_quantized,
    load_quantized_adapter,
    quantize_adapter,
    quantize_adapter_cached,
    quantize_cached,
    quantize_model,
    save_adapter,
    save_quantized,
)
from etchproof.quantize.block_formats import quantize_blocks
from etchproof.quantize.quantized_model import QuantizedModel
from etchproof.quantize.recipe import Recipe, load_recipe
from etchproof.run import flow
from etchproof.run.design import Design, Quantized
from models.numerics import params
from tests.conftest import ROOT


class Kit:
    """A toy checkpoint on disk, and recipes and adapters for it."""

    def __init__(self, folder: Path, config: ModelConfig) -> None:
        self.folder = folder
        self.config = config.model_copy(update={"tie_word_embeddings": False})
        self.model_dir = write_synthetic(folder / "toy", self.config, seed=3, tokenizer=False, shards=2)

    def recipe(self, text: str = "", rules: str = "[{match: '*', bits: 6, group_size: 16}]") -> Recipe:
        path = self.folder / "mine.yaml"
        calibration = "calibration: {source: random, sequences: 1, length: 4}\n"
        path.write_text(f"{calibration}matrices: {rules}\n{text}", encoding="utf-8")
        return load_recipe(path, Path())

    @property
    def checkpoint(self) -> Checkpoint:
        return load_checkpoint(self.model_dir)

    def quantized(self, text: str = "") -> QuantizedModel:
        return quantize_model(self.checkpoint, self.recipe(text))

    def fill(self, **values: float) -> None:
        """Write a number over every element of the tensors whose names end so, "__" for "."."""
        for path in self.model_dir.glob("*.safetensors"):
            tensors = load_file(path)
            for name, tensor in tensors.items():
                for end, value in values.items():
                    if name.endswith(end.replace("__", ".")):
                        tensor.fill_(value)
            save_file(tensors, path, metadata={"format": "pt"})

    def adapter(self, factor: float = 1.0, rank: int = 2) -> Adapter:
        config = AdapterConfig(r=rank, lora_alpha=2.0, target_modules=("q_proj",), layers_to_transform=(0,))
        drawn = load_adapter(
            write_synthetic_adapter(self.folder / "drawn", self.config, config, 1, gain=1.0), self.config
        )
        (lora,) = drawn.linears.values()
        tensors = {
            f"base_model.model.{lora.module}.lora_A.weight": lora.A,
            f"base_model.model.{lora.module}.lora_B.weight": lora.B * factor,
        }
        return load_adapter(write_adapter(self.folder / "adapter", config, tensors), self.config)

    @property
    def plan(self) -> Any:
        return flow.plan_chip(PROJECT, self.config, self.recipe())[1]


PROJECT = load_project(ROOT)
SHAPE = """vocab_size: 64
hidden_size: 24
intermediate_size: 44
n_layers: 2
n_heads: 3
n_kv_heads: 1
head_dim: 6
context: 32
"""


def shape(kit: Kit, name: str = "ours.yaml", **changes: object) -> ModelConfig:
    (kit.folder / "shapes").mkdir(exist_ok=True)
    path = kit.folder / "shapes" / name
    lines = dict(line.split(": ") for line in SHAPE.splitlines()) | changes
    path.write_text("".join(f"{key}: {value}\n" for key, value in lines.items()), encoding="utf-8")
    return load_shape(path, Path())


def filled(**values: float) -> Callable[[Kit], object]:
    def case(kit: Kit) -> object:
        kit.fill(**values)
        return kit.quantized()

    return case


def with_gptq(kit: Kit) -> object:
    return quantize_model(kit.checkpoint, kit.recipe("method: gptq\ngptq: {damping: 1.0e-30}\n"))


def of_another_model(kit: Kit) -> object:
    adapter = kit.adapter()
    (lora,) = adapter.linears.values()
    moved = {(0, "k_proj"): dataclasses.replace(lora, module=lora.module.replace("q_proj", "k_proj"))}
    return quantize_adapter(kit.quantized(), dataclasses.replace(adapter, linears=moved), kit.checkpoint)


def adapted(text: str = "", **how: Any) -> Callable[[Kit], object]:
    return lambda kit: quantize_adapter(kit.quantized(text), kit.adapter(**how), kit.checkpoint)


def stored_adapter(damage: Callable[[Path], object]) -> Callable[[Kit], object]:
    def case(kit: Kit) -> object:
        file = kit.folder / "stored.safetensors"
        save_adapter(quantize_adapter(kit.quantized(), kit.adapter(), kit.checkpoint), file)
        damage(file)
        return load_quantized_adapter(file, "stored")

    return case


def stored(name: str, damage: Callable[[Path], object]) -> Callable[[Kit], object]:
    def case(kit: Kit) -> object:
        save_quantized(kit.quantized(), kit.folder / "stored")
        damage(kit.folder / "stored" / name)
        return load_quantized(kit.folder / "stored")

    return case


def flip_last(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def rewrite(change: Callable[[dict[str, torch.Tensor]], object]) -> Callable[[Path], None]:
    """A stored file with other arrays and the same metadata."""

    def damage(path: Path) -> None:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata()
        arrays = load_file(path)
        change(arrays)
        save_file(arrays, path, metadata)

    return damage


def drop(arrays: dict[str, torch.Tensor]) -> None:
    arrays.pop(sorted(arrays)[-1])


def floats(arrays: dict[str, torch.Tensor]) -> None:
    arrays["lm_head.codes"] = arrays["lm_head.codes"].to(torch.float32)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-8])


def unusable_cache(kit: Kit) -> Path:
    (kit.folder / "file").touch()
    return kit.folder / "file" / "cache"


def misfit(kit: Kit) -> object:
    model = kit.quantized()
    layer = dataclasses.replace(model.layers[1], frac={**model.layers[1].frac, "gate_proj": 17})
    return params.layer_params(dataclasses.replace(model, layers=(model.layers[0], layer)), 1)


def endless_block(kit: Kit) -> object:
    weight = np.full((2, 32), 1.0, dtype=np.float32)
    weight[1, 3] = np.inf
    (file, *_) = sorted(kit.model_dir.glob("*.safetensors"))
    return quantize_blocks(weight, MXFP4, name="model.norm.weight", source=file)


def planned(option: int | None = None, **changes: object) -> Callable[[Kit], object]:
    return lambda kit: flow.plan_chip(PROJECT, shape(kit, "ours.yaml", **changes), kit.recipe(), option)


def odd_group(kit: Kit) -> object:
    """No size that a recipe may name is odd to a tile: one of tomorrow may be."""
    recipe = kit.recipe()
    rule = recipe.matrices[0].model_copy(update={"group_size": 48})
    return flow.plan_chip(PROJECT, kit.config, recipe.model_copy(update={"matrices": (rule,)}))


def wide_accumulator(kit: Kit) -> object:
    """Sizes end at 2^24, with which an accumulator holds: one of tomorrow may be larger."""
    config = kit.config.model_copy(update={"intermediate_size": 1 << 25})
    return flow.plan_chip(PROJECT, config, kit.recipe(rules="[{match: '*', bits: 8, group_size: 16}]"))


def ruled(rules: str) -> Callable[[Kit], object]:
    return lambda kit: flow.plan_chip(PROJECT, kit.config, kit.recipe(rules=rules))


def no_taps(plan: object) -> tuple[()]:
    """``[taps] plan`` of a project that declares none."""
    return ()


def _design(kit: Kit, project: Project) -> Design:
    return Design(project, Quantized(kit.checkpoint, kit.recipe()), kit.plan)


def without_taps(kit: Kit) -> object:
    taps = PROJECT.taps.model_copy(update={"plan": f"{__name__}:no_taps"})
    return _design(kit, PROJECT.model_copy(update={"taps": taps})).taps


def own_with_a_recipe(kit: Kit) -> object:
    return flow.make_design(load_project(ROOT / "examples" / "serial"), Path("model"), "w6a16")


def without_corners(kit: Kit) -> object:
    project = PROJECT.model_copy(update={"coverage": None})
    design = _design(kit, project)
    return flow.corner_weights(design, kit.quantized(), 1)


def without_forward(kit: Kit) -> object:
    golden = PROJECT.golden.model_copy(update={"factory": "builtins:id"})  # makes a number of a model
    project = PROJECT.model_copy(update={"golden": golden})
    return flow.measurable_golden(_design(kit, project), kit.quantized())


ALL = "[{match: '*', bits: 6, group_size: 16}"
BIT = "rom:lm_head[3,7]^0"

# name: (what gives it, the file's name or None of an option, the key, a part of the line with the value)
CASES: dict[str, tuple[Callable[[Kit], object], str | None, str | None, str]] = {
    "a weight without end": (
        endless_block,
        "model-00001-of-00002.safetensors",
        "model.norm.weight",
        "is inf at [1, 3], expected a finite number",
    ),
    "no slots": (adapted("lora: {slots: 0}\n"), "mine.yaml", "lora.slots", "is 0"),
    "another model's adapter": (
        of_another_model,
        "adapter_model.safetensors",
        "model.layers.0.self_attn.k_proj",
        "of shape [18, 24], but that of toy is [6, 24]",
    ),
    "a rank above the chip's": (
        adapted("lora: {max_rank: 1}\n", rank=2),
        "adapter_config.json",
        "model.layers.0.self_attn.q_proj",
        "has rank 2, above the chip's maximum of 1",
    ),
    "a loud adapter": (
        adapted(factor=1e12),
        "adapter_model.safetensors",
        "model.layers.0.self_attn.q_proj.lora_B",
        "expected less than 2.147",
    ),
    "a stored adapter cut short": (
        stored_adapter(cut),
        "stored.safetensors",
        None,
        "is not a valid safetensors",
    ),
    "a stored adapter changed": (stored_adapter(flip_last), "stored.safetensors", None, "does not hold"),
    "no room for adapters": (
        lambda kit: quantize_adapter_cached(
            kit.quantized(), kit.adapter(), kit.checkpoint, unusable_cache(kit)
        ),
        "cache",
        None,
        "cannot be used: Not a directory",
    ),
    "a loud bias": (
        filled(k_proj__bias=1e7),
        "model-00001-of-00002.safetensors",
        "model.layers.0.self_attn.k_proj.bias",
        "holds a bias of magnitude 10000000, expected less than",
    ),
    "loud queries and keys": (
        filled(input_layernorm__weight=1e6, q_proj__weight=1e11, k_proj__weight=1e11),
        "model-00001-of-00002.safetensors",
        "model.layers.0.self_attn.k_proj.weight",
        "makes the tap layer 0 k_rope reach",
    ),
    "loud gains": (
        filled(model__norm__weight=1e12),
        "model-00002-of-00002.safetensors",
        "model.norm.weight",
        "holds a gain of magnitude 9.99999996e+11, expected less than",
    ),
    "little damping": (
        with_gptq,
        "mine.yaml",
        "gptq.damping",
        "is 1e-30, too little for model.layers.0.self_attn",
    ),
    "loud weights": (
        filled(up_proj__weight=1e15),
        "model-00001-of-00002.safetensors",
        "model.layers.0.mlp.up_proj.weight",
        "holds a weight of magnitude 9.99999987e+14, expected less than 1.331",
    ),
    "a stored model's key": (
        stored("model.json", lambda path: path.write_text('{"format": 2}')),
        "model.json",
        "format",
        "is 2, expected 1",
    ),
    "a stored model cut short": (
        stored("weights.safetensors", cut),
        "weights.safetensors",
        None,
        "is not a valid safetensors",
    ),
    "a stored model without an array": (
        stored("weights.safetensors", rewrite(drop)),
        "stored",
        None,
        "is damaged",
    ),
    "a stored model of floats": (
        stored("weights.safetensors", rewrite(floats)),
        "weights.safetensors",
        "lm_head.codes",
        "has dtype F32, expected integers",
    ),
    "a stored adapter without an array": (
        stored_adapter(rewrite(drop)),
        "stored.safetensors",
        None,
        "is damaged",
    ),
    "a stored model changed": (stored("weights.safetensors", flip_last), "stored", None, "does not hold"),
    "no room for models": (
        lambda kit: quantize_cached(kit.checkpoint, kit.recipe(), unusable_cache(kit)),
        "cache",
        None,
        "cannot be used: Not a directory",
    ),
    "a matrix without rule": (
        ruled("[{match: 'model.*', bits: 6, group_size: 16}]"),
        "mine.yaml",
        "matrices",
        "no rule matches lm_head of toy",
    ),
    "a rule without matrix": (
        ruled(ALL[:1] + "{match: nothing, bits: 6, group_size: 16}, " + ALL[1:] + "]"),
        "mine.yaml",
        "matrices[0].match",
        "'nothing' matches no matrix of toy",
    ),
    "a rule that comes too late": (
        ruled(ALL + ", {match: lm_head, bits: 6, group_size: 16}]"),
        "mine.yaml",
        "matrices[1].match",
        "['lm_head'] decides no matrix of toy",
    ),
    "a group that does not fit the tile": (
        odd_group,
        "mine.yaml",
        "matrices[0].group_size",
        "is 48, expected a divisor or a multiple of tile.inputs 64",
    ),
    "angles without end": (
        lambda kit: rope_cos_sin(shape(kit, rope="{theta: 1.0e-315}"), torch.arange(4).numpy()),
        "ours.yaml",
        "rope.theta",
        "is 1e-315: angles",
    ),
    "a shape's name": (
        lambda kit: shape(kit, name="a b.yaml"),
        "a b.yaml",
        "name",
        "is 'a b', expected letters",
    ),
    "a shape's value": (
        lambda kit: shape(kit, head_dim=7),
        "ours.yaml",
        "head_dim",
        "is 7, expected an even",
    ),
    "layers that a shape lacks": (
        lambda kit: cut_shape(shape(kit), layers=3, vocab=None),
        None,
        "--layers",
        "is 3, expected 1 .. 2",
    ),
    "a context that the model lacks": (planned(33), None, "--context", "is 33, expected 1 .. 32"),
    "a context that the chip lacks": (
        lambda kit: flow.plan_chip(PROJECT, shape(kit, context=1 << 18), kit.recipe(), 1 << 18),
        None,
        "--context",
        "262144 is more than 262143",
    ),
    "a golden model that cannot be measured": (
        without_forward,
        "etchproof.toml",
        "golden.factory",
        "without 'model' and 'adapters' and 'forward'",
    ),
    "no corners": (without_corners, "etchproof.toml", "coverage.corners", "is missing"),
    "no tap": (without_taps, "etchproof.toml", "taps.plan", "declares no tap"),
    "a recipe for a model that has none": (own_with_a_recipe, None, "--recipe", "of the project's own kind"),
    "no site": (lambda kit: flow.locate(PROJECT, kit.plan, ["rom"]), None, "--inject", "'rom' is no site"),
    "one bit twice": (
        lambda kit: flow.locate(PROJECT, kit.plan, [BIT, BIT]),
        None,
        "--inject",
        f"{BIT!r} are the same bit",
    ),
    "a shift of the datapath": (
        misfit,
        "config.json",
        "layer 1 swiglu.gate_shift",
        "is -1, expected 0 .. 24",
    ),
    "a wide model": (planned(hidden_size=16385), "ours.yaml", "hidden_size", "16385 is more than 16384"),
    "a deep model": (planned(n_layers=2047), "ours.yaml", "n_layers", "2047 is more than 2046"),
    "a long recipe": (
        lambda kit: flow.plan_chip(PROJECT, shape(kit, context=1 << 20), kit.recipe("context: 262144\n")),
        "mine.yaml",
        "context",
        "262144 is more than 262143",
    ),
    "an accumulator": (
        wide_accumulator,
        "mine.yaml",
        "model.layers.0.mlp.down_proj",
        "accumulator could reach",
    ),
}
