"""The RoPE tables of a layer (docs/numerics.md section 5): cosines and sines, read by position (``TriedUnit``)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from etchproof.contract.mask import Bits, Fed, MaskPart, Outputs
from etchproof.contract.taps import TapKey
from models.numerics import ops
from models.rom.margins import inverted
from models.rom.sequences import tensor

Array = npt.NDArray[Any]

ENTRY_BITS: Final = 16


@dataclass(frozen=True)
class Rotated:
    """A vector of heads that a layer rotates.

    Attributes:
        source: the tap that it reads.
        result: the tap that it makes.
        shift: of section 5.
        bits: of an output.
    """

    source: TapKey
    result: TapKey
    heads: int
    shift: int
    bits: int


@dataclass(frozen=True)
class RomRope:
    """A layer's copy of the tables.

    Attributes:
        cos: (positions, pairs) int16; likewise ``sin``.
        rotated: queries and keys.
        words: elements of a ROM word along the axes of "cos" and "sin".
    """

    cos: npt.NDArray[np.int16]
    sin: npt.NDArray[np.int16]
    rotated: tuple[Rotated, ...]
    words: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    site: str = "rope"

    @property
    def positions(self) -> int:
        return len(self.cos)

    @property
    def sources(self) -> tuple[TapKey, ...]:
        return tuple(one.source for one in self.rotated)

    @property
    def results(self) -> tuple[TapKey, ...]:
        return tuple(one.result for one in self.rotated)

    def parts(self) -> tuple[MaskPart, ...]:
        return tuple(
            MaskPart(kind, f"{self.site}.{kind}", table, ENTRY_BITS, image=(-1, f"{self.site}.{kind}"))
            for kind, table in (("cos", self.cos), ("sin", self.sin))
        )

    def made(self, fed: Fed) -> Outputs:
        return self._turned(fed.taps, self.cos[fed.positions], self.sin[fed.positions])

    def seen(self, fed: Fed, wanted: Sequence[Bits]) -> tuple[Bits, ...]:
        """An entry goes into nothing but the two outputs of its pair, so a bit of all entries is inverted at once."""
        found = tuple(np.zeros_like(bits) for bits in wanted)
        asked = np.logical_or.reduce([bits.any(axis=(1, 2)) for bits in wanted])  # (positions,)
        at = np.flatnonzero(asked[fed.positions])
        if not len(at):
            return found
        vectors = {one.source: fed.taps[one.source][at] for one in self.rotated}
        positions = fed.positions[at]
        tables = (self.cos[positions], self.sin[positions])
        right = self._pairs(vectors, *tables)
        for part, (seen, bits) in enumerate(zip(found, wanted, strict=True)):
            for bit in np.flatnonzero(bits.any(axis=(0, 1))).tolist():
                faulty = list(tables)
                faulty[part] = faulty[part] ^ np.uint16(1 << bit).view(np.int16)
                differs = (self._pairs(vectors, *faulty) != right).any(axis=1)  # (T, pairs)
                np.logical_or.at(seen[..., bit], positions, differs)
        return found

    def tried(self, kind: str, element: Sequence[int], bit: int, fed: Fed) -> Outputs:
        tables = {"cos": self.cos.copy(), "sin": self.sin.copy()}
        position, pair = element
        tables[kind][position, pair] = inverted(int(tables[kind][position, pair]), bit, ENTRY_BITS)
        return self._turned(fed.taps, tables["cos"][fed.positions], tables["sin"][fed.positions])

    def _turned(self, vectors: Mapping[TapKey, Array], cos: Array, sin: Array) -> dict[TapKey, Array]:
        """Every result, with tables of each token."""
        found = {}
        for one in self.rotated:
            x = tensor(vectors[one.source]).view(len(cos), one.heads, 2 * cos.shape[1])
            turned = ops.rope(x, tensor(cos), tensor(sin), one.shift, one.bits)
            found[one.result] = turned.flatten(1).numpy()
        return found

    def _pairs(self, vectors: Mapping[TapKey, Array], cos: Array, sin: Array) -> Array:
        """(T, outputs of a pair, pairs): all results."""
        turned = self._turned(vectors, cos, sin).values()
        return np.concatenate([values.reshape(len(cos), -1, cos.shape[1]) for values in turned], axis=1)
