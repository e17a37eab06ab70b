"""Elements and scales of 4, 6 and 8 bits, exactly: what each pattern means, and which pattern is nearest to a number.

Every element format here is an integer times a fixed power of two, so that a block is integers times one exact scale.
Sources: OCP Microscaling Formats (MX) Specification v1.0, section 5.3 (E2M1, E2M3, E3M2, INT8) and 5.4 (E8M0); OCP
8-bit Floating Point Specification (OFP8) v1.0 (E4M3). docs/published.md, "Block formats", has the rule.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt

Patterns = npt.NDArray[np.uint8]
"""Bits as a file or a ROM holds them, one element each, in the low bits."""
Integers = npt.NDArray[np.int32]
Float64s = npt.NDArray[np.float64]


class Element(Protocol):
    """A format of the elements of a block; each is ``integers(pattern) * 2**-fraction``."""

    @property
    def name(self) -> str: ...

    @property
    def bits(self) -> int:
        """Of a pattern."""
        ...

    @property
    def fraction(self) -> int:
        """Fractional bits: the power of two that makes every element an integer."""
        ...

    @property
    def emax(self) -> int:
        """Exponent of the largest power of two."""
        ...

    @property
    def largest(self) -> float: ...

    def integers(self, patterns: Patterns) -> Integers:
        """What each pattern means, times ``2**fraction``; negative zero is 0. Of the same shape."""
        ...

    def nearest(self, values: Float64s) -> Patterns:
        """The pattern nearest to each finite number, ties to even; beyond the largest, the largest. Of its shape."""
        ...


class ScaleFormat(Protocol):
    """A format of the scales of blocks."""

    @property
    def name(self) -> str: ...

    def values(self, patterns: Patterns) -> Float64s:
        """What each pattern means, exact; that of a NaN means nothing. Of the same shape."""
        ...

    def is_nan(self, patterns: Patterns) -> npt.NDArray[np.bool_]:
        """Whether each pattern is no number. Of the same shape."""
        ...


@dataclass(frozen=True)
class Minifloat:
    """Sign, exponent, mantissa, with subnormals and both zeros, without infinities.

    Attributes:
        name: such as "E2M1".
        exponent_bits: of the exponent field.
        mantissa_bits: of the mantissa field.
        bias: of the exponent.
        has_nan: whether all ones below the sign are NaN; otherwise every pattern is a number.
    """

    name: str
    exponent_bits: int
    mantissa_bits: int
    bias: int
    has_nan: bool = False

    @property
    def bits(self) -> int:
        return 1 + self.exponent_bits + self.mantissa_bits

    @property
    def fraction(self) -> int:
        """The smallest subnormal is ``2**-fraction``."""
        return self.bias - 1 + self.mantissa_bits

    @property
    def emax(self) -> int:
        return (self._top >> self.mantissa_bits) - self.bias

    @property
    def largest(self) -> float:
        return float(np.ldexp(float(self._integers[self._top]), -self.fraction))

    @property
    def _sign(self) -> int:
        """The sign bit's weight in a pattern."""
        return 1 << (self.bits - 1)

    @property
    def _top(self) -> int:
        """The pattern of the largest number."""
        return self._sign - 1 - self.has_nan

    @cached_property
    def _integers(self) -> Integers:
        """By pattern. A subnormal is its mantissa; a number of the next exponent has the hidden bit, then doubles."""
        below_sign = np.arange(self._sign, dtype=np.int32)
        exponent, mantissa = np.divmod(below_sign, 1 << self.mantissa_bits)
        normal = (mantissa + (1 << self.mantissa_bits)) << np.maximum(exponent - 1, 0)
        magnitude = np.where(exponent == 0, mantissa, normal).astype(np.int32)
        return np.concatenate([magnitude, -magnitude])

    def integers(self, patterns: Patterns) -> Integers:
        """As of ``Element``; that of a NaN means nothing."""
        found: Integers = self._integers[patterns]
        return found

    def values(self, patterns: Patterns) -> Float64s:
        """As of ``ScaleFormat``; negative zero is -0.0."""
        magnitude = np.ldexp(self.integers(patterns).astype(np.float64), -self.fraction)
        return np.copysign(magnitude, np.where(patterns & self._sign, -1.0, 1.0))

    def is_nan(self, patterns: Patterns) -> npt.NDArray[np.bool_]:
        """As of ``ScaleFormat``."""
        found: npt.NDArray[np.bool_] = (patterns & (self._sign - 1)) > self._top
        return found

    def nearest(self, values: Float64s) -> Patterns:
        """As of ``Element``; the sign of a zero is kept.

        The patterns of one sign rise with their magnitudes by one step each, and even steps are even patterns. So the
        nearest pattern is the number of steps of its exponent, rounded to even, plus the steps of the exponents below;
        one that rounds up to the next exponent is that exponent's first.
        """
        magnitude = np.abs(values)
        exponent = np.frexp(magnitude)[1] - 1  # magnitude is 2**exponent .. 2**(exponent + 1); -1 for zero
        above = np.maximum(exponent - (1 - self.bias), 0)  # the exponent over that of subnormals
        above = np.where(magnitude == 0, 0, above)
        steps = np.rint(np.ldexp(magnitude, self.fraction - above)).astype(np.int32)
        below_sign = np.minimum((above << self.mantissa_bits) + steps, self._top)
        found: Patterns = np.where(np.signbit(values), below_sign | self._sign, below_sign).astype(np.uint8)
        return found


