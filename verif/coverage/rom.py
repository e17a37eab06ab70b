"""The reference chip's coverage: what its mask holds (docs/coverage.md)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from etchproof.checkpoint.linears import INPUTS, LINEARS, module_name
from etchproof.contract.taps import TapKey
from etchproof.quantize.quantized_model import QuantizedGains, QuantizedMatrix, QuantizedModel
from models import chip
from models.chip import ChipPlan
from models.numerics import ops, tables
from models.numerics.params import layer_params, top_params
from models.rom import logic
from models.rom import words as wordrom
from models.rom.mask import Rom, RomGains, RomMatrix, RomRows
from models.rom.rope import RomRope, Rotated
from models.taps import taps

AnyUnit = Rom | RomRope | wordrom.RomWords

RESIDUAL_BITS = 32


def rom(model: QuantizedModel, plan: ChipPlan) -> tuple[AnyUnit, ...]:
    """Everything that reads a ROM image, in dataflow order: tensors of the checkpoint, RoPE's tables, shifts."""
    tensors = checkpoint_roms(model, plan)
    cos, sin = tables.rope_tables(model.config, plan.context)
    words = {"cos": (1, cos.shape[1]), "sin": (1, sin.shape[1])}
    found: list[AnyUnit] = [*tensors]
    for layer in range(plan.n_layers):
        params = layer_params(model, layer)
        rotated = rotations(plan, layer, params["k_rope.shift"])
        found.append(RomRope(cos, sin, rotated, words))
        found.append(_layer_words(tensors, plan, layer, params, rotated[1], (cos, sin)))
    top = {unit.result: unit for unit in tensors if unit.result[0] < 0}
    uses = (
        wordrom.shift_of(top[-1, "embedding"], "embedding.shift"),
        wordrom.shift_of(top[-1, "final_norm"], "final_norm.shift"),
        wordrom.shift_of(top[-1, "logits"], "lm_head.shift"),
    )
    values = tuple(top_params(model).values())
    order = tuple(tap.key for tap in taps(plan))
    return (*found, wordrom.RomWords("params", (-1, "params"), values, uses, order))


def rotations(plan: ChipPlan, layer: int, k_shift: int) -> tuple[Rotated, Rotated]:
    """What a layer rotates: queries and keys."""
    return (
        Rotated((layer, "q_proj"), (layer, "q_rope"), plan.n_heads, tables.ROPE_FRAC, plan.act_bits),
        Rotated((layer, "k_proj"), (layer, "k_rope"), plan.n_kv_heads, k_shift, plan.kv_bits),
    )


def _layer_words(
    tensors: Sequence[Rom],
    plan: ChipPlan,
    layer: int,
    params: Mapping[str, int],
    k_rope: Rotated,
    rope: tuple[npt.NDArray[Any], npt.NDArray[Any]],
) -> wordrom.RomWords:
    units = {unit.result[1]: unit for unit in tensors if unit.result[0] == layer}
    before: TapKey = (-1, "embedding") if layer == 0 else (layer - 1, "mlp_residual")
    found: list[wordrom.Word] = []
    for name in LINEARS:
        matrix = units[name]
        assert isinstance(matrix, RomMatrix)
        found += wordrom.linear(matrix, name)
    after = (layer, "attn_residual")
    found += [wordrom.shift_of(units[name], f"{name}.shift") for name in ("attn_norm", "mlp_norm")]
    found += [
        wordrom.rotation(k_rope, *rope, "k_rope.shift"),
        wordrom.softmax(plan, layer, "softmax.shift"),
        wordrom.attention_out(plan, layer, "attn_out.shift"),
        *wordrom.activation(plan, layer, params["swiglu.gate_shift"], params["swiglu.shift"]),
        wordrom.residual(before, (layer, "o_proj"), after, "o_proj.residual_shift"),
        wordrom.residual(after, (layer, "down_proj"), (layer, "mlp_residual"), "down_proj.residual_shift"),
    ]
    by_name = {word.name: word for word in found}
    return wordrom.RomWords(
        f"model.layers.{layer}.params",
        (layer, "params"),
        tuple(params.values()),
        tuple(by_name[name] for name in params),
        tuple(tap.key for tap in taps(plan)),
    )


