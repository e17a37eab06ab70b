"""What may be wrong with the units of this chip: families of hypotheses, and which unit each belongs to."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from etchproof.contract.diagnosis import Excluded, Hypothesis, Question
from etchproof.quantize.quantized_model import QuantizedModel
from models.chip import ChipPlan
from models.diagnosis import bits
from models.diagnosis.units import Embedding, Linear, Norm, Rope

Family = Callable[[Any, Question], Iterator[Hypothesis | Excluded]]


class Bench:
    """What the families know of the chip beside the unit that they are asked about.

    Args:
        model: in integers.
        plan: of the chip.
    """

    def __init__(self, model: QuantizedModel, plan: ChipPlan) -> None:
        self.model, self.plan = model, plan

    def families(self, unit: Any, question: Question) -> Iterator[Hypothesis | Excluded]:
        """Every hypothesis on a unit, the likeliest first."""
        match unit:
            case Linear():
                yield from bits.of_linear(unit, question, self.plan)
            case Norm():
                yield from bits.of_norm(unit, question, self.plan)
            case Embedding():
                yield from bits.of_embedding(unit, question, self.plan)
            case Rope():
                yield from bits.of_rope(unit, question, self.plan)
