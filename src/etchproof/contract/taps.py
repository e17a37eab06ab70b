"""The names of the taps: one per operation result, in dataflow order (docs/taps.md).

A tap is addressed by ``(layer, name)``; ``layer`` is -1 for the taps outside the decoder layers.
"""

from __future__ import annotations

from typing import Any, Final

import numpy.typing as npt

TapKey = tuple[int, str]
"""(layer, tap)."""

Array = npt.NDArray[Any]

TokenArrays = Array | list[Array]
"""A tap of consecutive tokens: (tokens, elements), or an array for each token where their lengths differ."""

HEAD_TAPS: Final = ("embedding",)
LAYER_TAPS: Final = (
    "attn_norm",
    "q_proj",
    "k_proj",
    "v_proj",
    "q_rope",
    "k_rope",
    "scores",
    "softmax",
    "attn_out",
    "o_proj",
    "attn_residual",
    "mlp_norm",
    "gate_proj",
    "up_proj",
    "swiglu",
    "down_proj",
    "mlp_residual",
)
"""A layer's taps where no adapter is."""
TAIL_TAPS: Final = ("final_norm", "logits", "token")

LINEARS: Final = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
"""The seven linears of a decoder layer; each is a tap of the same name."""

LORA_TAPS: Final = {name: (f"{name}.lora_a", f"{name}.lora_b") for name in LINEARS}
"""The two products of a linear's adapter, A x and then B of it, which stand before the linear's own tap."""

ADAPTED_LAYER_TAPS: Final = tuple(tap for name in LAYER_TAPS for tap in (*LORA_TAPS.get(name, ()), name))
"""A layer's taps where an adapter adapts all seven linears."""

TAP_NAMES: Final = (*HEAD_TAPS, *ADAPTED_LAYER_TAPS, *TAIL_TAPS)
"""Every tap; its index is its id."""

MODULES: Final = {
    "q_proj": "self_attn.q_proj",
    "k_proj": "self_attn.k_proj",
    "v_proj": "self_attn.v_proj",
    "o_proj": "self_attn.o_proj",
    "gate_proj": "mlp.gate_proj",
    "up_proj": "mlp.up_proj",
    "down_proj": "mlp.down_proj",
}
"""A linear's module below ``model.layers.N``, by its tap."""

INPUT_TAPS: Final = {
    "q_proj": "attn_norm",
    "k_proj": "attn_norm",
    "v_proj": "attn_norm",
    "o_proj": "attn_out",
    "gate_proj": "mlp_norm",
    "up_proj": "mlp_norm",
    "down_proj": "swiglu",
}
"""The tap that feeds each linear."""


def module_name(layer: int, linear: str) -> str:
    """Hugging Face's name of a layer's linear."""
    return f"model.layers.{layer}.{MODULES[linear]}"
