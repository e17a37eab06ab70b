"""The tokens that runs fed to the chip, with the taps that the golden model computes for them.

A run that passed compared every one of these taps with the chip's, so they are the chip's.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from etchproof.contract.mask import Fed
from etchproof.contract.taps import Array, TapKey, TokenArrays
from etchproof.errors import EtchproofError

Predict = Callable[[Sequence[int]], Mapping[TapKey, TokenArrays]]
"""Every tap of a sequence of its own."""


@dataclass(frozen=True)
class Segment:
    """What one run, or one set of stimulus, fed.

    Attributes:
        name: of the run.
        sequences: token ids, each a sequence of its own from position 0.
    """

    name: str
    sequences: tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Corpus:
    """Tokens and taps, end to end.

    Attributes:
        names: of the segments.
        segments: start and stop of each, in tokens.
        tokens: (tokens,) ids.
        sequences: (tokens,) which sequence, numbered through all segments.
        positions: (tokens,) in its sequence.
        taps: (tokens, elements) each.
        ragged: of the taps whose number of elements depends on the position, an array for each token.
    """

    names: tuple[str, ...]
    segments: tuple[tuple[int, int], ...]
    tokens: npt.NDArray[np.int64]
    sequences: npt.NDArray[np.int64]
    positions: npt.NDArray[np.int64]
    taps: Mapping[TapKey, Array]
    ragged: Mapping[TapKey, list[Array]] = field(default_factory=dict)

    def fed(self, start: int, stop: int) -> Fed:
        """Some of the tokens."""
        return Fed(
            self.tokens[start:stop],
            {key: tap[start:stop] for key, tap in self.taps.items()},
            self.positions[start:stop],
            {key: rows[start:stop] for key, rows in self.ragged.items()},
        )

    def sequence(self, number: int) -> tuple[int, ...]:
        """The ids of a sequence."""
        return tuple(int(value) for value in self.tokens[self.sequences == number])

    def prefix(self, token: int) -> tuple[int, ...]:
        """The ids of a token's sequence up to and with it: the shortest run that computes the same."""
        first = token - int(self.positions[token])
        return tuple(int(value) for value in self.tokens[first : token + 1])


def gather(segments: Sequence[Segment], predict: Predict, keys: Collection[TapKey]) -> Corpus:
    """Run the golden model over the segments and keep the taps of ``keys``.

    Raises:
        EtchproofError: there is no token.
    """
    taps: dict[TapKey, list[Array]] = {key: [] for key in keys}
    ragged: dict[TapKey, list[Array]] = {}
    tokens: list[int] = []
    sequences: list[int] = []
    positions: list[int] = []
    spans = []
    known: dict[tuple[int, ...], bool] = {}
    number = 0
    for segment in segments:
        start = len(tokens)
        for sequence in segment.sequences:
            if not sequence or known.setdefault(sequence, False):
                continue  # the same tokens prove the same
            known[sequence] = True
            predicted = predict(sequence)
            for key, kept in taps.items():
                value = predicted[key]
                if isinstance(value, np.ndarray):
                    kept.append(_small(value))
                else:
                    ragged.setdefault(key, []).extend(map(_small, value))
            tokens += sequence
            sequences += [number] * len(sequence)
            positions += range(len(sequence))
            number += 1
        spans.append((start, len(tokens)))
    if not tokens:
        raise EtchproofError("no run fed a token: nothing can be proven")
    return Corpus(
        tuple(segment.name for segment in segments),
        tuple(spans),
        np.array(tokens),
        np.array(sequences),
        np.array(positions),
        {key: np.concatenate(kept) for key, kept in taps.items() if key not in ragged},
        ragged,
    )


def _small(value: Array) -> Array:
    """In the narrowest type that is sure to hold it."""
    for dtype in (np.int16, np.int32):
        limits = np.iinfo(dtype)
        if value.size and limits.min <= value.min() and value.max() <= limits.max:
            return value.astype(dtype)
    return value.astype(np.int64)
