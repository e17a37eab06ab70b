"""ROM bit observability: which bits of the mask are proven to be seen, were they wrong (proof: docs/coverage.md).

A bit of a ROM unit is *proven* by a token when, with the golden model's own input to that unit, the unit's output tap
would be another value with the bit inverted. Because every tap of every token is compared bit for bit, a chip with that
bit inverted cannot pass the run.

Everything is exact. With ``a = acc + 2**(shift-1)`` and ``y`` the output, the smallest change of acc that changes y is

    up   = (y + 1) * 2**shift - a      upwards, none where y is the upper end of saturation
    down = a - y * 2**shift + 1        downwards, none where y is the lower end

and inverting a bit changes acc by ``weight * operand``, an integer: a code's bit b by ``+-S * 2**b * x``, a scale's by
``+-2**b * P``, a bias's by ``+-2**(b + bias_shift)``, a gain's by ``+-2**b * u``. So the largest of ``|operand| / up``
(or ``/ down``) over all tokens decides all bits of an element at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from etchproof.contract.taps import TapKey
from etchproof.coverage.corpus import Corpus
from etchproof.coverage.rom import BIAS_BITS, GAIN_BITS, SCALE_BITS, Rom, RomGains, RomMatrix, RomRows
from etchproof.errors import EtchproofError

Array = npt.NDArray[Any]
Bits = npt.NDArray[np.bool_]

_BLOCK: Final = 256  # tokens at a time
_EXACT: Final = 48  # changes below 2**48 are compared exactly in float64
_FLOAT: Final = 1 << 53

ZERO_SCALE: Final = "the scale of its group is zero"
ZERO_CODES: Final = "every code of its group is zero"
EXHAUSTED: Final = "the unit's input depends on the token alone, and no token of the vocabulary shows it"
ROUNDED_AWAY: Final = "the row's only value rounds to the same with it"


class UnsoundError(EtchproofError):
    """The golden model's tap is not what a ROM unit's record computes from its input: nothing could be proven."""


@dataclass(frozen=True)
class Proven:
    """Which bits of one part of a ROM are proven.

    Attributes:
        site: the tensor's name in ``--inject``: "....q_proj", "....q_proj.scales", "....q_proj.bias".
        kind: "codes", "scales", "bias", "gains".
        bits: (*elements, bits of an element), bit 0 first.
        reasons: (reason, bits of the same shape) why no stimulus whatever can show these; disjoint from ``bits``.
        by_segment: of the corpus, how many bits each proved first.
    """

    site: str
    kind: str
    bits: Bits
    reasons: tuple[tuple[str, Bits], ...]
    by_segment: tuple[int, ...]

    @property
    def redundant(self) -> Bits:
        """Those that no stimulus can show."""
        found = np.zeros_like(self.bits)
        for _, bits in self.reasons:
            found |= bits
        return found

    @property
    def open(self) -> Bits:
        """Those that were not proven, and for which there is no reason."""
        return ~self.bits & ~self.redundant

    @property
    def total(self) -> int:
        return int(self.bits.size)

    @property
    def count(self) -> int:
        return int(self.bits.sum())

    def name(self, index: Sequence[int]) -> str:
        """A bit as ``--inject`` names it; ``index`` as in ``bits``."""
        element = ",".join(str(int(part)) for part in index[:-1])
        return f"rom:{self.site}[{element}]^{int(index[-1])}"


def observe(rom: Rom, corpus: Corpus) -> tuple[Proven, ...]:
    """Which bits of a ROM unit the corpus proves.

    Raises:
        UnsoundError: the corpus's taps are not what the unit computes.
    """
    match rom:
        case RomMatrix():
            return _observe_matrix(rom, corpus)
        case RomGains():
            return (_observe_gains(rom, corpus),)
        case RomRows():
            return _observe_rows(rom, corpus)


# How far a sum is from changing the output.


def margins(acc: Array, y: Array, shift: int, bits: int) -> tuple[Array, Array]:
    """The smallest change of ``acc`` that changes ``y``, up and down, each as 1 / change; 0 where there is none."""
    half = (1 << shift) >> 1
    a = acc + half
    up = ((y + 1) << shift) - a
    down = a - (y << shift) + 1
    top, bottom = (1 << (bits - 1)) - 1, -(1 << (bits - 1))
    return (
        np.where(y == top, 0.0, 1.0 / np.maximum(up, 1)),
        np.where(y == bottom, 0.0, 1.0 / np.maximum(down, 1)),
    )


def rounded(acc: Array, shift: int, bits: int) -> Array:
    """sat(rs(acc, shift), bits) of docs/numerics.md section 1."""
    half = (1 << shift) >> 1
    top = (1 << (bits - 1)) - 1
    clamped: Array = np.clip((acc + half) >> shift, -top - 1, top)
    return clamped


def _threshold(largest: int) -> float:
    """Above it, ``weight * (operand / change)`` in float64 says weight * operand >= change.

    Four roundings err by less than 2**-50. Below 2**48 the quotient of two different integers is off 1 by more than
    2**-48, so the comparison is exact; beyond, it is strict: what is called proven is.
    """
    return 1 - 2.0**-49 if largest < 1 << _EXACT else 1 + 2.0**-49


def _signs(values: Array, bits: int) -> Iterator[tuple[int, Bits]]:
    """For each bit: which elements' value rises when it is inverted. The top bit of a signed value counts negative."""
    for bit in range(bits):
        is_set = (values >> bit) & 1 == 1
        yield bit, is_set if bit == bits - 1 else ~is_set


