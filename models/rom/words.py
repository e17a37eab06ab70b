"""The words of a ``params`` image: every shift of a stage (docs/rom-format.md, "Params"), as a ``TriedUnit``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from etchproof.contract.mask import Bits, Fed, ImageKey, MaskPart, Outputs
from etchproof.contract.taps import TapKey, TokenArrays
from models.chip import ChipPlan
from models.numerics import ops
from models.rom.margins import rounded
from models.rom.mask import RomGains, RomMatrix, RomRows
from models.rom.rope import Rotated
from models.rom.sequences import Attention, ragged, sequences, summed, tensor

WORD_BITS: Final = 32
SHIFT_BITS: Final = 6
BIAS_SHIFT_BITS: Final = 4
RESIDUAL_SHIFT_BITS: Final = 5
GATE_SHIFT_BITS: Final = 5

NOT_CONNECTED: Final = "no unit takes this bit of the word: the ROM test port alone reads it"
NO_BIAS: Final = "the linear has no bias to be shifted: the ROM test port alone reads the word"

Made = Callable[[int], TokenArrays]
"""The tap that a unit makes with another value of a word."""


@dataclass(frozen=True)
class Word:
    """A word of the image.

    Attributes:
        name: "q_proj.shift".
        bits: that its unit takes, the low ones; 0 where none does.
        sources: the taps that the unit reads.
        result: the tap that it makes; None where no unit takes the word.
        unit: of the tokens that it is fed, the tap by the word's value.
        unread: why no unit takes the bits above.
    """

    name: str
    bits: int
    sources: tuple[TapKey, ...] = ()
    result: TapKey | None = None
    unit: Callable[[Fed], Made] | None = None
    unread: str = NOT_CONNECTED


@dataclass(frozen=True)
class RomWords:
    """A ``params`` image.

    Attributes:
        site: "model.layers.0.params".
        image: where it is etched.
        values: of the words, in the order of the image.
        uses: likewise.
        order: the results, in dataflow order.
    """

    site: str
    image: ImageKey
    values: tuple[int, ...]
    uses: tuple[Word, ...]
    order: tuple[TapKey, ...]
    words: Mapping[str, tuple[int, ...]] = field(default_factory=lambda: {"words": (1,)})
    positions: None = None

    @property
    def sources(self) -> tuple[TapKey, ...]:
        return tuple(dict.fromkeys(key for word in self.uses for key in word.sources))

    @property
    def results(self) -> tuple[TapKey, ...]:
        made = {word.result for word in self.uses}
        return tuple(key for key in self.order if key in made)

    def parts(self) -> tuple[MaskPart, ...]:
        reasons: dict[str, Bits] = {}
        for at, word in enumerate(self.uses):
            unread = reasons.setdefault(word.unread, np.zeros((len(self.uses), WORD_BITS), dtype=bool))
            unread[at, word.bits :] = True
        values = np.array(self.values, dtype=np.int64)
        redundant = tuple(reasons.items())
        return (
            MaskPart("words", self.site, values, WORD_BITS, False, redundant=redundant, image=self.image),
        )

    def made(self, fed: Fed) -> Outputs:
        """Each result by every word that it takes, which all have to say the same."""
        found: dict[TapKey, TokenArrays] = {}
        for word, value in zip(self.uses, self.values, strict=True):
            if word.unit is not None and word.result is not None:
                found[word.result] = word.unit(fed)(value)
        return found

    def seen(self, fed: Fed, wanted: Sequence[Bits]) -> tuple[Bits, ...]:
        (asked,) = wanted
        found = np.zeros_like(asked)
        for at, (word, value) in enumerate(zip(self.uses, self.values, strict=True)):
            open_ = np.flatnonzero(asked[at, : word.bits])
            if word.unit is None or not len(open_):
                continue
            made = word.unit(fed)
            right = made(value)
            for bit in open_.tolist():
                found[at, bit] = _differ(made(value ^ (1 << bit)), right)
        return (found,)

    def tried(self, kind: str, element: Sequence[int], bit: int, fed: Fed) -> Outputs:
        (at,) = element
        word = self.uses[at]
        if word.unit is None or word.result is None or bit >= word.bits:
            return {}
        return {word.result: word.unit(fed)(self.values[at] ^ (1 << bit))}


def _differ(one: TokenArrays, other: TokenArrays) -> bool:
    if isinstance(one, np.ndarray):
        return not np.array_equal(one, other)
    return any(not np.array_equal(mine, its) for mine, its in zip(one, other, strict=True))


def linear(rom: RomMatrix, name: str) -> tuple[Word, Word]:
    """``shift`` and ``bias_shift`` of a linear."""

    def shifted(fed: Fed) -> Made:
        sums = rom.sums(fed)
        return lambda value: rounded(sums, value, rom.out_bits)

    def bias_shifted(fed: Fed) -> Made:
        assert rom.bias is not None
        bias = rom.bias.astype(np.int64)
        products = rom.sums(fed) - (bias << rom.bias_shift)
        return lambda value: rounded(products + (bias << value), rom.shift, rom.out_bits)

    shift = Word(f"{name}.shift", SHIFT_BITS, rom.sources, rom.result, shifted)
    if rom.bias is None:
        return shift, Word(f"{name}.bias_shift", 0, unread=NO_BIAS)
    return shift, Word(f"{name}.bias_shift", BIAS_SHIFT_BITS, rom.sources, rom.result, bias_shifted)


def shift_of(rom: RomGains | RomRows | RomMatrix, name: str) -> Word:
    """``shift`` of a unit whose outputs are its sums, rounded."""

    def shifted(fed: Fed) -> Made:
        sums = rom.sums(fed)
        return lambda value: rounded(sums, value, rom.out_bits)

    return Word(name, SHIFT_BITS, tuple(rom.sources), rom.result, shifted)


def rotation(one: Rotated, cos: np.ndarray, sin: np.ndarray, name: str) -> Word:
    """``k_rope.shift``; the tables are (positions, pairs)."""

    def rotated(fed: Fed) -> Made:
        x = tensor(fed.taps[one.source]).view(len(fed.positions), one.heads, 2 * cos.shape[1])
        rows = tensor(cos[fed.positions]), tensor(sin[fed.positions])
        return lambda value: ops.rope(x, *rows, value, one.bits).flatten(1).numpy()

    return Word(name, SHIFT_BITS, (one.source,), one.result, rotated)


def softmax(plan: ChipPlan, layer: int, name: str) -> Word:
    """``softmax.shift``."""

    def weighed(fed: Fed) -> Made:
        rows = [Attention.of(plan, layer, fed, at) for at in sequences(fed)]
        return lambda value: [row for one in rows for row in ragged(one.weights(value))]

    return Word(name, SHIFT_BITS, ((layer, "q_rope"), (layer, "k_rope")), (layer, "softmax"), weighed)


def attention_out(plan: ChipPlan, layer: int, name: str) -> Word:
    """``attn_out.shift``."""

    def divided(fed: Fed) -> Made:
        sums = [summed(plan, layer, fed, at) for at in sequences(fed)]
        return lambda value: np.concatenate(
            [ops.normalize_attention(*one, value, plan.act_bits).flatten(1).numpy() for one in sums]
        )

    return Word(name, SHIFT_BITS, ((layer, "softmax"), (layer, "v_proj")), (layer, "attn_out"), divided)


def activation(plan: ChipPlan, layer: int, gate_shift: int, shift: int) -> tuple[Word, Word]:
    """``swiglu.gate_shift`` and ``swiglu.shift``."""
    sources, result = ((layer, "gate_proj"), (layer, "up_proj")), (layer, "swiglu")

    def by_gate_shift(fed: Fed) -> Made:
        gate, up = (tensor(fed.taps[key]) for key in sources)
        return lambda value: ops.swiglu(gate, up, value, shift, plan.act_bits).numpy()

    def by_shift(fed: Fed) -> Made:
        gate, up = (tensor(fed.taps[key]) for key in sources)
        return lambda value: ops.swiglu(gate, up, gate_shift, value, plan.act_bits).numpy()

    return (
        Word("swiglu.gate_shift", GATE_SHIFT_BITS, sources, result, by_gate_shift),
        Word("swiglu.shift", SHIFT_BITS, sources, result, by_shift),
    )


def residual(before: TapKey, added: TapKey, result: TapKey, name: str) -> Word:
    """``residual_shift``."""

    def sums(fed: Fed) -> Made:
        r, y = tensor(fed.taps[before]), tensor(fed.taps[added])
        return lambda value: ops.residual_add(r, y, value).numpy()

    return Word(name, RESIDUAL_SHIFT_BITS, (before, added), result, sums)
