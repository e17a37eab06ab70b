"""How slips of the RTL are listed, and what of a chip they need to be one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from etchproof.schemata.declared import RtlEdit
from models.chip import ChipPlan, LinearPlan

Slip = tuple[str, str, str]
"""What goes wrong, what stands in the source, what it becomes."""


@dataclass(frozen=True, slots=True)
class Slips:
    """Slips in one source.

    Attributes:
        file: its name in the fabric.
        slips: in the order of the source.
        needs: whether a chip has what they are in; without it they would change nothing.
    """

    file: str
    slips: tuple[Slip, ...]
    needs: Callable[[ChipPlan], bool] = lambda plan: True

    def edits(self, plan: ChipPlan) -> Iterator[RtlEdit]:
        """The edits of a chip; none where it has not what they need."""
        if self.needs(plan):
            yield from (RtlEdit(self.file, *slip) for slip in self.slips)


def some_linear(has: Callable[[LinearPlan], bool]) -> Callable[[ChipPlan], bool]:
    """Whether a linear of the chip, the LM head included, is of a kind."""
    return lambda plan: any(map(has, (plan.lm_head, *(one for kind in plan.layer_kinds for one in kind))))


def adapters(plan: ChipPlan) -> bool:
    """Whether the chip has slots."""
    return plan.lora_slots > 0


def several_slots(plan: ChipPlan) -> bool:
    """Whether a slot has a neighbour."""
    return plan.lora_slots > 1


def adapters_of_several_layers(plan: ChipPlan) -> bool:
    """Whether the adapter of a layer could be another's."""
    return plan.lora_slots > 0 and plan.n_layers > 1


def several_heads(plan: ChipPlan) -> bool:
    """Whether a query head has a neighbour."""
    return plan.n_heads > 1


def several_key_heads(plan: ChipPlan) -> bool:
    """Whether a key/value head has a neighbour."""
    return plan.n_kv_heads > 1


def grouped_heads(plan: ChipPlan) -> bool:
    """Whether several query heads share each of several key/value heads."""
    return plan.n_heads > plan.n_kv_heads > 1


def several_blocks(plan: ChipPlan) -> bool:
    """Whether the residual stream is more than one block."""
    return plan.blocks(plan.hidden_size) > 1
