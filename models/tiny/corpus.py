"""A seeded generator of short English stories: the training, calibration and evaluation text of models/tiny.

A story is an opening, one plot and an ending, drawn from the data in models/tiny/plots.py. Earlier options
are drawn more often, so that a trained model's greedy text rests on clear margins instead of ties.

The same seed gives the same text on every machine: draws use only `random.Random.random`, the one method
whose sequence Python promises to keep. `stories(n, seed)` is a prefix of `stories(m, seed)` for n < m.

    python -m models.tiny.corpus --n 5 --seed 0
"""

from __future__ import annotations

import argparse
import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from models.tiny.plots import ENDINGS, GIRLS, HOMES, KINDS, MOODS, NAMES, OPENINGS, PLOTS

T = TypeVar("T")

# A lower-case letter that begins a sentence: at the start, after a stop, or after a quotation that ends in a full
# stop. One that ends in "?" or "!" goes on with "said" or "asked".
SENTENCE_START = re.compile(r'(^|[.!?] |\." )([a-z])')
ARTICLE = re.compile(r"\b([Aa]) (?=[aeiou])")


@dataclass(frozen=True)
class Character:
    """Who acts in a story. Formats as the name; a name always has the same pronouns."""

    name: str
    kind: str
    mood: str
    he: str
    him: str
    his: str

    def __str__(self) -> str:
        return self.name


def stories(n: int, seed: int) -> Iterator[str]:
    """Yield n stories of one paragraph each, about 330 to 550 characters, drawn from `seed`."""
    rng = random.Random(seed)
    for _ in range(n):
        yield _story(rng)


def _story(rng: random.Random) -> str:
    hero = _character(rng, NAMES)
    friend = _character(rng, [name for name in NAMES if name != hero.name])
    plot = _pick(rng, PLOTS)
    slots = {
        "a": hero,
        "b": friend,
        "home": _pick(rng, HOMES),
        "thing": _pick(rng, plot.things),
        "place": _pick(rng, plot.places),
    }
    text = " ".join(_pick(rng, beat).format(**slots) for beat in (OPENINGS, *plot.beats, ENDINGS))
    text = SENTENCE_START.sub(lambda match: match[1] + match[2].upper(), text)
    return ARTICLE.sub(r"\1n ", text)


def _character(rng: random.Random, names: Sequence[str]) -> Character:
    name = _pick(rng, names)
    he, him, his = ("she", "her", "her") if name in GIRLS else ("he", "him", "his")
    return Character(name, kind=_pick(rng, KINDS), mood=_pick(rng, MOODS), he=he, him=him, his=his)


def _pick(rng: random.Random, options: Sequence[T]) -> T:
    """One option; option i of n has probability sqrt((i + 1) / n) - sqrt(i / n), falling with i."""
    draw = rng.random()
    return options[int(draw * draw * len(options))]


def main() -> None:
    """Print stories, one a paragraph."""
    parser = argparse.ArgumentParser(description="Print stories of the training corpus.")
    parser.add_argument("--n", type=int, default=5, help="how many stories")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    for story in stories(args.n, args.seed):
        print(story, end="\n\n")


if __name__ == "__main__":
    main()
