"""The words of the ``params`` images: every shift of the datapath (docs/rom-format.md, "Params")."""

from __future__ import annotations

from etchproof.checkpoint.linears import INPUTS, LINEARS
from etchproof.errors import InputError
from etchproof.quantize.quantized_model import RESIDUAL_FRAC, QuantizedMatrix, QuantizedModel
from models.numerics.tables import ROPE_FRAC, softmax_scale

MAX_SHIFT = 62  # of every parameter
NORM_FRAC = 29  # fractional bits of the normalized value, section 3
ATTENTION_FRAC = 46  # section 8
SIGMOID_FRAC = 20  # section 9
GATE_FRAC = 16  # section 9
LAYER_WORDS = (
    *(f"{name}.{word}" for name in LINEARS for word in ("shift", "bias_shift")),
    "attn_norm.shift",
    "mlp_norm.shift",
    "k_rope.shift",
    "softmax.shift",
    "attn_out.shift",
    "swiglu.gate_shift",
    "swiglu.shift",
    "o_proj.residual_shift",
    "down_proj.residual_shift",
)
TOP_WORDS = ("embedding.shift", "final_norm.shift", "lm_head.shift")
_LIMITS = {"bias_shift": 15, "residual_shift": 31, "gate_shift": 24}  # all others MAX_SHIFT


def _checked(
    model: QuantizedModel, layer: int, words: tuple[str, ...], params: dict[str, int]
) -> dict[str, int]:
    for name, value in params.items():
        limit = _LIMITS.get(name.split(".")[1], MAX_SHIFT)
        if not 0 <= value <= limit:
            raise InputError(
                f"is {value}, expected 0 .. {limit}: the model's magnitudes do not fit this chip",
                source=model.config.source,
                key=f"layer {layer} {name}" if layer >= 0 else name,
                hint=f"quantize again; {model.recipe.source} may need more bits, or a tensor is damaged",
            )
    return {word: params[word] for word in words}


def layer_params(model: QuantizedModel, layer: int) -> dict[str, int]:
    """Name and value of each word of a layer, in image order.

    Raises:
        InputError: a shift is out of the range that the hardware can do.
    """
    quantized = model.layers[layer]
    frac = quantized.frac
    params: dict[str, int] = {}
    for name in LINEARS:
        matrix = quantized.linears[name]
        params[f"{name}.shift"] = _linear_shift(matrix, frac[INPUTS[name]], frac[name])
        params[f"{name}.bias_shift"] = matrix.bias_shift
    _, kappa = softmax_scale(model.config.head_dim)
    params |= {
        "attn_norm.shift": NORM_FRAC + quantized.attn_norm.exponent - frac["attn_norm"],
        "mlp_norm.shift": NORM_FRAC + quantized.mlp_norm.exponent - frac["mlp_norm"],
        "k_rope.shift": ROPE_FRAC + frac["k_proj"] - frac["k_rope"],
        "softmax.shift": frac["q_proj"] + frac["k_rope"] + kappa - 16,
        "attn_out.shift": ATTENTION_FRAC + frac["v_proj"] - frac["attn_out"],
        "swiglu.gate_shift": GATE_FRAC - frac["gate_proj"],
        "swiglu.shift": SIGMOID_FRAC + frac["gate_proj"] + frac["up_proj"] - frac["swiglu"],
        "o_proj.residual_shift": RESIDUAL_FRAC - frac["o_proj"],
        "down_proj.residual_shift": RESIDUAL_FRAC - frac["down_proj"],
    }
    return _checked(model, layer, LAYER_WORDS, params)


def top_params(model: QuantizedModel) -> dict[str, int]:
    """Name and value of each word outside the layers, in image order; raises as layer_params does."""
    params = {
        "embedding.shift": model.embedding.exponent - RESIDUAL_FRAC,
        "final_norm.shift": NORM_FRAC + model.final_norm.exponent - model.frac["final_norm"],
        "lm_head.shift": _linear_shift(model.lm_head, model.frac["final_norm"], model.frac["logits"]),
    }
    return _checked(model, -1, TOP_WORDS, params)


def _linear_shift(matrix: QuantizedMatrix, frac_in: int, frac_out: int) -> int:
    return matrix.exponent + frac_in - frac_out
