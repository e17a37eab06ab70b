"""Faults of the flow and of the golden model, as a project declares them (``[qualify] flow``)."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from etchproof.qualify.edits import Edit

Side = Literal["chip", "golden", "both"]
"""Who is made of what is wrong. ``both``: golden model and chip agree, so that only a look past both can show it."""


@dataclass(frozen=True)
class FlowFault:
    """Something that goes wrong between the checkpoint and what golden model and chip are made of.

    Attributes:
        operator: which kind of slip; ``place`` is where, ``becomes`` what it comes to, in words.
        side: who gets it.
        model: makes the wrong integers of the right ones; None where it does not apply, or changes nothing.
        adapters: likewise, of a run's adapters.
        making: slips in the code that reads and quantizes; the model is made once more with them.
        computing: slips in the golden model's own code, there while it computes. With ``both``, the chip has them, too.
    """

    operator: str
    place: str
    becomes: str
    side: Side
    model: Callable[[Any], Any] | None = None
    adapters: Callable[[Any], Any] | None = None
    making: tuple[Edit, ...] = ()
    computing: tuple[Edit, ...] = ()

    @property
    def name(self) -> str:
        return f"{self.place}: {self.operator}: {self.becomes} ({self.side})"

    @property
    def kind(self) -> Literal["flow", "golden"]:
        return "golden" if self.computing else "flow"

    @property
    def edits(self) -> tuple[Edit, ...]:
        return (*self.making, *self.computing)


def ordered(faults: Iterable[FlowFault], seed: int) -> Iterator[FlowFault]:
    """All of them, of each operator and side one after the other, so that a beginning has some of each.

    Raises:
        ValueError: two have the same name.
    """
    rng = random.Random(seed)
    piles: dict[tuple[str, Side], list[FlowFault]] = defaultdict(list)
    names: set[str] = set()
    for fault in faults:
        if fault.name in names:
            raise ValueError(f"{fault.name!r} stands twice")
        names.add(fault.name)
        piles[fault.operator, fault.side].append(fault)
    for pile in piles.values():
        rng.shuffle(pile)
    order = list(piles)
    rng.shuffle(order)
    while order:
        order = [key for key in order if piles[key]]
        for key in order:
            yield piles[key].pop()