def _reached(values: Array, bits: int, weight: Array | int, rise: Array, fall: Array, limit: float) -> Bits:
    """(*elements, bits): whether inverting each bit changes some output.

    Args:
        values: two's complement of ``bits`` bits; for an unsigned value pass one bit more and drop the last.
        weight: what one unit of an element's change is multiplied with.
        rise: (*elements) largest operand / change over the tokens, for a value that rises; ``fall`` for one that falls.
    """
    result = np.empty((*values.shape, bits), dtype=bool)
    for bit, rises in _signs(values, bits):
        result[..., bit] = np.where(rises, rise, fall) * (weight * float(1 << bit)) >= limit
    return result


def _segments(corpus: Corpus) -> Iterator[tuple[int, int, int]]:
    """(segment, start, stop): blocks of tokens, each within one segment."""
    for number, (start, stop) in enumerate(corpus.segments):
        for at in range(start, stop, _BLOCK):
            yield number, at, min(at + _BLOCK, stop)


# Matrices.


def weights(rom: RomMatrix) -> Array:
    """(rows, cols) int64: scale times code."""
    scales = np.repeat(rom.scales.astype(np.int64), rom.group_size, axis=1)[:, : rom.cols]
    return rom.codes.astype(np.int64) * scales


def _bias(rom: RomMatrix) -> Array | int:
    return 0 if rom.bias is None else rom.bias.astype(np.int64) << rom.bias_shift


def _dot(x: Array, w: Array) -> Array:
    """x (T, K) times w (R, K) transposed, exactly; in float64 where every partial sum fits."""
    bound = int(np.abs(x).max(initial=0)) * int(np.abs(w).max(initial=0)) * x.shape[1]
    if bound < _FLOAT:
        product: Array = (x.astype(np.float64) @ w.T.astype(np.float64)).astype(np.int64)
        return product
    whole: Array = x.astype(np.int64) @ w.T
    return whole


