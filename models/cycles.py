"""The cycle model: how long the chip takes for a token, from its shape alone (docs/architecture.md, "Cycles").

The testbench holds every token against it: a chip that computes right but stalls fails too.
"""

from __future__ import annotations

from collections.abc import Mapping

from models.chip import ChipPlan, LinearPlan

HOST_CYCLES = 3  # accept, start, respond
REFUSED_CYCLES = 1  # from accepting a token to its refusal


def _linear(linear: LinearPlan) -> int:
    return linear.depth + 4


def layer_cycles(plan: ChipPlan, layer: int, position: int) -> Mapping[str, int]:
    """Cycles of each step of a layer, its stage's hand-over (one cycle a step) included."""
    blocks, linears = plan.blocks(plan.hidden_size), plan.linears(layer)
    together = {name: _linear(linear) for name, linear in linears.items()}
    return {
        "receive": blocks,
        "attn_norm": 3 * blocks + 5,
        "qkv": max(together["q_proj"], together["k_proj"], together["v_proj"]),
        "rope": plan.n_heads + 2,
        "attention": 2 * (position + 1) + plan.n_heads + 7,
        "o_proj": together["o_proj"],
        "attn_residual": blocks + 2,
        "mlp_norm": 3 * blocks + 5,
        "gate_up": max(together["gate_proj"], together["up_proj"]),
        "swiglu": plan.blocks(plan.intermediate_size) + 2,
        "down_proj": together["down_proj"],
        "mlp_residual": blocks + 2,
    }


def tail_cycles(plan: ChipPlan) -> Mapping[str, int]:
    """Cycles of each step of the tail."""
    blocks = plan.blocks(plan.hidden_size)
    return {
        "receive": blocks,
        "final_norm": 3 * blocks + 5,
        "lm_head": _linear(plan.lm_head),
        "argmax": plan.blocks(plan.vocab_size) + 2,
    }


def token_cycles(plan: ChipPlan, position: int) -> int:
    """Cycles from accepting a token to its response, at a position of its sequence."""
    layers = sum(sum(layer_cycles(plan, layer, position).values()) for layer in range(plan.n_layers))
    return HOST_CYCLES + layers + sum(tail_cycles(plan).values())
