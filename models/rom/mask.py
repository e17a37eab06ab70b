"""The units of this chip that add products up: ROM linears, norms and the embedding (``etchproof.contract.mask``).

Inverting a bit changes a sum by ``weight * operand``, an integer: a code's bit b by ``+-S * 2**b * x``, a scale's by
``+-2**b * P``, a bias's by ``+-2**(b + bias_shift)``, a gain's by ``+-2**b * u`` (docs/coverage.md).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from etchproof.checkpoint.linears import LINEARS, module_name
from etchproof.contract.mask import Bits, Faulty, Fed, ImageKey, MaskPart, MaskSite, Reach, Rows
from etchproof.contract.taps import TapKey
from models.rom.margins import dot, inverted, margins, reaches, rounded

Array = npt.NDArray[Any]
Words = Mapping[str, tuple[int, ...]]

SCALE_BITS: Final = 16
GAIN_BITS: Final = 16
BIAS_BITS: Final = 32

_IMAGES: Final = {"logits": "lm_head", "embedding": "embed_tokens"}

ZERO_SCALE: Final = "the scale of its group is zero"
ZERO_CODES: Final = "every code of its group is zero"
ROUNDED_AWAY: Final = "the row's only value rounds to the same with it"


def sites(images: Sequence[tuple[int, str]]) -> Iterator[MaskSite]:
    """Every tensor of the mask of a chip, in dataflow order.

    Args:
        images: (layer, name) of each of its ROM images.
    """
    yield MaskSite("model.embed_tokens", -1, "model.embed_tokens", sums=False)
    layers = range(1 + max((layer for layer, _ in images), default=-1))
    for layer in layers:
        for name in ("input_layernorm", *LINEARS[:4], "post_attention_layernorm", *LINEARS[4:]):
            is_linear = name in LINEARS
            site = module_name(layer, name) if is_linear else f"model.layers.{layer}.{name}"
            yield MaskSite(site, layer, name, sums=is_linear)
        yield MaskSite(f"model.layers.{layer}.params", layer, "params", sums=False)
    yield MaskSite("model.norm", -1, "model.norm", sums=False)
    yield MaskSite("lm_head", -1, "lm_head", sums=True)
    yield MaskSite("rope", -1, "rope", sums=False, copies=len(layers))
    yield MaskSite("params", -1, "params", sums=False)


class _Rounded:
    """Outputs that are sums, rounded and saturated."""

    result: TapKey
    shift: int
    out_bits: int

    @property
    def results(self) -> tuple[TapKey, ...]:
        return (self.result,)

    def image(self, kind: str) -> ImageKey:
        """Where elements of a kind are etched: under the name of the tap, but for the head and the embedding."""
        layer, tap = self.result
        return layer, f"{_IMAGES.get(tap, tap)}.{kind}"

    def outputs(self, sums: Array) -> Array:
        return rounded(sums, self.shift, self.out_bits)

    def margins(self, sums: Array, outputs: Array) -> tuple[Array, Array]:
        return margins(sums, outputs, self.shift, self.out_bits)


@dataclass(frozen=True)
class RomMatrix(_Rounded):
    """A ROM linear: y = sat(rs(sum over groups of S * (C . x) + B * 2**bias_shift, shift), out_bits).

    Attributes:
        site: its name in ``--inject``, "model.layers.0.self_attn.q_proj".
        source: the tap that it reads, x.
        result: the tap that it makes, y.
        bits: of a code.
        codes: (rows, cols) int8.
        scales: (rows, groups) uint16, a group being ``group_size`` consecutive inputs.
        bias: (rows,) int32, or None.
        of_token: the vocabulary's size where ``source`` depends on the token alone, as before the first attention; else
            None.
        words: elements of a ROM word along the axes of "codes", "scales" and "bias".
    """

    site: str
    source: TapKey
    result: TapKey
    bits: int
    group_size: int
    codes: npt.NDArray[np.int8]
    scales: npt.NDArray[np.uint16]
    bias: npt.NDArray[np.int32] | None
    bias_shift: int
    shift: int
    out_bits: int
    of_token: int | None = None
    words: Words = field(default_factory=dict)

    @property
    def rows(self) -> int:
        return int(self.codes.shape[0])

    @property
    def cols(self) -> int:
        return int(self.codes.shape[1])

    @property
    def groups(self) -> int:
        return int(self.scales.shape[1])

    @property
    def sources(self) -> tuple[TapKey, ...]:
        return (self.source,)

    @property
    def _group_of(self) -> Array:
        return np.arange(self.cols) // self.group_size

    def parts(self) -> tuple[MaskPart, ...]:
        dead = (self.scales == 0)[:, self._group_of, None]
        starts = np.arange(0, self.cols, self.group_size)
        silent = np.add.reduceat(np.abs(self.codes.astype(np.int64)), starts, axis=1)[..., None] == 0
        found = (
            MaskPart(
                "codes",
                self.site,
                self.codes,
                self.bits,
                redundant=((ZERO_SCALE, dead),),
                image=self.image("codes"),
            ),
            MaskPart(
                "scales",
                f"{self.site}.scales",
                self.scales,
                SCALE_BITS,
                is_signed=False,
                redundant=((ZERO_CODES, silent),),
                image=self.image("scales"),
            ),
        )
        if self.bias is None:
            return found
        return (*found, MaskPart("bias", f"{self.site}.bias", self.bias, BIAS_BITS, image=self.image("bias")))

    def sums(self, fed: Fed) -> Array:
        acc = dot(self._x(fed), weights(self))
        return acc if self.bias is None else acc + (self.bias.astype(np.int64) << self.bias_shift)

    def reach(self, fed: Fed, up: Array, down: Array, rows: Rows) -> tuple[Reach, ...]:
        x, up, down = self._x(fed), up[:, rows], down[:, rows]
        largest = int(np.abs(x).max(initial=0))
        scales = self.scales[rows][:, self._group_of].astype(np.float64)
        rise, fall = self._codes_reach(x, up, down)
        found = [
            Reach(rows, rise * scales, fall * scales, largest << SCALE_BITS),
            Reach(rows, *self._scales_reach(x, up, down, rows), largest * self.group_size << (self.bits - 1)),
        ]
        if self.bias is not None:
            step = 1 << self.bias_shift
            found.append(Reach(rows, up.max(axis=0) * step, down.max(axis=0) * step, step))
        return tuple(found)

    def _codes_reach(self, x: Array, up: Array, down: Array) -> tuple[Array, Array]:
        """Of a code of scale one; token by token, so that no array is larger than the matrix."""
        rise, fall = (np.zeros((up.shape[1], self.cols)) for _ in range(2))
        positive, negative = np.maximum(x, 0).astype(np.float64), np.maximum(-x, 0).astype(np.float64)
        buffer = np.empty_like(rise)
        for token in range(len(x)):
            for changes, operands, into in (
                (up, positive, rise),
                (down, negative, rise),
                (down, positive, fall),
                (up, negative, fall),
            ):
                np.multiply.outer(changes[token], operands[token], out=buffer)
                np.maximum(into, buffer, out=into)
        return rise, fall

    def _scales_reach(self, x: Array, up: Array, down: Array, rows: Rows) -> tuple[Array, Array]:
        rise, fall = (np.empty((len(rows), self.groups)) for _ in range(2))
        for group in range(self.groups):
            part = slice(group * self.group_size, (group + 1) * self.group_size)
            operands = dot(x[:, part], self.codes[rows, part].astype(np.int64))  # (tokens, rows)
            risen, fallen = reaches(up, down, operands)
            rise[:, group], fall[:, group] = risen.max(axis=0), fallen.max(axis=0)
        return rise, fall

    def inverted(self, kind: str, element: Sequence[int], bit: int, fed: Fed) -> Faulty:
        row = element[0]
        codes, scales = self.codes[row].astype(np.int64), self.scales[row].astype(np.int64)
        bias = 0 if self.bias is None else int(self.bias[row])
        if kind == "codes":
            codes[element[1]] = inverted(int(codes[element[1]]), bit, self.bits)
        elif kind == "scales":
            scales[element[1]] ^= 1 << bit
        else:
            bias = inverted(bias, bit, BIAS_BITS)
        spread = np.repeat(scales, self.group_size)[: self.cols]
        acc = dot(self._x(fed), (codes * spread)[None]) + (bias << self.bias_shift)
        return Faulty(np.arange(len(fed.tokens)), np.array([row]), self.outputs(acc))

    def _x(self, fed: Fed) -> Array:
        return fed.taps[self.source].astype(np.int64)


@dataclass(frozen=True)
class RomGains(_Rounded):
    """Gains of a norm: x = sat(rs(u * g, shift), out_bits), u made from the source tap by ``normalize``.

    Attributes:
        values: (hidden,) int16.
        normalize: source tap (tokens, hidden) -> u, int64.
        of_token: as in ``RomMatrix``.
        words: likewise of "gains".
    """

    site: str
    source: TapKey
    result: TapKey
    values: npt.NDArray[np.int16]
    shift: int
    out_bits: int
    normalize: Callable[[Array], Array]
    of_token: int | None = None
    words: Words = field(default_factory=dict)

    @property
    def sources(self) -> tuple[TapKey, ...]:
        return (self.source,)

    def parts(self) -> tuple[MaskPart, ...]:
        return (MaskPart("gains", self.site, self.values, GAIN_BITS, image=self.image("gains")),)

    def sums(self, fed: Fed) -> Array:
        acc: Array = self.normalize(fed.taps[self.source]) * self.values.astype(np.int64)
        return acc

    def reach(self, fed: Fed, up: Array, down: Array, rows: Rows) -> tuple[Reach, ...]:
        u = self.normalize(fed.taps[self.source])[:, rows]
        rise, fall = reaches(up[:, rows], down[:, rows], u)
        return (Reach(rows, rise.max(axis=0), fall.max(axis=0), int(np.abs(u).max(initial=0))),)

    def inverted(self, kind: str, element: Sequence[int], bit: int, fed: Fed) -> Faulty:
        (k,) = element
        wrong = inverted(int(self.values[k]), bit, GAIN_BITS)
        u = self.normalize(fed.taps[self.source])[:, k]
        return Faulty(np.arange(len(fed.tokens)), np.array([k]), self.outputs(u * wrong)[:, None])


@dataclass(frozen=True)
class RomRows(_Rounded):
    """An embedding: r = sat(rs(S * C, shift), out_bits), the row being that of the token; ``words`` as of a matrix.

    A row is read by its token alone and goes into nothing else: what its own token does not show, nothing shows.
    """

    site: str
    result: TapKey
    bits: int
    group_size: int
    codes: npt.NDArray[np.int8]
    scales: npt.NDArray[np.uint16]
    shift: int
    out_bits: int
    words: Words = field(default_factory=dict)
    of_token: int | None = None
    sources: tuple[TapKey, ...] = ()

    @property
    def _group_of(self) -> Array:
        return np.arange(self.codes.shape[1]) // self.group_size

    @property
    def _starts(self) -> Array:
        return np.arange(0, self.codes.shape[1], self.group_size)

    def parts(self) -> tuple[MaskPart, ...]:
        codes, scales = self._visible()
        return (
            MaskPart(
                "codes",
                self.site,
                self.codes,
                self.bits,
                redundant=((ROUNDED_AWAY, ~codes),),
                image=self.image("codes"),
            ),
            MaskPart(
                "scales",
                f"{self.site}.scales",
                self.scales,
                SCALE_BITS,
                is_signed=False,
                redundant=((ROUNDED_AWAY, ~scales),),
                image=self.image("scales"),
            ),
        )

    def _visible(self) -> tuple[Bits, Bits]:
        """Which bits change their row's value, by inverting each in the whole table."""
        codes, scales = self.codes.astype(np.int64), self.scales.astype(np.int64)
        spread = scales[:, self._group_of]
        right = self.outputs(codes * spread)
        of_codes = np.empty((*codes.shape, self.bits), dtype=bool)
        for bit in range(self.bits):
            is_set = (codes >> bit) & 1 == 1
            rises = is_set if bit == self.bits - 1 else ~is_set
            of_codes[..., bit] = (
                self.outputs((codes + np.where(rises, 1 << bit, -(1 << bit))) * spread) != right
            )
        of_scales = np.empty((*scales.shape, SCALE_BITS), dtype=bool)
        for bit in range(SCALE_BITS):
            differs = self.outputs(codes * (scales ^ (1 << bit))[:, self._group_of]) != right
            of_scales[..., bit] = np.logical_or.reduceat(differs, self._starts, axis=1)
        return of_codes, of_scales

    def _of(self, tokens: Array) -> tuple[Array, Array]:
        """(tokens, hidden) codes, and the scale of each."""
        return self.codes[tokens].astype(np.int64), self.scales[tokens].astype(np.int64)[:, self._group_of]

    def sums(self, fed: Fed) -> Array:
        codes, spread = self._of(fed.tokens)
        return codes * spread

    def reach(self, fed: Fed, up: Array, down: Array, rows: Rows) -> tuple[Reach, ...]:
        tokens, first = np.unique(fed.tokens, return_index=True)
        asked = np.isin(tokens, rows)
        tokens, up, down = tokens[asked], up[first[asked]], down[first[asked]]
        codes, spread = self._of(tokens)
        rise, fall = reaches(up, down, codes)
        rise, fall = (np.maximum.reduceat(part, self._starts, axis=1) for part in (rise, fall))
        return (
            Reach(tokens, *reaches(up, down, spread), 1 << SCALE_BITS),
            Reach(tokens, rise, fall, 1 << (self.bits - 1)),
        )

    def inverted(self, kind: str, element: Sequence[int], bit: int, fed: Fed) -> Faulty:
        row, column = element
        codes, scales = self.codes[row].astype(np.int64), self.scales[row].astype(np.int64)
        if kind == "codes":
            codes[column] = inverted(int(codes[column]), bit, self.bits)
        else:
            scales[column] ^= 1 << bit
        outputs = self.outputs(codes * scales[self._group_of])[None]
        return Faulty(np.flatnonzero(fed.tokens == row), np.arange(len(codes)), outputs)


Rom = RomMatrix | RomGains | RomRows


def weights(rom: RomMatrix) -> Array:
    """(rows, cols) int64: scale times code."""
    scales = np.repeat(rom.scales.astype(np.int64), rom.group_size, axis=1)[:, : rom.cols]
    return rom.codes.astype(np.int64) * scales