def _observe_matrix(rom: RomMatrix, corpus: Corpus) -> tuple[Proven, ...]:
    rows, cols, groups = rom.rows, rom.cols, rom.groups
    source, target = corpus.taps[rom.source], corpus.taps[rom.result]
    w, bias = weights(rom), _bias(rom)
    starts = np.arange(0, cols, rom.group_size)
    group_of = np.arange(cols) // rom.group_size
    code_limit = _threshold((1 << (SCALE_BITS + rom.bits - 1)) * int(np.abs(source).max(initial=0)))
    largest_part = rom.group_size * (1 << (rom.bits - 1)) * int(np.abs(source).max(initial=0))
    scale_limit = _threshold(largest_part << (SCALE_BITS - 1))

    codes = np.zeros((rows, cols, rom.bits), dtype=bool)
    scales = np.zeros((rows, groups, SCALE_BITS), dtype=bool)
    biases = np.zeros((rows, BIAS_BITS), dtype=bool)
    code_rise, code_fall = np.zeros((rows, cols)), np.zeros((rows, cols))
    scale_rise, scale_fall = np.zeros((rows, groups)), np.zeros((rows, groups))
    bias_rise, bias_fall = np.zeros(rows), np.zeros(rows)
    open_rows = np.arange(rows)  # those with a bit that is not proven yet
    gained = {kind: [0] * len(corpus.segments) for kind in ("codes", "scales", "bias")}

    for segment, start, stop in _segments(corpus):
        if not len(open_rows):
            break
        x = source[start:stop].astype(np.int64)
        acc = _dot(x, w[open_rows]) + (bias if isinstance(bias, int) else bias[open_rows])
        y = target[start:stop][:, open_rows].astype(np.int64)
        if not np.array_equal(rounded(acc, rom.shift, rom.out_bits), y):
            raise UnsoundError(f"tap {rom.result} is not what {rom.site} makes of tap {rom.source}")
        up, down = margins(acc, y, rom.shift, rom.out_bits)
        rise, fall = code_rise[open_rows], code_fall[open_rows]
        positive, negative = np.maximum(x, 0).astype(np.float64), np.maximum(-x, 0).astype(np.float64)
        buffer = np.empty_like(rise)
        for token in range(stop - start):
            for changes, operands, into in (
                (up, positive, rise),
                (down, negative, rise),
                (down, positive, fall),
                (up, negative, fall),
            ):
                np.multiply.outer(changes[token], operands[token], out=buffer)
                np.maximum(into, buffer, out=into)
        code_rise[open_rows], code_fall[open_rows] = rise, fall
        for group, first in enumerate(starts):
            part = slice(first, first + rom.group_size)
            sums = _dot(x[:, part], rom.codes[open_rows, part].astype(np.int64)).astype(
                np.float64
            )  # (T, rows)
            above, below = np.maximum(sums, 0), np.maximum(-sums, 0)
            risen, fallen = scale_rise[open_rows, group], scale_fall[open_rows, group]
            scale_rise[open_rows, group] = np.maximum(risen, np.maximum(up * above, down * below).max(axis=0))
            scale_fall[open_rows, group] = np.maximum(
                fallen, np.maximum(down * above, up * below).max(axis=0)
            )
        bias_rise[open_rows] = np.maximum(bias_rise[open_rows], up.max(axis=0))
        bias_fall[open_rows] = np.maximum(bias_fall[open_rows], down.max(axis=0))

        values = rom.codes[open_rows].astype(np.int64)
        weight = rom.scales[open_rows][:, group_of].astype(np.float64)
        now = _reached(values, rom.bits, weight, code_rise[open_rows], code_fall[open_rows], code_limit)
        gained["codes"][segment] += int(now.sum()) - int(codes[open_rows].sum())
        codes[open_rows] = now
        unsigned = rom.scales[open_rows].astype(np.int64)
        now = _reached(
            unsigned, SCALE_BITS + 1, 1, scale_rise[open_rows], scale_fall[open_rows], scale_limit
        )[..., :SCALE_BITS]
        gained["scales"][segment] += int(now.sum()) - int(scales[open_rows].sum())
        scales[open_rows] = now
        if rom.bias is not None:
            step = 1 << rom.bias_shift
            now = _reached(
                rom.bias[open_rows].astype(np.int64), BIAS_BITS, step, bias_rise[open_rows], bias_fall[open_rows],
                _threshold(step << (BIAS_BITS - 1)),
            )  # fmt: skip
            gained["bias"][segment] += int(now.sum()) - int(biases[open_rows].sum())
            biases[open_rows] = now
        done = codes[open_rows].all(axis=(1, 2)) & scales[open_rows].all(axis=(1, 2))
        if rom.bias is not None:
            done &= biases[open_rows].all(axis=1)
        open_rows = open_rows[~done]

    dead = np.broadcast_to((rom.scales == 0)[:, group_of, None], codes.shape)
    silent = np.add.reduceat(np.abs(rom.codes.astype(np.int64)), starts, axis=1) == 0
    silent = np.broadcast_to(silent[..., None], scales.shape)
    exhausted = _exhausted(rom, corpus)
    found = [
        _proven(rom.site, "codes", codes, gained["codes"], [(ZERO_SCALE, dead), *exhausted]),
        _proven(f"{rom.site}.scales", "scales", scales, gained["scales"], [(ZERO_CODES, silent), *exhausted]),
    ]
    if rom.bias is not None:
        found.append(_proven(f"{rom.site}.bias", "bias", biases, gained["bias"], exhausted))
    return tuple(found)