def checkpoint_roms(model: QuantizedModel, plan: ChipPlan) -> tuple[Rom, ...]:
    """Every ROM that holds bits of the checkpoint, in dataflow order."""
    top = top_params(model)
    embedding = model.embedding
    found: list[Rom] = [
        RomRows(
            site="model.embed_tokens",
            result=(-1, "embedding"),
            bits=embedding.bits,
            group_size=embedding.group_size,
            codes=embedding.codes,
            scales=embedding.scales,
            shift=top["embedding.shift"],
            out_bits=RESIDUAL_BITS,
            words={"codes": (1, plan.tile_rows), "scales": (1, embedding.scales.shape[1])},
        )
    ]
    residual: TapKey = (-1, "embedding")
    for index, layer in enumerate(model.layers):
        words = layer_params(model, index)
        plans = plan.linears(index)
        norms = {
            "attn_norm": ("input_layernorm", layer.attn_norm, residual),
            "mlp_norm": ("post_attention_layernorm", layer.mlp_norm, (index, "attn_residual")),
        }
        for tap, (name, gains, source) in norms.items():
            site = f"model.layers.{index}.{name}"
            alone = plan.vocab_size if source == (-1, "embedding") else None
            found.append(_gains(site, gains, source, (index, tap), words[f"{tap}.shift"], plan, alone))
        for name in LINEARS:
            matrix = layer.linears[name]
            found.append(
                _matrix(
                    module_name(index, name),
                    matrix,
                    (index, INPUTS[name]),
                    (index, name),
                    words[f"{name}.shift"],
                    plans[name].out_bits,
                    plan,
                    plan.vocab_size if index == 0 and INPUTS[name] == "attn_norm" else None,
                )
            )
        residual = (index, "mlp_residual")
    found.append(
        _gains("model.norm", model.final_norm, residual, (-1, "final_norm"), top["final_norm.shift"], plan)
    )
    found.append(
        _matrix(
            "lm_head",
            model.lm_head,
            (-1, "final_norm"),
            (-1, "logits"),
            top["lm_head.shift"],
            chip.LOGIT_BITS,
            plan,
        )
    )
    return tuple(found)


def _matrix(
    site: str,
    matrix: QuantizedMatrix,
    source: TapKey,
    result: TapKey,
    shift: int,
    out_bits: int,
    plan: ChipPlan,
    of_token: int | None = None,
) -> RomMatrix:
    lanes, inputs = plan.tile_rows, plan.tile_inputs  # docs/rom-format.md
    return RomMatrix(
        site=site,
        source=source,
        result=result,
        bits=matrix.bits,
        group_size=matrix.group_size,
        codes=matrix.codes,
        scales=matrix.scales,
        bias=matrix.bias,
        bias_shift=matrix.bias_shift,
        shift=shift,
        out_bits=out_bits,
        of_token=of_token,
        words={
            "codes": (lanes, inputs),
            "scales": (lanes, max(1, inputs // matrix.group_size)),
            "bias": (lanes,),
        },
    )


def _gains(
    site: str,
    gains: QuantizedGains,
    source: TapKey,
    result: TapKey,
    shift: int,
    plan: ChipPlan,
    of_token: int | None = None,
) -> RomGains:
    ones = torch.ones(plan.hidden_size, dtype=torch.int64)

    def normalize(residual: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """u of docs/numerics.md section 3: the norm with gains of one and no rounding after them."""
        values = torch.from_numpy(residual.astype(np.int64))
        u: npt.NDArray[Any] = ops.rms_norm(values, ones, plan.norm_epsilon, 0, 63).numpy()
        return u

    return RomGains(
        site=site,
        source=source,
        result=result,
        values=gains.values,
        shift=shift,
        out_bits=plan.act_bits,
        normalize=normalize,
        of_token=of_token,
        words={"gains": (plan.tile_rows,)},
    )


def logic_tables(model: QuantizedModel, plan: ChipPlan) -> tuple[logic.LogicTable, ...]:
    """The constant tables that are made in logic, ``ep_tables_pkg``: ``[coverage] tables``."""
    words = [layer_params(model, layer) for layer in range(plan.n_layers)]
    norms = [
        (unit.source, unit.result, unit.values, unit.shift)
        for unit in checkpoint_roms(model, plan)
        if isinstance(unit, RomGains)
    ]
    return (
        logic.rsqrt(plan, norms),
        logic.recip(plan, words),
        logic.exp2(plan, words),
        logic.sigmoid(plan, words),
    )
