"""Faults of ROM images: what a slip between the quantized model and the mask would look like."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import numpy as np
import numpy.typing as npt

from etchproof.render.images import ImageSet, StoredImage, load_image
from etchproof.render.images_index import IndexedImage

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class ImageFault:
    """A fault of one image.

    Attributes:
        layer: of the image; ``image`` is its name.
        operator: which kind.
        seed: of what is drawn.
    """

    layer: int
    image: str
    operator: str
    seed: int

    @property
    def name(self) -> str:
        return f"layer {self.layer} {self.image}:{self.operator}:s{self.seed}"


def _bit(data: Array, bits: int, rng: random.Random) -> None:
    flat = data.reshape(-1).view(f"u{data.dtype.itemsize}")
    flat[rng.randrange(flat.size)] ^= flat.dtype.type(1 << rng.randrange(bits))


def _words(data: Array, bits: int, rng: random.Random) -> None:
    flat = data.reshape(-1)
    first, second = rng.sample(range(flat.size), 2)
    flat[[first, second]] = flat[[second, first]]


def _axis(axis: int) -> Callable[[Array, int, random.Random], None]:
    def swapped(data: Array, bits: int, rng: random.Random) -> None:
        first, second = rng.sample(range(data.shape[axis]), 2)
        moved = np.moveaxis(data, axis, 0)
        moved[[first, second]] = moved[[second, first]]

    return swapped


def _transposed(data: Array, bits: int, rng: random.Random) -> None:
    data[...] = data.reshape(-1).reshape(data.shape, order="F")


def _reversed_bits(data: Array, bits: int, rng: random.Random) -> None:
    flat = data.reshape(-1).view(f"u{data.dtype.itemsize}")
    turned = np.zeros_like(flat)
    for bit in range(bits):
        turned |= (flat >> flat.dtype.type(bit) & flat.dtype.type(1)) << flat.dtype.type(bits - 1 - bit)
    flat[...] = turned


def _moved(data: Array, bits: int, rng: random.Random) -> None:
    data.reshape(-1)[...] = np.roll(data.reshape(-1), 1)


def _blank(data: Array, bits: int, rng: random.Random) -> None:
    data.reshape(-1)[...] = 0


def _stuck(data: Array, bits: int, rng: random.Random) -> None:
    flat = data.reshape(-1).view(f"u{data.dtype.itemsize}")
    flat |= flat.dtype.type(1 << rng.randrange(bits))


OPERATORS: Final[Mapping[str, Callable[[Array, int, random.Random], None]]] = {
    "bit inverted": _bit,
    "words exchanged": _words,
    **{f"slices of axis {axis} exchanged": _axis(axis) for axis in range(4)},
    "transposed": _transposed,
    "bits in reverse order": _reversed_bits,
    "one word late": _moved,
    "blank": _blank,
    "bit line stuck at 1": _stuck,
}
"""What changes an image in itself; ``bits`` of its elements exist in silicon."""

EXCHANGED: Final = ("another layer's", "another matrix's")
"""What puts another image of the same shape in its place."""


def draw(images: ImageSet, count: int, seed: int) -> list[ImageFault]:
    """Faults of every image and operator, as evenly as there are: the same of the same images and seed."""
    rng = random.Random(seed)
    drawn: list[ImageFault] = []
    tries, seeds = 0, 0
    pairs = [(image, operator) for image in images.images for operator in (*OPERATORS, *EXCHANGED)]
    rng.shuffle(pairs)
    while len(drawn) < count and tries < 8:
        tries, seeds = tries + 1, seeds + 1
        for image, operator in pairs:
            fault = ImageFault(image.layer, image.name, operator, seeds)
            if (tries == 1 or _is_drawn(operator)) and changed(images, fault) is not None:
                drawn.append(fault)
                if len(drawn) == count:
                    break
    return drawn


def _is_drawn(operator: str) -> bool:
    """Whether another seed makes another fault."""
    return operator.startswith(("bit", "words", "slices")) and operator != "bits in reverse order"


def changed(images: ImageSet, fault: ImageFault) -> Array | None:
    """The content with the fault; None where it does not apply, or changes nothing."""
    image = images.find(fault.layer, fault.image)
    before = load_image(images, image)
    if fault.operator in EXCHANGED:
        other = _other(images, image, fault.operator)
        after = None if other is None else load_image(images, other)
    else:
        axis = _axis_of(fault.operator)
        if axis is not None and (axis >= before.ndim or before.shape[axis] < 2):
            return None
        if before.size < 2 and fault.operator == "words exchanged":
            return None
        after = before.copy()
        OPERATORS[fault.operator](after, image.bits, random.Random(f"{fault.name}"))
    return None if after is None or np.array_equal(before, after) else after


def _axis_of(operator: str) -> int | None:
    """Of which axis slices are exchanged."""
    axis = operator.removeprefix("slices of axis ").partition(" ")[0]
    return int(axis) if axis.isdigit() else None


def _other(images: ImageSet, image: StoredImage, operator: str) -> StoredImage | None:
    """An image of the same shape and type: of the same name in another layer, or of another name in the same."""

    def like() -> Iterator[StoredImage]:
        for other in images.images:
            same = (other.shape, other.dtype, other.bits) == (image.shape, image.dtype, image.bits)
            if same and other.sha256 != image.sha256:
                yield other

    if operator == EXCHANGED[0]:
        return next((one for one in like() if one.name == image.name), None)
    return next((one for one in like() if one.layer == image.layer), None)


def write(images: ImageSet, fault: ImageFault, folder: Path) -> Sequence[IndexedImage]:
    """The image with the fault, in ``folder``, in place of the chip's own."""
    image, data = images.find(fault.layer, fault.image), changed(images, fault)
    assert data is not None
    path = folder / f"layer{fault.layer}.{quote(fault.image, safe='')}.fault.bin"
    path.write_bytes(np.ascontiguousarray(data).tobytes())
    return [IndexedImage(fault.layer, fault.image, image.size_bytes, path)]