def _proven(
    site: str, kind: str, bits: Bits, gained: Sequence[int], reasons: Sequence[tuple[str, Bits | bool]]
) -> Proven:
    """Each unproven bit under the first reason that holds."""
    left, kept = ~bits, []
    for reason, which in reasons:
        here = left & which
        if here.any():
            kept.append((reason, here))
            left = left & ~here
    return Proven(site, kind, bits, tuple(kept), tuple(gained))


def _exhausted(rom: RomMatrix | RomGains, corpus: Corpus) -> list[tuple[str, bool]]:
    """Where a unit's input depends on the token alone and every token was fed, there is no other stimulus.

    Raises:
        UnsoundError: the input depends on something else.
    """
    if rom.of_token is None:
        return []
    tokens, first = np.unique(corpus.tokens, return_index=True)
    source = corpus.taps[rom.source]
    place = np.searchsorted(tokens, corpus.tokens)
    if not np.array_equal(source, source[first][place]):
        raise UnsoundError(f"tap {rom.source} of one token differs from run to run")
    return [(EXHAUSTED, True)] if len(tokens) == rom.of_token else []


# Gains and rows.


def _observe_gains(rom: RomGains, corpus: Corpus) -> Proven:
    gains = rom.values.astype(np.int64)
    rise, fall = np.zeros(len(gains)), np.zeros(len(gains))
    bits = np.zeros((len(gains), GAIN_BITS), dtype=bool)
    gained = [0] * len(corpus.segments)
    for segment, start, stop in _segments(corpus):
        u = rom.normalize(corpus.taps[rom.source][start:stop])
        acc = u * gains
        y = corpus.taps[rom.result][start:stop].astype(np.int64)
        if not np.array_equal(rounded(acc, rom.shift, rom.out_bits), y):
            raise UnsoundError(f"tap {rom.result} is not what {rom.site} makes of tap {rom.source}")
        up, down = margins(acc, y, rom.shift, rom.out_bits)
        above, below = np.maximum(u, 0).astype(np.float64), np.maximum(-u, 0).astype(np.float64)
        rise = np.maximum(rise, np.maximum(up * above, down * below).max(axis=0))
        fall = np.maximum(fall, np.maximum(down * above, up * below).max(axis=0))
        limit = _threshold(int(np.abs(u).max(initial=0)) << (GAIN_BITS - 1))
        now = bits | _reached(gains, GAIN_BITS, 1, rise, fall, limit)
        gained[segment] += int(now.sum()) - int(bits.sum())
        bits = now
    return _proven(rom.site, "gains", bits, gained, _exhausted(rom, corpus))


