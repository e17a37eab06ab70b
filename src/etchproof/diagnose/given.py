"""Units of a chip whose project declares none: its golden model, asked tap by tap (``etchproof.contract.golden``).

A golden model whose ``predict`` takes ``given`` goes on with the chip's taps in the place of its own. What it makes of
each tap then follows from the chip's taps before it: each tap is a unit. What may be wrong with one is what may be
wrong with any unit, and a bit of a memory that the model holds.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from etchproof.compare.differing import KeptTaps
from etchproof.contract.diagnosis import Array, Hypothesis, Place, Question, Rows, Seen
from etchproof.contract.element import bits_of, stored
from etchproof.contract.golden import Golden
from etchproof.contract.taps import TapKey, TapPlan, TokenArrays
from etchproof.run import flow, hooks
from etchproof.run.design import Design

_GIVEN: Final = "given"
_RANK: Final = 0
_HELD: Final = 4  # runs of the golden model that are remembered


def takes_given(golden: Golden) -> bool:
    """Whether a golden model can be asked tap by tap."""
    try:
        return _GIVEN in inspect.signature(golden.session().predict).parameters
    except (TypeError, ValueError):
        return False


class Asked:
    """A golden model that is given the chip's taps.

    Args:
        golden: makes one of a model.
        model: of the chip.
        taps: of the chip.
        kept: what the run fed.
    """

    def __init__(self, golden: Callable[[Any], Golden], model: Any, taps: TapPlan, kept: KeptTaps) -> None:
        self._golden, self.model, self.taps = golden, model, taps
        self._items = [item for call in kept.calls for item in call.items]
        self._held: list[tuple[Seen, Any, Mapping[TapKey, list[Array]]]] = []

    def made(self, seen: Seen, model: Any) -> Mapping[TapKey, list[Array]]:
        """What the golden model of a model makes of each tap, of the tokens that have it."""
        for known, of, found in self._held:
            if known is seen and of is model:
                return found
        found = self._ask(seen, model)
        self._held = [*self._held[1 - _HELD :], (seen, model, found)]
        return found

    def _ask(self, seen: Seen, model: Any) -> Mapping[TapKey, list[Array]]:
        session: Any = self._golden(model).session()
        made: dict[TapKey, list[Array]] = {}
        token = 0
        place = {key: {int(at): row for row, at in enumerate(one.at)} for key, one in seen.taps.items()}

        def given(key: TapKey, values: Array) -> Array:
            kind, mine = self.taps.by_key[key].dtype, np.asarray(values)
            halved = kind == "bf16" and mine.dtype == np.float32  # the upper half is the number
            bits = (mine.view(np.uint32) >> 16).astype(np.uint16) if halved else bits_of(kind, mine)
            made.setdefault(key, []).append(np.asarray(bits).reshape(-1))
            at = place.get(key, {}).get(token)
            if at is None:
                return values
            chip = np.asarray(seen.taps[key].values[at])
            if halved:
                return (chip.astype(np.uint32) << 16).view(np.float32).reshape(mine.shape)
            if mine.dtype.kind not in "iu":
                return chip.astype(stored(kind)).view(mine.dtype).reshape(mine.shape)
            return chip.astype(mine.dtype).reshape(mine.shape)

        is_token = self._items[0].ndim == 0
        for token in range(len(seen)):
            number = int(seen.tokens[token])
            items: Any = [number] if is_token else self._items[number][None]
            with np.errstate(all="ignore"):  # a wrong model may give whatever it likes
                session.predict(items, bool(seen.positions[token] == 0), given=given)
        return made


@dataclass(frozen=True, eq=False)
class GivenUnit:
    """One tap (``etchproof.contract.diagnosis.Unit``)."""

    result: TapKey
    asked: Asked = field(repr=False)
    memories: Memories = field(repr=False)
    sources: tuple[TapKey, ...] = ()
    place: Place = field(default_factory=Place)
    memory: bool = True

    @property
    def name(self) -> str:
        """The tap's name."""
        layer, tap = self.result
        return tap if layer < 0 else f"layer {layer} {tap}"

    @property
    def module(self) -> str:
        """Taps of one name are of one module."""
        return self.result[1]

    def groups(self, elements: int) -> Mapping[str, Rows]:
        """The elements themselves."""
        return {"element": np.arange(elements)}

    def made(self, seen: Seen) -> TokenArrays:
        """As the golden model makes it."""
        return self.of(seen, self.asked.model)

    def of(self, seen: Seen, model: Any) -> TokenArrays:
        """As the golden model of another model makes it."""
        found = self.asked.made(seen, model)[self.result]
        if isinstance(seen.taps[self.result].values, np.ndarray):
            return np.stack(found).astype(np.asarray(seen.taps[self.result].values).dtype)
        return found

    def hypotheses(self, question: Question) -> Iterator[Hypothesis]:
        """A bit of a memory."""
        yield from self.memories.hypotheses(self, question)


