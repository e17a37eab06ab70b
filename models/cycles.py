"""The cycle model: how long the chip takes for a token, from its shape alone (docs/architecture.md, "Cycles").

The testbench holds every token against it: a chip that computes right but stalls fails too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sized

from models.chip import ChipPlan, LinearPlan

ACCEPT_CYCLES = 2  # from accepting a token to the first stage's start
RESPOND_CYCLES = 1
REFUSED_CYCLES = 1  # from accepting a token to its refusal; also from a request to close

Ranks = Mapping[tuple[int, str], int]
"""Rank of each (layer, linear) that the sequence's adapter adapts."""

NO_RANKS: Ranks = {}


def _linear(linear: LinearPlan, rank: int = 0) -> int:
    return linear.depth + 4 + (lora_cycles(linear, rank) if rank else 0)


def lora_cycles(linear: LinearPlan, rank: int) -> int:
    """Cycles that an adapter of this rank adds to its linear."""
    return rank * (linear.in_blocks + linear.blocks) + 1


def layer_cycles(plan: ChipPlan, layer: int, position: int, ranks: Ranks = NO_RANKS) -> Mapping[str, int]:
    """Cycles of each step of a layer, its stage's hand-over (one cycle a step) included."""
    blocks, linears = plan.blocks(plan.hidden_size), plan.linears(layer)
    together = {name: _linear(linear, ranks.get((layer, name), 0)) for name, linear in linears.items()}
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


def token_steps(plan: ChipPlan, position: int, ranks: Ranks = NO_RANKS) -> Iterator[tuple[int, str, int]]:
    """(layer, step, cycles) of a token's way, in order; -1 is outside the layers."""
    yield -1, "accept", ACCEPT_CYCLES
    for layer in range(plan.n_layers):
        yield from (
            (layer, step, cycles) for step, cycles in layer_cycles(plan, layer, position, ranks).items()
        )
    yield from ((-1, step, cycles) for step, cycles in tail_cycles(plan).items())
    yield -1, "respond", RESPOND_CYCLES


def token_cycles(plan: ChipPlan, position: int, ranks: Ranks = NO_RANKS) -> int:
    """Cycles from accepting a token to its response, at a position of its sequence, under its adapter's ranks."""
    return sum(cycles for _, _, cycles in token_steps(plan, position, ranks))


def rom_cycles(plan: ChipPlan, slices: int) -> int:
    """Cycles from taking a request to the ROM test port to its last answer, when the host never waits.

    Args:
        slices: that the request reads, for a word's answers or for one signature; 0 for a refusal.
    """
    stations = plan.n_layers + 2
    return stations + 3 + slices if slices else stations + 2


def load_cycles(plan: ChipPlan, words: Sized) -> int:
    """Cycles from taking the first word of a frame to the answer, when the host never waits: one a word."""
    return len(words)