def _observe_rows(rom: RomRows, corpus: Corpus) -> tuple[Proven, ...]:
    """A row is read by its token alone and goes into nothing else: what its own token does not show, nothing shows."""
    vocabulary, hidden = rom.codes.shape
    fed = np.full(vocabulary, -1)  # the segment that feeds each token first
    for number, (start, stop) in enumerate(corpus.segments):
        tokens = np.unique(corpus.tokens[start:stop])
        fed[tokens[fed[tokens] < 0]] = number
    group_of = np.arange(hidden) // rom.group_size
    codes = rom.codes.astype(np.int64)
    scales = rom.scales.astype(np.int64)
    spread = scales[:, group_of]
    right = rounded(codes * spread, rom.shift, rom.out_bits)
    for start in range(0, len(corpus.tokens), _BLOCK):
        stop = start + _BLOCK
        if not np.array_equal(right[corpus.tokens[start:stop]], corpus.taps[rom.result][start:stop]):
            raise UnsoundError(f"tap {rom.result} is not what {rom.site} holds")
    code_bits = np.empty((*codes.shape, rom.bits), dtype=bool)
    for bit, rises in _signs(codes, rom.bits):
        wrong = codes + np.where(rises, 1 << bit, -(1 << bit))
        code_bits[..., bit] = rounded(wrong * spread, rom.shift, rom.out_bits) != right
    starts = np.arange(0, hidden, rom.group_size)
    scale_bits = np.empty((*scales.shape, SCALE_BITS), dtype=bool)
    for bit in range(SCALE_BITS):
        wrong = (scales ^ (1 << bit))[:, group_of]
        differs = rounded(codes * wrong, rom.shift, rom.out_bits) != right
        scale_bits[..., bit] = np.logical_or.reduceat(differs, starts, axis=1)
    seen = fed >= 0
    found = []
    for site, kind, visible in ((rom.site, "codes", code_bits), (f"{rom.site}.scales", "scales", scale_bits)):
        proven = visible & seen[:, None, None]
        per_row = visible.sum(axis=(1, 2))
        gained = tuple(int(per_row[fed == number].sum()) for number in range(len(corpus.segments)))
        found.append(_proven(site, kind, proven, gained, [(ROUNDED_AWAY, ~visible)]))
    return tuple(found)


# One bit at a time: exactly, token by token.


def witnesses(rom: Rom, kind: str, index: Sequence[int], corpus: Corpus) -> Bits:
    """(tokens,): which tokens prove a bit, by computing the output with the bit inverted.

    Independent of the bulk criterion: it inverts the bit and computes, in integers.
    """
    *element, bit = (int(part) for part in index)
    match rom:
        case RomMatrix():
            return _matrix_witnesses(rom, kind, element, bit, corpus)
        case RomGains():
            (k,) = element
            u = rom.normalize(corpus.taps[rom.source])[:, k]
            wrong = _inverted(int(rom.values[k]), bit, GAIN_BITS)
            y = corpus.taps[rom.result][:, k].astype(np.int64)
            changed: Bits = rounded(u * wrong, rom.shift, rom.out_bits) != y
            return changed
        case RomRows():
            row, column = element
            codes, scales = rom.codes[row].astype(np.int64), rom.scales[row].astype(np.int64)
            if kind == "codes":
                codes[column] = _inverted(int(codes[column]), bit, rom.bits)
            else:
                scales[column] ^= 1 << bit
            spread = np.repeat(scales, rom.group_size)[: len(codes)]
            fed = corpus.tokens == row
            right = rounded(
                rom.codes[row].astype(np.int64)
                * np.repeat(rom.scales[row].astype(np.int64), rom.group_size)[: len(codes)],
                rom.shift,
                rom.out_bits,
            )
            differs = bool((rounded(codes * spread, rom.shift, rom.out_bits) != right).any())
            seen: Bits = fed & differs
            return seen


def _matrix_witnesses(rom: RomMatrix, kind: str, element: Sequence[int], bit: int, corpus: Corpus) -> Bits:
    row = element[0]
    codes, scales = rom.codes[row].astype(np.int64), rom.scales[row].astype(np.int64)
    bias = 0 if rom.bias is None else int(rom.bias[row])
    if kind == "codes":
        codes[element[1]] = _inverted(int(codes[element[1]]), bit, rom.bits)
    elif kind == "scales":
        scales[element[1]] ^= 1 << bit
    else:
        bias = _inverted(bias, bit, BIAS_BITS)
    spread = np.repeat(scales, rom.group_size)[: rom.cols]
    acc = _dot(corpus.taps[rom.source].astype(np.int64), (codes * spread)[None])[:, 0] + (
        bias << rom.bias_shift
    )
    y = corpus.taps[rom.result][:, row].astype(np.int64)
    changed: Bits = rounded(acc, rom.shift, rom.out_bits) != y
    return changed


def _inverted(value: int, bit: int, bits: int) -> int:
    """A two's complement value with one bit inverted."""
    raw = (value ^ (1 << bit)) & ((1 << bits) - 1)
    return raw - (1 << bits) if raw >> (bits - 1) else raw


__all__ = ["Proven", "TapKey", "UnsoundError", "margins", "observe", "rounded", "weights", "witnesses"]
