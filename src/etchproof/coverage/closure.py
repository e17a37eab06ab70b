"""Stimulus that closes what ordinary text leaves open: token sequences chosen because they prove bits."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

import numpy as np

from etchproof.compare.comparator import TokenRecord
from etchproof.contract.mask import Bits, TriedUnit
from etchproof.contract.taps import TapKey
from etchproof.coverage.corpus import Corpus, Predict, Segment, gather
from etchproof.coverage.functional import Counts, Covergroup, FunctionalCoverage, RunSample
from etchproof.coverage.observability import AnyUnit, observe, witnesses
from etchproof.coverage.proven import UnsoundError

CANDIDATES: Final = 256  # random sequences a round
LENGTH: Final = 16  # tokens of each
ROUNDS: Final = 8
IDLE_ROUNDS: Final = 2  # in vain
LONG_CANDIDATES: Final = 4  # sequences a round that reach every position
LONG_ROUNDS: Final = 32
_BITS_AT_ONCE: Final = 2_000  # are looked at sequence by sequence
_TRIED_AT_ONCE: Final = 50  # likewise, of units that are tried

Key = tuple[int, str]
"""The number of a unit, and the kind of its part."""

Left = dict[Key, Bits]
"""Open bits, where there are any."""


def taps_needed(roms: Iterable[AnyUnit]) -> frozenset[TapKey]:
    """The taps that observability looks at."""
    return frozenset(key for rom in roms for key in (*rom.results, *rom.sources))


def close(
    roms: Sequence[AnyUnit],
    segments: Sequence[Segment],
    predict: Predict,
    *,
    vocabulary: int,
    context: int,
    seed: int,
    long_rounds: int = LONG_ROUNDS,
) -> tuple[tuple[int, ...], ...]:
    """Sequences that prove what the segments do not, the most useful first; as few as a greedy choice finds.

    Tokens that no segment feeds come first, each once. Where a unit's elements are read by position, a few random
    sequences of that length follow. Then come those of ``further``.

    Args:
        vocabulary: token ids are below it.
        context: the longest sequence.
        seed: of the random choices.
        long_rounds: how many sequences by position there are at most.
    """
    rng = np.random.default_rng(seed)
    keys = taps_needed(roms)
    chosen: list[tuple[int, ...]] = []
    fed = {token for segment in segments for sequence in segment.sequences for token in sequence}
    missing = [token for token in rng.permutation(vocabulary).tolist() if token not in fed]
    length = min(2 * LENGTH, context)
    chosen += [tuple(missing[at : at + length]) for at in range(0, len(missing), length)]
    corpus = gather([*segments, Segment("closure", tuple(chosen))], predict, keys)
    left = open_bits(roms, corpus)
    long, left = _long(roms, left, predict, rng, vocabulary, context, long_rounds)
    left = {key: bits for key, bits in left.items() if _positions(roms[key[0]]) is None}
    more, _ = further(roms, left, predict, rng, vocabulary, context)
    return (*chosen, *long, *more)


def open_bits(roms: Sequence[AnyUnit], corpus: Corpus, numbers: Iterable[int] | None = None) -> Left:
    """What a corpus leaves open; of some units alone, where their ``numbers`` are given."""
    return {
        (number, proven.kind): proven.open
        for number in (range(len(roms)) if numbers is None else numbers)
        for proven in observe(roms[number], corpus)
        if proven.open.any()
    }


def further(
    roms: Sequence[AnyUnit],
    left: Left,
    predict: Predict,
    rng: np.random.Generator,
    vocabulary: int,
    context: int,
) -> tuple[tuple[tuple[int, ...], ...], Left]:
    """Short sequences that prove what is left, and what is left after them.

    They are drawn at random, and those that prove most are kept, until nothing is open or rounds pass in vain.
    """
    keys = taps_needed(roms)
    chosen: list[tuple[int, ...]] = []
    idle = 0
    for _ in range(ROUNDS):
        if not left or idle == IDLE_ROUNDS:
            break
        drawn = rng.integers(vocabulary, size=(CANDIDATES, min(LENGTH, context)))
        candidates = gather([Segment("drawn", tuple(map(tuple, drawn.tolist())))], predict, keys)
        seen = shown(roms, left, candidates)
        bits: list[tuple[Any, ...]] = [
            (*key, *map(int, index)) for key, found in seen.items() for index in np.argwhere(found)
        ]
        idle = 0 if bits else idle + 1
        if not bits:
            continue
        bits = [
            *_some([bit for bit in bits if not isinstance(roms[bit[0]], TriedUnit)], _BITS_AT_ONCE, rng),
            *_some([bit for bit in bits if isinstance(roms[bit[0]], TriedUnit)], _TRIED_AT_ONCE, rng),
        ]
        picked = tuple(candidates.sequence(number) for number in _pick(roms, bits, candidates))
        chosen += picked
        left = without(left, shown(roms, left, gather([Segment("picked", picked)], predict, keys)))
    return tuple(chosen), left


def _some(bits: list[tuple[Any, ...]], count: int, rng: np.random.Generator) -> list[tuple[Any, ...]]:
    """At most so many of them, at random."""
    if len(bits) <= count:
        return bits
    return [bits[number] for number in np.sort(rng.choice(len(bits), count, replace=False))]


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


def without(left: Left, seen: Left) -> Left:
    """What is still open."""
    rest = {key: bits & ~seen[key] for key, bits in left.items()}
    return {key: bits for key, bits in rest.items() if bits.any()}


def _long(
    roms: Sequence[AnyUnit],
    left: Left,
    predict: Predict,
    rng: np.random.Generator,
    vocabulary: int,
    context: int,
    rounds: int,
) -> tuple[list[tuple[int, ...]], Left]:
    """Sequences for units whose elements are read by position, and what is open after them: the best of a few drawn.

    Each ends with the last position at which it proves something.
    """
    chosen: list[tuple[int, ...]] = []
    for _ in range(rounds):
        waiting = {key: bits for key, bits in left.items() if _positions(roms[key[0]]) is not None}
        if not waiting:
            break
        keys = taps_needed(roms[number] for number, _ in waiting)
        length = min(context, last_position(waiting.values()))
        drawn = [tuple(row) for row in rng.integers(vocabulary, size=(LONG_CANDIDATES, length)).tolist()]
        seen = [shown(roms, waiting, gather([Segment("drawn", (one,))], predict, keys)) for one in drawn]
        gains = [sum(int(bits.sum()) for bits in found.values()) for found in seen]
        best = int(np.argmax(gains))
        if gains[best]:
            chosen.append(drawn[best][: last_position(seen[best].values())])
            corpus = gather([Segment("chosen", tuple(chosen[-1:]))], predict, taps_needed(roms))
            left = without(left, shown(roms, left, corpus))
    return chosen, left


def last_position(parts: Iterable[Bits]) -> int:
    """How long a sequence has to be that reads all of these elements, of which the first axis is the position."""
    return 1 + max(
        int(np.flatnonzero(bits.any(axis=tuple(range(1, bits.ndim))))[-1]) for bits in parts if bits.any()
    )


def _positions(unit: AnyUnit) -> int | None:
    return unit.positions if isinstance(unit, TriedUnit) else None


def shown(roms: Sequence[AnyUnit], left: Left, candidates: Corpus) -> Left:
    """Which of the bits that are left the candidates prove."""
    numbers = sorted({number for number, _ in left})
    found = {
        (number, proven.kind): proven.bits
        for number in numbers
        for proven in observe(roms[number], candidates)
    }
    return {key: bits & found[key] for key, bits in left.items()}


def _pick(roms: Sequence[AnyUnit], bits: Sequence[tuple[Any, ...]], candidates: Corpus) -> list[int]:
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