@dataclass(frozen=True)
class FixedPoint:
    """Two's complement of 8 bits with fractional ones.

    Attributes:
        name: such as "INT8".
        fraction: fractional bits.
    """

    name: str
    fraction: int
    bits: int = 8

    @property
    def emax(self) -> int:
        return self.bits - 2 - self.fraction

    @property
    def largest(self) -> float:
        return float(np.ldexp(127.0, -self.fraction))

    def integers(self, patterns: Patterns) -> Integers:
        """As of ``Element``."""
        return patterns.view(np.int8).astype(np.int32)

    def nearest(self, values: Float64s) -> Patterns:
        """As of ``Element``; -128 is left unused, so that the range is symmetric."""
        steps = np.rint(np.ldexp(values, self.fraction))
        return np.clip(steps, -127, 127).astype(np.int8).view(np.uint8)


@dataclass(frozen=True)
class PowerOfTwo:
    """E8M0: an exponent of 8 bits without sign, and nothing else; no zero, all ones are NaN."""

    name: str = "E8M0"
    bias: int = 127

    def values(self, patterns: Patterns) -> Float64s:
        """As of ``ScaleFormat``."""
        found: Float64s = np.ldexp(1.0, patterns.astype(np.int32) - self.bias)
        return found

    def is_nan(self, patterns: Patterns) -> npt.NDArray[np.bool_]:
        """As of ``ScaleFormat``."""
        found: npt.NDArray[np.bool_] = patterns == 255
        return found

    def at_most(self, exponents: npt.NDArray[np.integer]) -> Patterns:
        """The pattern of each exponent of two, within -127 .. 127. Of the same shape."""
        found: Patterns = (np.clip(exponents, -self.bias, 254 - self.bias) + self.bias).astype(np.uint8)
        return found


E2M1: Final = Minifloat("E2M1", 2, 1, bias=1)
"""FP4: 0, 0.5, 1, 1.5, 2, 3, 4, 6 of either sign; doubled, an integer of -12 .. 12."""
E2M3: Final = Minifloat("E2M3", 2, 3, bias=1)
"""FP6: eighths to 7.5."""
E3M2: Final = Minifloat("E3M2", 3, 2, bias=3)
"""FP6: sixteenths to 28."""
E4M3: Final = Minifloat("E4M3", 4, 3, bias=7, has_nan=True)
"""FP8 of OFP8: multiples of 2**-9 to 448."""
INT8: Final = FixedPoint("INT8", fraction=6)
"""MX's integers: 64ths of -2 .. 127/64."""
E8M0: Final = PowerOfTwo()
