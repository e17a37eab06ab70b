"""Faults of the RTL that the reference project declares, for ``etchproof qualify``: what goes wrong in such a chip.

The generic operators change one operator, one literal, one condition. These are slips of someone who knows the design
and got it wrong: another tie, the neighbour's row, a head map of another model, a slot that is taken too late.
"""

from __future__ import annotations

from collections.abc import Iterator

from etchproof.schemata.declared import RtlEdit
from models.chip import ChipPlan
from verif.qualify import rtl_ports, rtl_units


def faults(plan: ChipPlan) -> Iterator[RtlEdit]:
    """Every declared fault that means something in the chip of a plan.

    Args:
        plan: of the chip; a slip in what it does not have, such as biases or slots for adapters, is left out.
    """
    for group in (*rtl_units.GROUPS, *rtl_ports.GROUPS):
        yield from group.edits(plan)
