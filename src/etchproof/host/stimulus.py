"""What the engine's tests feed a chip, and what a run of them has to do: the same in the process that judges and in the
simulator (docs/host.md)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from etchproof.errors import InputError
from etchproof.files.regular import open_regular
from etchproof.host.port import Item
from etchproof.verdict.expect import Expectation, Generation, Request

MODULE: Final = "etchproof.host.tests"
"""Where the tests are."""

GENERATION: Final = "GreedyGeneration"
DIRECTED: Final = "DirectedTokens"
VECTORS: Final = "GivenVectors"
RANDOM: Final = "RandomInputs"

CONFIG: Final = "stream"
"""Key of a test's configuration: ``StreamFacts``."""

_MOST_ELEMENTS: Final = 2_000_000
_MOST_VECTORS: Final = 50_000
_SEQUENCES: Final = 5
_VECTORS: Final = 16  # of a random sequence, at most
_STALL: Final = 16


@dataclass(frozen=True)
class StreamFacts:
    """What the tests have to know of a chip; JSON-able.

    Attributes:
        vocab_size: as of ``etchproof.contract.model.Inputs``, likewise ``elements`` and ``context``.
        least: an element may be; likewise ``most``.
        in_bits: of a word that goes in; ``out_bits`` of one that comes out.
        answer: the tap that an answer has to equal; None where there is none.
        holds: whether the chip holds an answer until it is taken.
        timeout_cycles: that an item and its answer may take.
        cycles: that they do take where nothing stalls, by position; None without a cycle model.
    """

    vocab_size: int | None
    elements: int
    context: int | None
    least: int
    most: int
    in_bits: int
    out_bits: int
    answer: str | None
    holds: bool
    timeout_cycles: int
    cycles: tuple[int, ...] | None = None

    def to_json(self) -> dict[str, Any]:
        """For a test's configuration."""
        return asdict(self)

    def words(self, values: Sequence[int]) -> tuple[int, ...]:
        """An item as the pins have it, negative elements in two's complement."""
        return tuple(int(value) & (1 << self.in_bits) - 1 for value in values)

    def values(self, words: Sequence[int]) -> tuple[int, ...]:
        """An item from the pins."""
        top = 1 << self.in_bits
        return tuple(word - top if self.least < 0 and word >= top >> 1 else word for word in words)


def payload_sha256(words: Sequence[int]) -> str:
    """Hash of an item's words: what ``RequestRecord`` names a vector by."""
    return hashlib.sha256(np.array(words, "<u8").tobytes()).hexdigest()


def read_vectors(file: Path, facts: StreamFacts) -> NDArray[np.int64]:
    """Vectors for a chip, (vectors, elements), from a file of numpy.

    Raises:
        InputError: it is no such file, or no array of integers of that shape and range.
    """
    with open_regular(file) as stream:
        try:
            found: Any = np.load(stream, allow_pickle=False)
        except Exception as error:  # numpy has no one exception for a file that is none
            problem = f"is no .npy file of numpy: {type(error).__name__}"
            raise InputError(problem, source=file, key="--vectors") from None
    if not isinstance(found, np.ndarray) or found.dtype.kind not in "iu":
        raise InputError("holds no array of integers", source=file, key="--vectors")
    if found.ndim == 2 and len(found) > _MOST_VECTORS:
        problem = f"holds {len(found):,} vectors, a run takes at most {_MOST_VECTORS:,}"
        raise InputError(problem, source=file, key="--vectors", hint="feed them in several runs")
    if found.ndim == 2 and facts.context is not None and len(found) > facts.context:
        problem = f"holds {len(found):,} vectors, the chip's context holds {facts.context}"
        raise InputError(problem, source=file, key="--vectors", hint="feed fewer")
    if found.ndim != 2 or found.shape[1] != facts.elements or not len(found):
        shape = f"{found.shape}, expected (vectors, {facts.elements})"
        raise InputError(f"holds an array of shape {shape}", source=file, key="--vectors")
    if found.size > _MOST_ELEMENTS:
        problem = f"holds {found.size:,} elements, a run takes at most {_MOST_ELEMENTS:,}"
        raise InputError(problem, source=file, key="--vectors", hint="feed them in several runs")
    least, most = int(found.min()), int(found.max())
    if least < facts.least or most > facts.most:
        value = least if least < facts.least else most
        raise InputError(
            f"holds {value}, expected {facts.least} .. {facts.most}", source=file, key="--vectors"
        )
    return found.astype(np.int64)


