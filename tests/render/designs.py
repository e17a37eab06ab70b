"""Two tiny designs, small enough to keep what they render: a plain one and one with every odd case."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from etchproof.checkpoint.config import ModelConfig
from etchproof.project.declaration import load_project
from etchproof.quantize.recipe import Lora, MatrixRule, Recipe, Tile
from etchproof.render.fabric import Fabric
from etchproof.render.templates import render
from etchproof.run import flow
from models import chip, fabric
from tests.conftest import ROOT

Design = tuple[ModelConfig, Recipe]

PLAIN: Final[Design] = (
    ModelConfig(
        name="plain",
        vocab_size=24,
        hidden_size=16,
        intermediate_size=32,
        n_layers=1,
        n_heads=2,
        n_kv_heads=2,
        head_dim=8,
        context=8,
        tie_word_embeddings=True,
    ),
    Recipe(
        name="six",
        tile=Tile(rows=4, inputs=16),
        lora=Lora(slots=0),
        matrices=(MatrixRule(match=("*",), bits=6, group_size=16),),
    ),
)
"""One layer, every size a multiple of the tile, one format, no adapters."""

MIXED: Final[Design] = (
    ModelConfig(
        name="mixed",
        vocab_size=19,
        hidden_size=18,
        intermediate_size=35,
        n_layers=3,
        n_heads=3,
        n_kv_heads=1,
        head_dim=6,
        context=5,
        rms_norm_eps=1e-5,
        attention_bias=True,
        mlp_bias=True,
    ),
    Recipe(
        name="odd",
        activation_bits=8,
        kv_bits=8,
        tile=Tile(rows=4, inputs=16),
        lora=Lora(slots=3, max_rank=5),
        matrices=(
            MatrixRule(match=("model.layers.1.*",), bits=3, group_size=32),
            MatrixRule(match=("lm_head", "*.o_proj"), bits=4, group_size="row"),
            MatrixRule(match=("*",), bits=8, group_size=16),
        ),
    ),
)
"""Two kinds of layer, padding everywhere, one key/value head, biases, groups wider than the tile,
slots for adapters."""

DESIGNS: Final = {"plain": PLAIN, "mixed": MIXED}


def render_design(design: Design, out: Path) -> list[str]:
    """Render a design into ``out``, a folder to be made; the files' names in compilation order."""
    out.mkdir(parents=True)
    plan = chip.plan(*design)
    return render(fabric.renderings(plan), templates=ROOT / "templates", hw=ROOT / "hw", out=out)


def render_whole(design: Design, out: Path) -> Fabric:
    """The design as the project simulates it, with its testbench's files, in ``out``, a folder to be made."""
    out.mkdir(parents=True)
    return flow.render_plan(load_project(ROOT), chip.plan(*design), out)


def rendered_files(design: Design, out: Path) -> dict[str, bytes]:
    """What was rendered from templates, without the hand-written files beside it."""
    outputs = {item.output for item in fabric.renderings(chip.plan(*design))}
    return {name: (out / name).read_bytes() for name in sorted(render_design(design, out)) if name in outputs}
