"""Words of the ``params`` images that are others, and shifts that are off by one (docs/rom-format.md, "Params")."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np

from etchproof.contract.diagnosis import Hypothesis, Place, Question, Seen
from models.chip import ChipPlan
from models.diagnosis import images
from models.diagnosis.content import place
from models.diagnosis.units import (
    AttnOut,
    Embedding,
    Linear,
    Norm,
    Residual,
    Rope,
    Softmax,
    Swiglu,
)
from models.rom.words import BIAS_SHIFT_BITS, GATE_SHIFT_BITS, RESIDUAL_SHIFT_BITS, SHIFT_BITS

_WORD_BITS: Final = 32


@dataclass(frozen=True)
class _Word:
    """A shift of a unit: its word, the field that holds it, and the bits that the unit takes."""

    name: str
    field: str
    bits: int


def hypotheses(
    unit: Any, question: Question, plan: ChipPlan, words: Mapping[str, int]
) -> Iterator[Hypothesis]:
    """That a shift is another.

    Args:
        words: name and value of each word of the unit's ``params``.
    """
    still = isinstance(question.got.values, np.ndarray) and not question.got.values[question.differs].any()
    for word in _words(unit):
        own = words[word.name] if word.name in words else int(getattr(unit, word.field))
        wrong = _with(unit, word.field)
        for value in range(1 << word.bits):
            if value == own:
                continue
            made = wrong(value)
            if word.name in words:
                difference = value ^ own
                index = tuple(words).index(word.name)
                layer = unit.result[0]
                at = f"model.layers.{layer}.params" if layer >= 0 else "params"
                where = place(unit, plan, [(at, (index,), difference)])
                where = replace(where, tensor=None, what=f"word {word.name} is {value}, not {own}")
                single = difference.bit_count() == 1
                if still and not single:
                    continue  # any large shift gives nothing but 0
                kind = "bit" if single else "word of params"
                what = f"{word.name} is {value}, not {own}"
                yield Hypothesis(
                    kind, what, made, " ".join(where.inject), 3 if still or not single else 1, where
                )
            if abs(value - own) == 1:
                more = "more" if value > own else "less"
                kind = f"shift one {more}"
                yield Hypothesis(kind, f"shifts by one {more}", made, f"{unit.module}: {word.field}", 2)


def of_others(unit: Any, words: Mapping[str, int]) -> Iterator[Hypothesis]:
    """That a unit takes another word of its layer, of each value one; words as of ``hypotheses``."""
    for word in _words(unit):
        own = words[word.name] if word.name in words else int(getattr(unit, word.field))
        of_value = {value: name for name, value in reversed(list(words.items()))}
        if isinstance(unit, Residual):
            of_value = {value: name for name, value in words.items() if name.endswith("residual_shift")}
        for value, other in of_value.items():
            if value != own and value < 1 << word.bits:
                kind = f"{word.field} of {other.split('.')[0]}"
                if isinstance(unit, Residual):
                    kind = "residual shifts exchanged"
                what = f"takes {other} for {word.name}"
                yield Hypothesis(kind, what, _with(unit, word.field)(value), f"{unit.module}: {kind}", 5)


def of_image(
    unit: Any, question: Question, words: Mapping[str, int], others: Callable[[], Iterator[Mapping[str, int]]]
) -> Iterator[Hypothesis]:
    """That the whole image is another: all units of the layer follow from one.

    Args:
        others: the words of each layer.
    """
    mine = [(word, tuple(words).index(word.name)) for word in _words(unit) if word.name in words]
    if not mine:
        return
    layer = unit.result[0]
    image = np.array(list(words.values()), np.int64)
    places = Place(layer=layer, image="params", file="ep_param_rom.sv")
    found = [(kind, what, other) for kind, what, other in images.variants(image, _WORD_BITS, ("word",))]
    for number, theirs in enumerate(others()):
        if theirs != words and len(theirs) == len(words):
            held = np.array(list(theirs.values()), np.int64)
            found.append(("image of another layer", f"is params of layer {number}", held))
    for kind, what, other in found:
        if question.asks(kind) and any(other[index] != image[index] for _, index in mine):
            changed: dict[str, Any] = {
                word.field: min(int(other[index]) & (1 << word.bits) - 1, 62) for word, index in mine
            }
            at = f"layer {layer} params: {kind}: {what}"
            yield Hypothesis(kind, f"params: {what}", replace(unit, **changed).made, at, 4, places)


def _words(unit: Any) -> Iterator[_Word]:
    tap: str = unit.result[1]
    match unit:
        case Linear():
            name = "lm_head" if tap == "logits" else tap
            yield _Word(f"{name}.shift", "shift", SHIFT_BITS)
            if unit.bias is not None:
                yield _Word(f"{name}.bias_shift", "bias_shift", BIAS_SHIFT_BITS)
        case Residual():
            yield _Word(f"{unit.added[1]}.residual_shift", "shift", RESIDUAL_SHIFT_BITS)
        case Swiglu():
            yield _Word("swiglu.gate_shift", "gate_shift", GATE_SHIFT_BITS)
            yield _Word("swiglu.shift", "shift", SHIFT_BITS)
        case Norm() | Embedding() | Softmax() | AttnOut() | Rope():
            yield _Word(f"{tap}.shift", "shift", SHIFT_BITS)


def _with(unit: Any, field: str) -> Callable[[int], Callable[[Seen], Any]]:
    def wrong(value: int) -> Callable[[Seen], Any]:
        made: Callable[[Seen], Any] = replace(unit, **{field: min(value, 62)}).made
        return made

    return wrong
