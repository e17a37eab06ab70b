"""What a figure is: two things measured one right after the other, several times."""

from __future__ import annotations

import os
import platform
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict

ROOT = Path(__file__).resolve().parents[1]


class Pair(NamedTuple):
    """The two things, in one unit."""

    this: float
    that: float


def alternate(this: Callable[[], float], that: Callable[[], float], pairs: int) -> list[Pair]:
    """Measure both in turn, after once each to warm up."""
    this(), that()
    return [Pair(this(), that()) for _ in range(pairs)]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Ratio(_Record):
    """One figure: ``this / that``, the median of its pairs.

    Attributes:
        limit: what the project holds itself to; None where there is no target.
    """

    name: str
    this: str
    that: str
    unit: str
    pairs: list[Pair]
    limit: float | None = None

    @property
    def ratio(self) -> float:
        return statistics.median(pair.this / pair.that for pair in self.pairs)

    @property
    def spread(self) -> tuple[float, float]:
        ratios = [pair.this / pair.that for pair in self.pairs]
        return min(ratios), max(ratios)

    @property
    def this_median(self) -> float:
        return statistics.median(pair.this for pair in self.pairs)

    @property
    def that_median(self) -> float:
        return statistics.median(pair.that for pair in self.pairs)

    @property
    def misses(self) -> bool:
        return self.limit is not None and self.ratio > self.limit


class Value(_Record):
    """A figure that is no ratio: counted, or a time with its own limit; the median of what was measured."""

    name: str
    unit: str
    values: list[float]
    limit: float | None = None

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    @property
    def misses(self) -> bool:
        return self.limit is not None and self.median > self.limit


class Section(_Record):
    """The figures of one script, and where they were measured."""

    machine: str
    tools: dict[str, str]
    ratios: list[Ratio]
    values: list[Value]


def machine() -> str:
    """Processor, cores and system, in a line."""
    model = platform.machine()
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    cores = len(os.sched_getaffinity(0))
    return f"{model}, {cores} cores, {platform.system()} {platform.release().partition('-')[0]}"
