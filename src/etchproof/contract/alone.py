"""A layer of a chip alone, as a replay asks a project for it (``[replay]`` of ``etchproof.toml``, docs/project.md).

A layer alone is a chip of its own: one layer, fed the vectors that entered the layer in a run. It is simulated by the
project's own testbench. Its only layer has number 0, and its tokens are the numbers of the vectors.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from etchproof.contract.golden import GoldenSession
from etchproof.contract.taps import TapKey

ImageKey = tuple[int, str]
"""Layer and name of a ROM image."""


@dataclass(frozen=True)
class LayerChip:
    """A chip of one layer.

    Attributes:
        plan: the project's own record of it, as ``[chip] plan`` gives of a whole one.
        model: what the project's functions get as the model.
        renderings: what to render of ``[rtl] templates``. It depends on shapes and on the number of vectors, never on
            a weight, a vector or the layer, so that one simulator serves every layer of a shape.
        images: the ROM images (``etchproof.render.images.Image``), the vectors among them.
        session: makes a session of its golden model.
        adapters: what of the run's adapters is in the layer, in the same order.
        image: where an image of the whole chip is in this one; None where it is not.
    """

    plan: Any
    model: Any
    renderings: Sequence[Any]
    images: Iterable[Any]
    session: Callable[[], GoldenSession]
    adapters: Sequence[Any]
    image: Callable[[ImageKey], ImageKey | None]


class Alone(Protocol):
    """A layer of a chip that can be made alone."""

    @property
    def source(self) -> TapKey:
        """The tap of the whole chip whose vectors enter the layer."""
        ...

    def chip(self, vectors: npt.NDArray[np.int64]) -> LayerChip:
        """The chip of this layer.

        Args:
            vectors: (vectors, elements) what enters the layer; token i of the chip is vector i.
        """
        ...


class MakesAlone(Protocol):
    """``[replay] alone``: a layer of the chip of a plan, with the adapters of a run by their index."""

    def __call__(self, model: Any, plan: Any, layer: int, adapters: Sequence[Any], /) -> Alone: ...
