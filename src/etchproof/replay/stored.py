"""A stored run that failed, as a replay takes it: of ``cosim``, of ``test``, an item of a regression or a sign-off."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from etchproof.compare.comparator import COMPARISON_FILE, Comparison
from etchproof.compare.differing import KEPT_FILE, KeptTaps, read_kept
from etchproof.contract.taps import TapKey
from etchproof.diagnose.again import read_subject
from etchproof.errors import InputError
from etchproof.files.json_record import read_json_record
from etchproof.files.regular import exists
from etchproof.project.declaration import Project
from etchproof.regress.spec import ItemSpec
from etchproof.replay.record import FedSequence, named
from etchproof.verdict.result import RESULT_FILE, RunResult


class Fed(NamedTuple):
    """An item that the stored run fed.

    Attributes:
        number: of the run's items.
        sequence: its number in the run.
        position: in its sequence.
        adapter: index of the run's adapters; None for the base alone.
        item: a token id, or a row of the vectors.
    """

    number: int
    sequence: int
    position: int
    adapter: int | None
    item: int


@dataclass(frozen=True)
class Stored:
    """A stored run that failed.

    Attributes:
        folder: its folder.
        spec: what it was of.
        injected: faults that only its simulator saw.
        model_sha256: of its model.
        unit: that is looked at.
        first: whether it differed first, and nobody named it.
        fed: what was fed until the unit differed.
        count: how many items the run fed.
        vectors: (vectors, elements) what was fed to a chip that takes vectors; None where tokens were.
        kept: the chip's taps that differ.
    """

    folder: Path
    spec: ItemSpec
    injected: tuple[str, ...]
    model_sha256: str
    unit: TapKey
    first: bool
    fed: tuple[Fed, ...]
    count: int
    vectors: NDArray[np.int64] | None
    kept: KeptTaps


def read_stored(run: Path, project: Project, unit: TapKey | None) -> Stored:
    """The failed run in a folder.

    Args:
        unit: the tap that has to differ; None for the one that differed first.

    Raises:
        InputError: nothing differs in the run, it is of another project, or it kept nothing.
    """
    comparison = read_json_record(run / COMPARISON_FILE, Comparison)
    divergence = comparison.first_divergence
    if divergence is None:
        raise InputError("has no tap that differs: there is nothing to replay", source=run)
    subject = read_subject(run, project)
    if unit is not None and not differs(comparison, unit):
        raise InputError(f"{named(unit)} does not differ in the run", source=run, key="--unit")
    kept = read_kept(run / KEPT_FILE)
    try:
        everything, vectors = _fed(kept)
    except ValueError as error:
        raise InputError(f"holds no taps of a run: {error}", source=run / KEPT_FILE) from None
    where = (divergence.layer, divergence.tap)
    fed = everything
    if unit in (None, where):
        # The chip is causal: what comes after the token of the first difference cannot matter to it. Of another unit it
        # is not known when it differs first.
        at = (divergence.sequence, divergence.token)
        fed = tuple(one for one in everything if (one.sequence, one.position) <= at)
    injected: tuple[str, ...] = ()
    if exists(run / RESULT_FILE):
        injected = read_json_record(run / RESULT_FILE, RunResult).injected
    return Stored(
        folder=run,
        spec=subject.spec,
        injected=injected,
        model_sha256=subject.model_sha256,
        unit=unit or where,
        first=unit is None,
        fed=fed,
        count=len(everything),
        vectors=vectors,
        kept=kept,
    )


def differs(found: Comparison, unit: TapKey, *, first: bool = False) -> bool:
    """Whether a unit differs.

    Args:
        first: whether it has to differ first.
    """
    if first:
        divergence = found.first_divergence
        return divergence is not None and (divergence.layer, divergence.tap) == unit
    return any((one.layer, one.tap) == unit and one.mismatches for one in found.taps)


def sequences(fed: Sequence[Fed]) -> tuple[FedSequence, ...]:
    """Items as the sequences that they are fed in."""
    return tuple(
        FedSequence(adapter=one[0].adapter, items=tuple(each.item for each in one))
        for one in (list(group) for _, group in groupby(fed, key=lambda each: each.sequence))
    )


def _fed(kept: KeptTaps) -> tuple[tuple[Fed, ...], NDArray[np.int64] | None]:
    """Everything that was fed, in order; of a chip that takes vectors, their numbers and all of them."""
    found: list[Fed] = []
    position = 0
    takes_vectors = kept.calls[0].items.ndim > 1
    for call in kept.calls:
        position = 0 if call.first else position
        for item in call.items:
            number = len(found)
            value = number if takes_vectors else int(item)
            found.append(Fed(number, call.sequence, position, call.adapter, value))
            position += 1
    if any(one.item < 0 for one in found):
        raise ValueError("a token of a negative number")
    vectors = np.concatenate([call.items for call in kept.calls]) if takes_vectors else None
    return tuple(found), vectors
