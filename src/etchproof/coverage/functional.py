"""Functional coverage: covergroups declared by the project, sampled in bulk from runs that passed (docs/coverage.md).

A bin counts how often it was hit and knows the test that hit it first. Databases of several runs merge.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Protocol

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

from etchproof.compare.comparator import LoadRecord, ResetRecord, SequenceCount, TokenRecord
from etchproof.contract.taps import TapKey, TokenArrays
from etchproof.errors import EtchproofError, InputError
from etchproof.files.json_record import read_json_record
from etchproof.quantize.quantized_model import QuantizedAdapter

Counts = Mapping[str, npt.NDArray[np.int64]]
"""Hits of each bin, by covergroup."""

FORMAT = 1


@dataclass(frozen=True)
class Covergroup:
    """A group of bins.

    Attributes:
        name: as the testplan has it.
        bins: names, in the order in which samples count them.
        of_mask: whether it counts what the mask holds: a run of other weights on the same fabric does not fill it.
    """

    name: str
    bins: tuple[str, ...]
    of_mask: bool = field(default=False, compare=False)


@dataclass(frozen=True)
class RunSample:
    """A run, as covergroups see it.

    Attributes:
        test: its name.
        tokens: every token on the host port, refused ones included, in order.
        taps: for each sequence without an adapter, every tap of its accepted tokens.
        adapters: of the run.
        adapted: for each sequence with one, the index of its adapter and every tap of its accepted tokens.
        sequences: in the order in which they were opened.
        loads: of adapters, in order.
        resets: while it ran, but for the one that it begins with.
    """

    test: str
    tokens: Sequence[TokenRecord]
    taps: Sequence[Mapping[TapKey, TokenArrays]]
    adapters: Sequence[QuantizedAdapter] = ()
    adapted: Sequence[tuple[int, Mapping[TapKey, TokenArrays]]] = ()
    sequences: Sequence[SequenceCount] = ()
    loads: Sequence[LoadRecord] = ()
    resets: Sequence[ResetRecord] = ()


class Sampler(Protocol):
    """What a project's ``[coverage] sampler`` makes."""

    def __call__(self, run: RunSample) -> Counts:
        """What a run hit."""
        ...

    def accumulators(self) -> Mapping[str, tuple[int, int]]:
        """By each linear's site, the largest magnitude of its sums in all runs so far, and what its formats allow."""
        ...


class _Group(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    bins: tuple[str, ...]
    hits: tuple[Annotated[int, Field(ge=0, lt=2**53)], ...]
    first: tuple[str | None, ...]


class _File(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    format: int
    covergroups: tuple[_Group, ...]


class FunctionalCoverage:
    """What runs have hit.

    Args:
        groups: the covergroups; a sample of another is an error.
    """

    def __init__(self, groups: Sequence[Covergroup]) -> None:
        self.groups = tuple(groups)
        names = [group.name for group in groups]
        if len(set(names)) != len(names) or any(len(set(group.bins)) != len(group.bins) for group in groups):
            raise EtchproofError("a covergroup or a bin stands twice")
        self._hits = {group.name: np.zeros(len(group.bins), dtype=np.int64) for group in groups}
        self._first: dict[str, list[str | None]] = {group.name: [None] * len(group.bins) for group in groups}

    def sample(self, test: str, counts: Counts) -> None:
        """Add what a run hit.

        Raises:
            EtchproofError: the counts are not those of the groups.
        """
        if set(counts) != set(self._hits):
            raise EtchproofError(f"sampled {sorted(counts)}, the covergroups are {sorted(self._hits)}")
        for name, hits in counts.items():
            if hits.shape != self._hits[name].shape:
                raise EtchproofError(
                    f"covergroup {name}: {hits.shape} counts for {self._hits[name].shape} bins"
                )
            self._add(name, hits, [test] * len(hits))

    def merge(self, other: FunctionalCoverage) -> None:
        """Add what other runs hit, which come after those here.

        Raises:
            EtchproofError: it has other groups or bins.
        """
        if self.groups != other.groups:
            raise EtchproofError("coverage of another model of covergroups")
        for group in self.groups:
            self._add(group.name, other._hits[group.name], other._first[group.name])

    def _add(self, name: str, hits: npt.NDArray[np.int64], tests: Sequence[str | None]) -> None:
        mine = self._first[name]
        for index in np.flatnonzero((hits > 0) & (self._hits[name] == 0)).tolist():
            mine[index] = tests[index]
        self._hits[name] += hits

    def hits(self, name: str) -> npt.NDArray[np.int64]:
        """(bins,) of a covergroup."""
        return self._hits[name]

    def first(self, name: str) -> tuple[str | None, ...]:
        """(bins,) the test that hit each first."""
        return tuple(self._first[name])

    def summary(self) -> dict[str, tuple[int, int]]:
        """For each covergroup, bins hit and bins."""
        return {name: (int((hits > 0).sum()), len(hits)) for name, hits in self._hits.items()}

    def holes(self) -> tuple[str, ...]:
        """Bins that nothing hit: "group.bin"."""
        return tuple(
            f"{group.name}.{group.bins[index]}"
            for group in self.groups
            for index in np.flatnonzero(self._hits[group.name] == 0)
        )

    def to_json(self) -> str:
        """The documented form."""
        groups = tuple(
            _Group(
                name=group.name,
                bins=group.bins,
                hits=tuple(self._hits[group.name].tolist()),
                first=self.first(group.name),
            )
            for group in self.groups
        )
        return _File(format=FORMAT, covergroups=groups).model_dump_json() + "\n"

    @classmethod
    def read(cls, path: Path) -> FunctionalCoverage:
        """What ``to_json`` wrote.

        Raises:
            InputError: it is none.
        """
        content = read_json_record(path, _File)
        if content.format != FORMAT:
            raise InputError(f"is {content.format}, expected {FORMAT}", source=path, key="format")
        try:
            found = cls([Covergroup(group.name, group.bins) for group in content.covergroups])
        except EtchproofError as error:
            raise InputError(str(error), source=path, key="covergroups") from None
        for group in content.covergroups:
            if not len(group.bins) == len(group.hits) == len(group.first):
                raise InputError("has other numbers of bins and hits", source=path, key=group.name)
            found._add(group.name, np.array(group.hits, dtype=np.int64), group.first)
        return found


def counted(names: Sequence[str], values: Mapping[str, Any]) -> npt.NDArray[np.int64]:
    """Counts in the order of the bins; a name without a bin is an error, a bin without a value was not hit.

    Raises:
        EtchproofError: a value has no bin.
    """
    if unknown := set(values) - set(names):
        raise EtchproofError(f"no bins for {sorted(unknown)}")
    return np.array([int(values.get(name, 0)) for name in names], dtype=np.int64)
