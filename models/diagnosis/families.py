"""What may be wrong with the units of this chip: all families of hypotheses, the likeliest first."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

from etchproof.contract.diagnosis import Excluded, Hypothesis, Question
from etchproof.quantize.quantized_model import QuantizedModel
from models.chip import ChipPlan
from models.diagnosis import bits, entries, images, logic, shifts
from models.diagnosis.content import Content, contents
from models.diagnosis.units import Embedding, Linear, LoraA, LoraB, Norm, Rope, Unit
from models.numerics.params import layer_params, top_params

Family = Callable[[Any, Question], Iterator[Hypothesis | Excluded]]


class Bench:
    """What the families know of the chip beside the unit that they are asked about.

    Args:
        model: in integers.
        plan: of the chip.
    """

    def __init__(self, model: QuantizedModel, plan: ChipPlan) -> None:
        self._model, self._plan = model, plan
        self.units: Sequence[Unit] = ()

    def families(self, unit: Any, question: Question) -> Iterator[Hypothesis | Excluded]:
        """Every hypothesis on a unit."""
        plan = self._plan
        match unit:
            case _ if not (question.asks(bits.KIND) or question.asks(bits.SEVERAL)):
                pass
            case Linear():
                yield from bits.of_linear(unit, question, plan)
            case Norm():
                yield from bits.of_norm(unit, question, plan)
            case Embedding():
                yield from bits.of_embedding(unit, question, plan)
            case Rope():
                yield from bits.of_rope(unit, question, plan)
            case LoraA():
                yield from bits.of_lora_a(unit, question, plan.lora_slots)
            case LoraB():
                yield from bits.of_lora_b(unit, question, plan.lora_slots)
        layer = unit.result[0]
        words = top_params(self._model) if layer < 0 else layer_params(self._model, layer)
        yield from shifts.hypotheses(unit, question, plan, words)
        yield from logic.hypotheses(unit, question, plan, words)
        yield from entries.hypotheses(unit, question)
        yield from shifts.of_image(unit, question, words, self._params if layer >= 0 else lambda: iter(()))
        yield from shifts.of_others(unit, words)
        held = contents(unit, plan)
        if held and (not question.known or any(map(images.is_kind, question.known))):
            yield from images.hypotheses(unit, question, plan, held, lambda: iter(self._images))

    def _params(self) -> Iterator[Mapping[str, int]]:
        """The words of each layer."""
        return (layer_params(self._model, layer) for layer in range(self._plan.n_layers))

    @cached_property
    def _images(self) -> tuple[Content, ...]:
        """Every image, once."""
        found = {content.key: content for unit in self.units for content in contents(unit, self._plan)}
        return tuple(found.values())
