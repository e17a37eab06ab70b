"""The primitives of docs/numerics.md in NumPy, and each as it may be got wrong.

They are written a second time, apart from ``models.numerics.ops``: a fault of the golden model's arithmetic is none of
the chip's, and shows here as a golden model that does not follow from its own taps.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from models.numerics import tables

Array = npt.NDArray[Any]
Shift = int | Array
Rounding = Callable[[Array, Shift], Array]
Clamping = Callable[[Array, int], Array]


def half(shift: Shift) -> Array:
    """Half of 2**shift; 0 for a shift of 0."""
    return np.asarray((np.int64(1) << np.asarray(shift, np.int64)) >> 1)


def to_nearest(x: Array, shift: Shift) -> Array:
    """rs of section 1: a tie goes up."""
    found: Array = (x + half(shift)) >> shift
    return found


def down(x: Array, shift: Shift) -> Array:
    """Towards minus infinity."""
    found: Array = x >> shift
    return found


def to_zero(x: Array, shift: Shift) -> Array:
    """Towards zero."""
    return np.where(x < 0, -((-x) >> shift), x >> shift)


def tie_to_even(x: Array, shift: Shift) -> Array:
    """To nearest, a tie to the even one."""
    less = np.where(half(shift) > 0, half(shift) - 1 + ((x >> shift) & 1), 0)
    return np.asarray((x + less) >> shift)


def tie_down(x: Array, shift: Shift) -> Array:
    """To nearest, a tie towards minus infinity."""
    return np.asarray((x + np.maximum(half(shift) - 1, 0)) >> shift)


def tie_from_zero(x: Array, shift: Shift) -> Array:
    """To nearest, a tie away from zero."""
    return np.asarray((x + np.where((x < 0) & (half(shift) > 0), half(shift) - 1, half(shift))) >> shift)


def up(x: Array, shift: Shift) -> Array:
    """Towards plus infinity."""
    return np.asarray(-(-x >> shift))


def _further(by: int) -> Rounding:
    def rounded(x: Array, shift: Shift) -> Array:
        return np.asarray((x + half(shift)) >> np.clip(np.asarray(shift) + by, 0, 62))

    return rounded


ROUNDINGS: Final[Mapping[str, tuple[str, Rounding]]] = {
    "down": ("is rounded down", down),
    "to zero": ("is rounded towards zero", to_zero),
    "up": ("is rounded up", up),
    "tie to even": ("is rounded to nearest, a tie to even", tie_to_even),
    "tie down": ("is rounded to nearest, a tie down", tie_down),
    "tie from zero": ("is rounded to nearest, a tie away from zero", tie_from_zero),
    "shifted one more": ("is rounded rightly and shifted by one more", _further(1)),
    "shifted one less": ("is rounded rightly and shifted by one less", _further(-1)),
}
"""Other roundings, and what each does."""


def clamp(x: Array, bits: int) -> Array:
    """sat of section 1."""
    top = (1 << (bits - 1)) - 1
    found: Array = np.clip(x, -top - 1, top)
    return found


def wrap(x: Array, bits: int) -> Array:
    """The low bits, as two's complement."""
    top = np.int64(1) << (bits - 1)
    return np.asarray(((x + top) & ((top << 1) - 1)) - top if bits < 63 else x)


def _low(x: Array, bits: int) -> Array:
    return wrap(np.maximum(x, -(1 << (bits - 1))), bits)


def _high(x: Array, bits: int) -> Array:
    return wrap(np.minimum(x, (1 << (bits - 1)) - 1), bits)


def _top(x: Array, bits: int) -> Array:
    return np.minimum(clamp(x, bits), (1 << (bits - 1)) - 2)


def _bottom(x: Array, bits: int) -> Array:
    return np.maximum(clamp(x, bits), 1 - (1 << (bits - 1)))


def _narrow(bits_less: int) -> Clamping:
    return lambda x, bits: clamp(x, bits - bits_less)


def _narrow_wrap(bits_less: int) -> Clamping:
    return lambda x, bits: wrap(x, bits - bits_less)


CLAMPINGS: Final[Mapping[str, tuple[str, Clamping]]] = {
    "wrap": ("wraps where it should saturate", wrap),
    "no clamp above": ("wraps above where it should saturate", _low),
    "no clamp below": ("wraps below where it should saturate", _high),
    "top one low": ("saturates above one too low", _top),
    "bottom one high": ("saturates below one too high", _bottom),
    "a bit less": ("saturates to one bit less", _narrow(1)),
    "wrap a bit less": ("keeps one bit less, and wraps", _narrow_wrap(1)),
}
"""Other saturations, and what each does."""


def bit_length(x: Array) -> Array:
    """bitlen of section 1, for 0 <= x < 2**63."""
    low = x & ~(x >> 1)  # no rounding reaches the next power of two
    found: Array = np.frexp(low.astype(np.float64))[1].astype(np.int64)
    return found


@lru_cache
def table(name: str) -> Array:
    """A constant table of section 12, read-only."""
    made = {
        "RSQRT": tables.rsqrt_table,
        "RECIP": tables.recip_table,
        "EXP2": tables.exp2_table,
        "SIGMOID": tables.sigmoid_table,
    }[name]
    found = np.array(made(), dtype=np.int64)
    found.setflags(write=False)
    return found


