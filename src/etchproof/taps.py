"""The names of the taps: one per operation result, in dataflow order (docs/taps.md).

A tap is addressed by ``(layer, name)``; ``layer`` is -1 for the taps outside the decoder layers.
"""

from __future__ import annotations

from typing import Final

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
TAIL_TAPS: Final = ("final_norm", "logits", "token")
TAP_NAMES: Final = (*HEAD_TAPS, *LAYER_TAPS, *TAIL_TAPS)

LINEARS: Final = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
"""The seven linears of a decoder layer; each is a tap of the same name."""
