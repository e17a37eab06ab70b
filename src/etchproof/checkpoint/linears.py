"""The linears of a Llama decoder layer, by the names that the importers, the quantizer and the float model share."""

from __future__ import annotations

from typing import Final

LINEARS: Final = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
"""The seven linears of a decoder layer, in dataflow order."""

MODULES: Final = {
    "q_proj": "self_attn.q_proj",
    "k_proj": "self_attn.k_proj",
    "v_proj": "self_attn.v_proj",
    "o_proj": "self_attn.o_proj",
    "gate_proj": "mlp.gate_proj",
    "up_proj": "mlp.up_proj",
    "down_proj": "mlp.down_proj",
}
"""A linear's module below ``model.layers.N``."""

INPUTS: Final = {
    "q_proj": "attn_norm",
    "k_proj": "attn_norm",
    "v_proj": "attn_norm",
    "o_proj": "attn_out",
    "gate_proj": "mlp_norm",
    "up_proj": "mlp_norm",
    "down_proj": "swiglu",
}
"""The operation whose result each linear takes."""

LORA_PRODUCTS: Final = {name: (f"{name}.lora_a", f"{name}.lora_b") for name in LINEARS}
"""The two products of a linear's adapter, A x and then B of it, which stand before the linear's own result."""


def module_name(layer: int, linear: str) -> str:
    """Hugging Face's name of a layer's linear."""
    return f"model.layers.{layer}.{MODULES[linear]}"
