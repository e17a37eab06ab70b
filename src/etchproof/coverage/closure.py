"""Stimulus that closes what ordinary text leaves open: token sequences chosen because they prove bits."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from etchproof.compare.comparator import TokenRecord
from etchproof.contract.mask import Bits, MaskUnit
from etchproof.contract.taps import TapKey
from etchproof.coverage.corpus import Corpus, Predict, Segment, gather
from etchproof.coverage.functional import Counts, Covergroup, FunctionalCoverage, RunSample
from etchproof.coverage.observability import Proven, UnsoundError, observe, witnesses

CANDIDATES: Final = 256  # random sequences a round
LENGTH: Final = 16  # tokens of each
_BITS_AT_ONCE: Final = 2_000  # are looked at sequence by sequence


@dataclass(frozen=True)
class OpenBit:
    """A bit that no token proves, and that is not known to be redundant."""

    rom: MaskUnit
    kind: str
    index: tuple[int, ...]


def taps_needed(roms: Iterable[MaskUnit]) -> frozenset[TapKey]:
    """The taps that observability looks at."""
    return frozenset(key for rom in roms for key in (rom.result, *rom.sources))


def open_bits(rom: MaskUnit, found: Sequence[Proven]) -> list[OpenBit]:
    """What ``observe`` left open of a ROM."""
    return [
        OpenBit(rom, proven.kind, tuple(int(part) for part in index))
        for proven in found
        for index in np.argwhere(proven.open)
    ]


def close(
    roms: Sequence[MaskUnit],
    segments: Sequence[Segment],
    predict: Predict,
    *,
    vocabulary: int,
    context: int,
    seed: int,
    rounds: int = 8,
    idle_rounds: int = 2,
) -> tuple[tuple[int, ...], ...]:
    """Sequences that prove what the segments do not, the most useful first; as few as a greedy choice finds.

    Tokens that no segment feeds come first, each once; then random sequences are drawn, and those that prove most of
    what is still open are kept, until nothing is open or rounds pass in vain.

    Args:
        vocabulary: token ids are below it.
        context: the longest sequence.
        seed: of the random choices.
    """
    rng = np.random.default_rng(seed)
    keys = taps_needed(roms)
    chosen: list[tuple[int, ...]] = []
    fed = {token for segment in segments for sequence in segment.sequences for token in sequence}
    missing = [token for token in rng.permutation(vocabulary).tolist() if token not in fed]
    length = min(2 * LENGTH, context)
    chosen += [tuple(missing[at : at + length]) for at in range(0, len(missing), length)]
    corpus = gather([*segments, Segment("closure", tuple(chosen))], predict, keys)
    left = {
        (number, proven.kind): proven.open
        for number, rom in enumerate(roms)
        for proven in observe(rom, corpus)
        if proven.open.any()
    }
    idle = 0
    for _ in range(rounds):
        if not left or idle == idle_rounds:
            break
        drawn = rng.integers(vocabulary, size=(CANDIDATES, min(LENGTH, context)))
        candidates = gather([Segment("drawn", tuple(map(tuple, drawn.tolist())))], predict, keys)
        shown = _shown(roms, left, candidates)
        bits = [(*key, *map(int, index)) for key, found in shown.items() for index in np.argwhere(found)]
        idle = 0 if bits else idle + 1
        if not bits:
            continue
        if len(bits) > _BITS_AT_ONCE:
            bits = [bits[number] for number in np.sort(rng.choice(len(bits), _BITS_AT_ONCE, replace=False))]
        picked = tuple(candidates.sequence(number) for number in _pick(roms, bits, candidates))
        chosen += picked
        shown = _shown(roms, left, gather([Segment("picked", picked)], predict, keys))
        left = {key: found & ~shown[key] for key, found in left.items() if (found & ~shown[key]).any()}
    return tuple(chosen)


def reach(
    groups: Sequence[Covergroup],
    sample: Callable[[RunSample], Counts],
    sequences: Sequence[tuple[int, ...]],
    predict: Predict,
    *,
    vocabulary: int,
    context: int,
    seed: int,
    rounds: int = 2,
) -> tuple[tuple[int, ...], ...]:
    """Further sequences that hit bins which the given ones leave: drawn at random, kept when they hit a new one.

    Arguments as for ``close``.
    """
    rng = np.random.default_rng(seed)
    coverage = FunctionalCoverage(groups)

    def hit(tokens: tuple[int, ...]) -> bool:
        """Whether a sequence hits a bin that none before it has; then it counts."""
        records = [
            TokenRecord(sequence=0, position=position, token_in=token, token_out=0, status=0, cycles=0)
            for position, token in enumerate(tokens)
        ]
        counts = sample(RunSample("drawn", records, [predict(tokens)]))
        new = any(((hits > 0) & (coverage.hits(name) == 0)).any() for name, hits in counts.items())
        if new:
            coverage.sample("drawn", counts)
        return new

    for tokens in sequences:
        hit(tokens)
    chosen: list[tuple[int, ...]] = []
    for _ in range(rounds):
        drawn = rng.integers(vocabulary, size=(CANDIDATES // 4, min(LENGTH, context))).tolist()
        kept = [tokens for tokens in map(tuple, drawn) if hit(tokens)]
        chosen += kept
        if not kept:
            break
    return tuple(chosen)


_Key = tuple[int, str]  # number of the ROM, kind of its part


def _shown(roms: Sequence[MaskUnit], left: Mapping[_Key, Bits], candidates: Corpus) -> dict[_Key, Bits]:
    """Which of the bits that are left the candidates prove."""
    numbers = sorted({number for number, _ in left})
    found = {
        (number, proven.kind): proven.bits
        for number in numbers
        for proven in observe(roms[number], candidates)
    }
    return {key: bits & found[key] for key, bits in left.items()}


def _pick(roms: Sequence[MaskUnit], bits: Sequence[tuple[Any, ...]], candidates: Corpus) -> list[int]:
    """The candidates that together prove every one of the bits, by largest gain."""
    shows = np.zeros((len(bits), int(candidates.sequences[-1]) + 1), dtype=bool)
    for row, (number, kind, *index) in enumerate(bits):
        tokens = witnesses(roms[number], kind, index, candidates)
        shows[row, candidates.sequences[tokens]] = True
    picked: list[int] = []
    while len(shows):
        best = int(shows.sum(axis=0).argmax())
        if not shows[:, best].any():
            raise UnsoundError("a bit is called proven, and no token shows it")
        picked.append(best)
        shows = shows[~shows[:, best]]
    return picked