def sequences(
    test: str, facts: StreamFacts, seed: int, config: Mapping[str, Any]
) -> list[list[tuple[int, ...]]] | None:
    """The items of each sequence of a test, as values; None of the test that generates."""
    if test == DIRECTED:
        return [[(int(token),) for token in tokens] for tokens in config.get("directed", ())]
    if test == VECTORS:
        return [[tuple(row) for row in config["vectors"]]]
    if test != RANDOM:
        return None
    draw = np.random.default_rng(seed)
    longest = min(_VECTORS, facts.context or _VECTORS)
    whole = facts.context if facts.context is not None else longest  # to its last position
    lengths = [1, *draw.integers(1, longest + 1, _SEQUENCES - 3).tolist(), whole, whole]
    low, high = (0, facts.vocab_size - 1) if facts.vocab_size is not None else (facts.least, facts.most)
    return [
        [tuple(row) for row in draw.integers(low, high, (length, facts.elements), endpoint=True).tolist()]
        for length in lengths
    ]


def longest(facts: StreamFacts, config: Mapping[str, Any]) -> int:
    """The items of the longest sequence that any test may feed under a configuration."""
    texts: list[int] = [len(text["prompt"]) + text["new_tokens"] for text in config.get("sequences", ())]
    given: list[int] = [len(tokens) for tokens in (*config.get("directed", ()), config.get("vectors", ()))]
    return max(facts.context or _VECTORS, *texts, *given)


def items(test: str, facts: StreamFacts, seed: int, config: Mapping[str, Any]) -> Iterator[tuple[Item, ...]]:
    """The items of each sequence of a test that feeds given ones, stalls drawn where it stalls."""
    stalls = np.random.default_rng([seed, 1])
    most = (_STALL, _STALL if facts.holds else 1)
    fed = sequences(test, facts, seed, config) or []
    for number, values in enumerate(fed):
        drawn = stalls.integers(0, most, (len(values), 2)).tolist()
        if test != RANDOM or number == len(fed) - 1:  # the last one shows the chip's own cycles
            drawn = [[0, 0]] * len(values)
        yield tuple(
            Item(facts.words(value), index == 0, *stall)
            for index, (value, stall) in enumerate(zip(values, drawn, strict=True))
        )


def expectation(test: str, facts: StreamFacts, seed: int, config: Mapping[str, Any]) -> Expectation | None:
    """What a run of one of the engine's tests has to do; None of a test that is not the engine's."""
    if test == GENERATION:
        return Expectation(
            texts=tuple(
                Generation(tuple(text["prompt"]), text["new_tokens"], tuple(text.get("stop_tokens", ())))
                for text in config.get("sequences", ())
            )
        )
    if sequences(test, facts, seed, config) is None:
        return None
    steps, number = [], 0
    for sequence in items(test, facts, seed, config):
        for item in sequence:
            assert item.words is not None
            steps.append(
                Request(
                    token=item.words[0] if facts.vocab_size is not None else number,
                    op=int(item.first),
                    slot=0,
                    opens=frozenset({None}) if item.first else None,
                    stalls=(item.request_stall, item.response_stall),
                    sha256=None if facts.vocab_size is not None else payload_sha256(item.words),
                )
            )
            number += 1
    return Expectation(steps=tuple(steps), stalled_untimed=True)
