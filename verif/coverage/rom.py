"""The reference chip's coverage: what its mask holds (docs/coverage.md)."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from etchproof.checkpoint.linears import INPUTS, LINEARS, module_name
from etchproof.contract.taps import TapKey
from etchproof.quantize.quantized_model import QuantizedGains, QuantizedMatrix, QuantizedModel
from models import chip
from models.chip import ChipPlan
from models.numerics import ops
from models.numerics.params import layer_params, top_params
from models.rom.mask import Rom, RomGains, RomMatrix, RomRows

RESIDUAL_BITS = 32


def rom(model: QuantizedModel, plan: ChipPlan) -> tuple[Rom, ...]:
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