class Memories:
    """Bits of the memories that a model holds (``[rom] memories``).

    Args:
        of_model: the memories of a model; none where the project declares none.
    """

    def __init__(self, of_model: Callable[[Any], Sequence[Any]]) -> None:
        self._of_model = of_model

    def hypotheses(self, unit: GivenUnit, question: Question) -> Iterator[Hypothesis]:
        """One bit of a word that goes into the first element that differs: such words are found by halves."""
        row = int(question.differs[0])
        count = int(question.got.at[row]) + 1
        seen = question.seen.take(np.arange(count))
        right = unit.of(seen, unit.asked.model)[row]
        element = int(np.flatnonzero(question.got.values[row] != right)[0])
        wanted = question.got.values[row]
        held = [memory for memory in self._of_model(unit.asked.model) if not memory.table]
        ends = np.cumsum([np.asarray(memory.words).size for memory in held])
        if not len(ends):
            return

        def wrong(words: Array, mask: int | None) -> Any:
            """A model with bits of words inverted: those of a mask, or all."""
            other = copy.deepcopy(unit.asked.model)
            memories = [memory for memory in self._of_model(other) if not memory.table]
            for memory, start in zip(memories, [0, *ends[:-1].tolist()], strict=True):
                array = np.asarray(memory.words)
                flat = array.reshape(-1).view(f"u{array.itemsize}")
                here = words[(words >= start) & (words < start + array.size)] - start
                if len(here):
                    flat[here] ^= flat.dtype.type((1 << _bits(memory)) - 1 if mask is None else mask)
            return other

        def moves(words: Array) -> bool:
            return not np.array_equal(unit.of(seen, wrong(words, None))[row][element], right[element])

        pending = [np.arange(int(ends[-1]))]
        while pending:
            words = pending.pop()
            if not moves(words):
                continue
            if len(words) > 1:
                pending += [words[len(words) // 2 :], words[: len(words) // 2]]
                continue
            which = int(np.searchsorted(ends, words[0], side="right"))
            memory = held[which]
            shape = np.asarray(memory.words).shape
            at = int(words[0]) - (int(ends[which - 1]) if which else 0)
            index = tuple(int(part) for part in np.unravel_index(at, shape))
            for bit in range(_bits(memory)):
                model = wrong(words, 1 << bit)
                if np.array_equal(unit.of(seen, model)[row], wanted):
                    yield _bit(unit, model, memory.place, index, bit)


def _bits(memory: Any) -> int:
    """Bits of a word that the model's own array holds."""
    return min(int(memory.bits), 8 * np.asarray(memory.words).itemsize)


def _bit(unit: GivenUnit, model: Any, place: str, index: tuple[int, ...], bit: int) -> Hypothesis:
    site = f"rom:{place}[{','.join(map(str, index))}]^{bit}"
    where = Place(
        image=place, layer=-1, element=index, inject=(site,), word=index[0], lane=index[1:], bits=(bit,)
    )
    return Hypothesis("bit", "a bit is inverted", lambda seen: unit.of(seen, model), site, _RANK, where)


def given_units(design: Design, model: Any, golden: Golden, kept: KeptTaps) -> tuple[GivenUnit, ...] | None:
    """A unit for each tap of the chip; None where the golden model cannot be asked tap by tap."""
    if not kept.calls or not takes_given(golden):
        return None
    project = design.project
    declared = project.rom is not None and project.rom.memories is not None
    memories = Memories(hooks.memories(project) if declared else lambda model: ())  # type: ignore[arg-type]
    asked = Asked(lambda other: flow.make_golden(design, other), model, design.taps, kept)
    return tuple(GivenUnit(key, asked, memories) for key in design.taps.by_key)
