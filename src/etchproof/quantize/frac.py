"""Fractional bits of the taps (docs/numerics.md section 12), limited so that every shift of that page is in range."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from etchproof.checkpoint.config import ModelConfig
from etchproof.checkpoint.linears import LINEARS, module_name
from etchproof.checkpoint.tensors import EMBEDDING, LM_HEAD
from etchproof.errors import InputError
from etchproof.quantize.calibrate import Ranges
from etchproof.quantize.matrix import DAMAGED
from etchproof.quantize.recipe import Recipe

FRAC_RANGE: Final = (-8, 24)
"""Where calibration puts fractional bits, before the shifts' limits."""
SHIFT_MAX: Final = 62
FileOf = Callable[[str], Path]
"""``file_of(tensor)``: the file that holds a tensor."""

_NORMS: Final = {"attn_norm": "input_layernorm", "mlp_norm": "post_attention_layernorm"}
_MADE_BY: Final = {"k_rope": "k_proj", "attn_out": "v_proj", "swiglu": "up_proj"}  # taps without weights
_RESIDUAL_RANGE: Final = (-15, 16)  # residual_shift = 16 - frac in 0 .. 31


def ceil_log2(x: float) -> int:
    """ceil(log2 x) of a positive x, exactly."""
    mantissa, exponent = math.frexp(x)  # x = mantissa * 2^exponent, 0.5 <= mantissa < 1
    return exponent - 1 if mantissa == 0.5 else exponent


def calibrated_frac(width: int, largest: float, headroom: float) -> int:
    """width - 1 - ceil(log2(headroom * largest)), within ``FRAC_RANGE``; its upper end for a tap that is all zero."""
    low, high = FRAC_RANGE
    if largest <= 0:
        return high
    return min(max(width - 1 - ceil_log2(headroom * largest), low), high)


def softmax_kappa(head_dim: int) -> int:
    """kappa of docs/numerics.md section 7: puts floor(log2(e) / sqrt(D) * 2^kappa + 1/2) in [2^15, 2^16)."""
    kappa = 0
    while math.floor(math.log2(math.e) / math.sqrt(head_dim) * 2**kappa + 0.5) < 2**15:
        kappa += 1
    return kappa


def layer_fracs(
    config: ModelConfig,
    recipe: Recipe,
    ranges: Ranges,
    layer: int,
    exponents: Mapping[str, int],
    norm_exponents: tuple[int, int],
    *,
    file_of: FileOf | None = None,
) -> dict[str, int]:
    """Fractional bits of one layer by tap (``quantized.FRAC_TAPS``).

    Args:
        ranges: the largest magnitude of each tap (``calibrate``).
        exponents: e of each linear's matrix.
        norm_exponents: eg of the gains before attention and before the MLP.
        file_of: the file of a tensor, for messages.

    Raises:
        InputError: no choice keeps a shift in range.
    """
    wide, kv = recipe.activation_bits, recipe.kv_bits

    def wanted(width: int, *taps: str) -> int:
        return calibrated_frac(width, max(ranges[layer, tap] for tap in taps), recipe.headroom)

    def choose(tap: str, want: int, *spans: tuple[int, int]) -> int:
        return _within(want, spans, ranges[layer, tap], layer, tap, _tensor(layer, tap), config, file_of)

    def output(tap: str, input_frac: int) -> tuple[int, int]:
        """Where frac(y) keeps shift = e + frac(x) - frac(y) in range."""
        return _below(exponents[tap] + input_frac)

    assert set(exponents) == set(LINEARS)
    x = choose("attn_norm", wanted(wide, "attn_norm"), _below(29 + norm_exponents[0]))
    q = choose("q_proj", wanted(wide, "q_proj", "q_rope"), output("q_proj", x))
    k = choose("k_proj", wanted(wide, "k_proj"), output("k_proj", x))
    v = choose("v_proj", wanted(kv, "v_proj"), output("v_proj", x))
    scores = softmax_kappa(config.head_dim) - 16 + q  # softmax.shift = this + frac(k_rope)
    k_rope = choose("k_rope", wanted(kv, "k_rope"), _below(14 + k), (-scores, SHIFT_MAX - scores))
    attn_out = choose("attn_out", wanted(wide, "attn_out"), _below(46 + v))
    o = choose("o_proj", wanted(wide, "o_proj"), output("o_proj", attn_out), _RESIDUAL_RANGE)
    h = choose("mlp_norm", wanted(wide, "mlp_norm"), _below(29 + norm_exponents[1]))
    gate_range = (-8, 16)  # gate_shift = 16 - frac in 0 .. 24
    gate = choose("gate_proj", wanted(wide, "gate_proj"), output("gate_proj", h), gate_range)
    up = choose("up_proj", wanted(wide, "up_proj"), output("up_proj", h))
    swiglu = choose("swiglu", wanted(wide, "swiglu"), _below(20 + gate + up))
    down = choose("down_proj", wanted(wide, "down_proj"), output("down_proj", swiglu), _RESIDUAL_RANGE)
    return {
        "attn_norm": x,
        "q_proj": q,
        "k_proj": k,
        "v_proj": v,
        "k_rope": k_rope,
        "attn_out": attn_out,
        "o_proj": o,
        "mlp_norm": h,
        "gate_proj": gate,
        "up_proj": up,
        "swiglu": swiglu,
        "down_proj": down,
    }


def tail_fracs(
    config: ModelConfig,
    recipe: Recipe,
    ranges: Ranges,
    norm_exponent: int,
    head_exponent: int,
    *,
    file_of: FileOf | None = None,
) -> dict[str, int]:
    """Fractional bits of ``final_norm`` and ``logits`` (always 16 bit); arguments and errors as for ``layer_fracs``."""

    def choose(tap: str, width: int, span: tuple[int, int], tensor: str) -> int:
        largest = ranges[-1, tap]
        want = calibrated_frac(width, largest, recipe.headroom)
        return _within(want, (span,), largest, -1, tap, tensor, config, file_of)

    norm = choose("final_norm", recipe.activation_bits, _below(29 + norm_exponent), "model.norm.weight")
    head = EMBEDDING if config.tie_word_embeddings else LM_HEAD
    return {"final_norm": norm, "logits": choose("logits", 16, _below(head_exponent + norm), head)}


def _below(total: int) -> tuple[int, int]:
    """Where frac keeps the shift total - frac in [0, 62]."""
    return total - SHIFT_MAX, total


def _tensor(layer: int, tap: str) -> str:
    """The tensor whose magnitudes decide a tap, which a refusal names."""
    if tap in _NORMS:
        return f"model.layers.{layer}.{_NORMS[tap]}.weight"
    return f"{module_name(layer, _MADE_BY.get(tap, tap))}.weight"


def _within(
    want: int,
    spans: tuple[tuple[int, int], ...],
    largest: float,
    layer: int,
    tap: str,
    tensor: str,
    config: ModelConfig,
    file_of: FileOf | None,
) -> int:
    low, high = max(span[0] for span in spans), min(span[1] for span in spans)
    if low > high:
        where = f"layer {layer} {tap}" if layer >= 0 else tap
        raise InputError(
            f"makes the tap {where} reach {largest:.6g}: it needs at least {low} and at most {high} fractional bits to "
            f"keep its shifts in [0, {SHIFT_MAX}]",
            source=config.source if file_of is None else file_of(tensor),
            key=tensor,
            hint=DAMAGED,
        )
    return min(max(want, low), high)