@dataclass(frozen=True, eq=False)
class Primitives:
    """What every unit computes with.

    Attributes:
        rs: the rounding shift.
        sat: the saturation.
        stages: another rounding of one stage of a unit, by its name.
    """

    rs: Rounding = to_nearest
    sat: Clamping = clamp
    stages: Mapping[str, Rounding] = field(default_factory=dict)

    def stage(self, name: str) -> Rounding:
        """The rounding of a stage."""
        return self.stages.get(name, self.rs)


RIGHT: Final = Primitives()


@dataclass(frozen=True, eq=False)
class Root:
    """Section 3.1.

    Attributes:
        seeds: RSQRT.
        steps: of Newton.
        index: the entry, of a mantissa.
        even: whether the exponent is made even.
        lost: bits that the square, its product with the mantissa, and a step lose.
        three: of the step's 3 - m y^2.
    """

    seeds: Array
    steps: int = 2
    lost: tuple[int, ...] = (28, 32, 29)
    three: int = 3
    index: Callable[[Array], Array] = lambda mantissa: (mantissa >> 24) - 64
    even: bool = True

    def __call__(self, v: Array) -> tuple[Array, Array]:
        """(y, n) with 1/sqrt(v) = y * 2**(-28 - n/2)."""
        length = bit_length(v)
        n = length + (length & 1) if self.even else length
        mantissa = np.where(n <= 32, v << np.maximum(32 - n, 0), v >> np.maximum(n - 32, 0))
        y = self.seeds[self.index(mantissa) % len(self.seeds)] << 14
        for _ in range(self.steps):
            square = (y * y) >> self.lost[0]
            y = (y * ((self.three << 28) - ((mantissa * square) >> self.lost[1]))) >> self.lost[2]
        return y, n


@dataclass(frozen=True, eq=False)
class Reciprocal:
    """Section 8.1; fields as of ``Root``.

    Attributes:
        last: the mantissa of the last step of Newton, of that of the others.
        lost: bits that a product with the mantissa and a step lose.
        two: of the step's 2 - m y.
    """

    seeds: Array
    steps: int = 2
    lost: tuple[int, ...] = (32, 28)
    two: int = 2
    index: Callable[[Array], Array] = lambda mantissa: (mantissa >> 24) - 128
    last: Callable[[Array], Array] | None = None

    def __call__(self, total: Array) -> tuple[Array, Array]:
        """(y, b) with 1/total = y * 2**(-28 - b)."""
        b = bit_length(total)
        mantissa = np.where(b <= 32, total << np.maximum(32 - b, 0), total >> np.maximum(b - 32, 0))
        y = self.seeds[self.index(mantissa) % len(self.seeds)] << 14
        for step in range(self.steps):
            m = self.last(mantissa) if self.last is not None and step == self.steps - 1 else mantissa
            y = (y * ((self.two << 28) - ((m * y) >> self.lost[0]))) >> self.lost[1]
        return y, b


@dataclass(frozen=True, eq=False)
class Exponential:
    """Section 7.1.

    Attributes:
        entries: EXP2.
        first: added to the index of the upper entry, ``second`` to that of the lower one.
        chord: what the interpolation subtracts: 1 as it should, 0 without it, -1 the other way.
        limit: of the exponent.
    """

    entries: Array
    first: int = 0
    second: int = 1
    chord: int = 1
    limit: int | None = 31

    def __call__(self, z: Array, prims: Primitives) -> Array:
        """z (16 fractional bits, not negative in a right chip) -> 2**20 * 2**-z."""
        n = np.where(z < 0, 31, np.minimum(z >> 16, self.limit)) if self.limit is not None else (z >> 16) & 63
        index, low = (z & 0xFFFF) >> 9, z & 0x1FF
        upper = self.entries[(index + self.first) % len(self.entries)]
        lower = self.entries[(index + self.second) % len(self.entries)]
        t = upper - self.chord * prims.stage("chord")((upper - lower) * low, 9)
        return np.where(n > 58, 0, prims.stage("weight")(t, np.minimum(4 + n, 62)))


@dataclass(frozen=True, eq=False)
class Sigmoid:
    """Section 9.

    Attributes:
        entries: SIGMOID.
        first: added to the index of the lower entry, ``second`` to that of the upper one.
        chord: what the interpolation adds: 1 as it should, 0 without it, -1 the other way.
        mirrored: whether negative gates are mirrored.
        limited: whether the argument is.
    """

    entries: Array
    first: int = 0
    second: int = 1
    chord: int = 1
    mirrored: bool = True
    limited: bool = True

    def __call__(self, gate: Array, gate_shift: int, prims: Primitives) -> Array:
        """gate (16 fractional bits after the shift) -> 20 fractional bits."""
        a = np.abs(gate) << gate_shift
        a = np.minimum(a, (1 << 20) - 1) if self.limited else a
        index, low = (a >> 11) & 0x1FF, a & 0x7FF
        lower = self.entries[(index + self.first) % len(self.entries)]
        upper = self.entries[(index + self.second) % len(self.entries)]
        t = lower + self.chord * prims.stage("chord")((upper - lower) * low, 11)
        return np.where(gate >= 0, t, (1 << 20) - t) if self.mirrored else np.asarray(t)
