"""Bits of a chip's memories that have to be seen, without formulas: the golden model of the model with the bit inverted
says where the first difference stands.

A bit that changes no tap under the stimulus is counted as unseen: that is a statement on the stimulus, no proof that
the bit is without effect.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from etchproof.contract.element import bits_of
from etchproof.contract.taps import TapKey, TapPlan, TokenArrays
from etchproof.coverage.injection import Drawn
from etchproof.errors import InputError
from etchproof.host import stimulus
from etchproof.host.stimulus import StreamFacts
from etchproof.project.declaration import Project
from etchproof.run import flow, hooks
from etchproof.run.streams import stream_facts
from etchproof.run.testrun import Chip

_TRIES: Final = 20
"""Bits that are drawn for each one that has to be seen, at most."""

Values = list[tuple[int, ...]]
"""The items of a sequence."""


class DrawnSeen(NamedTuple):
    """Bits that have to be seen, and what was left out of them."""

    bits: tuple[Drawn, ...]
    unseen: int
    """Bits that were drawn beside them, and that the stimulus does not show."""
    tables: tuple[str, ...]
    """Memories of which no bit was drawn: they are no part of the model."""


def draw_seen(chip: Chip, count: int, seed: int) -> DrawnSeen:
    """Bits of memories that a random stimulus shows, each with the shortest beginning of a sequence that does.

    Every bit of every memory but tables is as likely as any other, and none is drawn twice.

    Raises:
        InputError: what an inverted bit does to the model cannot be known.
    """
    project = chip.design.project
    flipped = hooks.flipped(project) or partial(_flipped, project)
    facts = stream_facts(chip.design)
    assert facts is not None
    sequences = stimulus.sequences(stimulus.RANDOM, facts, seed, {})
    assert sequences is not None
    plan = chip.design.taps
    wanted = [_predict(chip, chip.model, facts, values) for values in sequences]
    tables = tuple(memory.place for memory in hooks.memories(project)(chip.model) if memory.table)
    memories = [image for image in chip.images.images if image.is_memory and image.name not in tables]
    ends = np.cumsum([int(np.prod(image.shape)) * image.bits for image in memories])
    if not len(ends):
        raise InputError("gives no memory of the model", source=project.file, key="rom.memories")
    rng = np.random.default_rng(seed)
    numbers = rng.choice(int(ends[-1]), size=min(int(ends[-1]), count * _TRIES), replace=False)
    drawn: list[Drawn] = []
    for tried, number in enumerate(numbers.tolist()):
        if len(drawn) == count:
            return DrawnSeen(tuple(drawn), tried - count, tables)
        which = int(np.searchsorted(ends, number, side="right"))
        image = memories[which]
        word, bit = divmod(number - int(ends[which - 1] if which else 0), image.bits)
        index = tuple(int(at) for at in np.unravel_index(word, image.shape))
        other = flipped(chip.model, image.name, index, bit)
        for values, golden in zip(sequences, wanted, strict=True):
            place = _first(plan, golden, _predict(chip, other, facts, values))
            if place is not None:
                token, key = place
                site = f"rom:{image.name}[{','.join(map(str, index))}]^{bit}"
                drawn.append(Drawn(site, key, tuple(values[: token + 1])))
                break
    return DrawnSeen(tuple(drawn), len(numbers) - len(drawn), tables)


def _flipped(project: Project, model: Any, place: str, index: tuple[int, ...], bit: int) -> Any:
    """A copy of a model with one bit inverted, where the words of its memories are the model's own arrays."""
    other = copy.deepcopy(model)
    words = _words(project, other, place)
    words.view(f"u{words.itemsize}")[index] ^= words.dtype.type(1).view(f"u{words.itemsize}") << bit
    if not np.array_equal(_words(project, other, place), words):
        raise InputError(
            f"gives copies of what the model holds in {place!r}, so that no bit can be inverted in the model",
            source=project.file,
            key="rom.memories",
            hint="give the model's own arrays, declare [rom] flipped, or say table=True of what it does not hold",
        )
    return other


def _words(project: Project, model: Any, place: str) -> npt.NDArray[Any]:
    return next(
        np.asarray(memory.words) for memory in hooks.memories(project)(model) if memory.place == place
    )


def _predict(chip: Chip, model: Any, facts: StreamFacts, values: Values) -> Mapping[TapKey, TokenArrays]:
    session = flow.make_golden(chip.design, model).session()
    if facts.vocab_size is None:
        return session.predict(np.array(values, np.int64), True)
    return session.predict([value[0] for value in values], True)


def _first(
    plan: TapPlan, one: Mapping[TapKey, TokenArrays], other: Mapping[TapKey, TokenArrays]
) -> tuple[int, TapKey] | None:
    """The first difference of two predictions: earliest item, then dataflow order."""
    found: list[tuple[int, int, TapKey]] = []
    for order, (key, tap) in enumerate(plan.by_key.items()):
        if key not in one or key not in other:
            continue  # a failure of every run
        differs = _differing(
            *([bits_of(tap.dtype, np.asarray(row)) for row in arrays[key]] for arrays in (one, other))
        )
        if differs is not None:
            found.append((differs, order, key))
    if not found:
        return None
    token, _, key = min(found)
    return token, key


def _differing(one: Sequence[Any], other: Sequence[Any]) -> int | None:
    """The first item whose arrays differ."""
    pairs = zip(one, other, strict=True)
    return next((number for number, (mine, its) in enumerate(pairs) if not np.array_equal(mine, its)), None)
