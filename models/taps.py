"""The taps of this chip, in dataflow order (docs/taps.md): ``[taps]`` of ``etchproof.toml``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final, cast

from etchproof.checkpoint.linears import LINEARS, LORA_PRODUCTS
from etchproof.contract.element import ElementType
from etchproof.contract.taps import Tap
from models.chip import ChipPlan

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

ADAPTED_LAYER_TAPS: Final = tuple(tap for name in LAYER_TAPS for tap in (*LORA_PRODUCTS.get(name, ()), name))
"""A layer's taps where an adapter adapts all seven linears."""

_LINEAR_OF: Final = {tap: name for name, products in LORA_PRODUCTS.items() for tap in products}


def taps(plan: ChipPlan) -> tuple[Tap, ...]:
    """Every tap that a token of this chip can have; an adapter's are due where it adapts their linear."""
    return tuple(of_layers(plan.n_layers, bits(plan), adapters=plan.lora_slots > 0))


def of_layers(n_layers: int, width: Mapping[str, int], *, adapters: bool) -> Iterator[Tap]:
    """The taps of as many layers, and those around them.

    Args:
        width: bits of an element of each tap.
        adapters: whether the chip can hold any.
    """

    def tap(name: str, layer: int = -1) -> Tap:
        linear = _LINEAR_OF.get(name)
        dtype = cast("ElementType", f"i{width[name]}")
        return Tap(name, layer, dtype, None if linear is None else (layer, linear))

    yield from map(tap, HEAD_TAPS)
    for layer in range(n_layers):
        for name in ADAPTED_LAYER_TAPS if adapters else LAYER_TAPS:
            yield tap(name, layer)
    yield from map(tap, TAIL_TAPS)


def bits(plan: ChipPlan) -> dict[str, int]:
    """The bits of an element of each tap; all are signed."""
    act, kv = plan.act_bits, plan.kv_bits
    width = dict.fromkeys((*HEAD_TAPS, *ADAPTED_LAYER_TAPS, *TAIL_TAPS), act)
    width |= {name: kv for name in ("v_proj", "k_rope")}
    width |= {name: 32 for name in ("embedding", "attn_residual", "mlp_residual", "softmax", "token")}
    width |= {"scores": 64, "logits": plan.lm_head.out_bits}
    for linear in LINEARS:
        first, second = LORA_PRODUCTS[linear]
        width |= {first: 16, second: 64}
    return width
