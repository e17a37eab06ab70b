"""ROM images that are not what they should be: moved, exchanged, of another place, with lines that stand still.

Each is an image as it might be etched or read; the unit is computed with it. Most are rejected at a few tokens,
which costs little; the engine computes what is left in whole.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import combinations, permutations
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from etchproof.contract.diagnosis import Excluded, Hypothesis, Place, Question, Seen
from models.chip import ChipPlan
from models.diagnosis.content import Content
from models.diagnosis.units import Embedding, Unit

Array = npt.NDArray[Any]
Named = tuple[str, str, Array]
"""Kind, what is wrong, and the image; words of it count along the first axis."""

_WORDS: Final = frozenset(
    (
        *("image", "bit", "bits", "bytes", "sign", "neighbour", "first", "blank", "address", "exchanged"),
        *("falling", "place"),
    )
)
"""One of them is in the kind of each."""

_PAIRS: Final = 20_000  # of slices of one axis that are exchanged
_RANK: Final = 2


def hypotheses(
    unit: Unit,
    question: Question,
    plan: ChipPlan,
    held: Sequence[Content],
    others: Callable[[], Iterator[Content]],
) -> Iterator[Hypothesis | Excluded]:
    """That an image of a unit is another.

    Args:
        held: the images that it reads.
        others: every image of the chip.
    """
    screen = _screen(unit, question)
    excluded: Counter[str] = Counter()
    for content in held:
        used, (layer, name) = _used(unit, question, content), content.key
        for kind, what, image in _images(content, used, others):
            if not question.asks(kind) or np.array_equal(image, content.stored):
                continue
            wrong = content.unit(image)
            if not screen(wrong):
                excluded[kind] += 1
                continue
            yield Hypothesis(
                kind,
                f"{name.rpartition('.')[2] if _of_logic(kind) else name}: {what}",
                wrong.made,
                at=f"{unit.module}: {kind}: {what}" if _of_logic(kind) else f"{layer} {name}",
                rank=_RANK,
                place=Place(
                    tensor=f"{content.site.removesuffix('.scales').removesuffix('.bias')}.weight",
                    layer=layer,
                    image=name,
                    instance=unit.place.instance,
                    file=unit.place.file,
                ),
            )
    yield from (Excluded(kind, count) for kind, count in sorted(excluded.items()))


def _of_logic(kind: str) -> bool:
    """Whether such a fault is likelier in what reads the ROM than in its content."""
    return kind.startswith(("address", "neighbour", "first ")) or "falling" in kind


def _screen(unit: Unit, question: Question) -> Callable[[Unit], bool]:
    """Whether another unit makes what the chip has, at a few tokens of those that differ and of the others."""
    got, count = question.got, 3
    right = np.setdiff1d(np.arange(len(got.at)), question.differs)
    rows = np.union1d(question.differs[:count], right[:1])
    tokens = got.at[rows]
    part: Seen = question.seen
    values = np.asarray(got.values)[rows]

    def holds(wrong: Unit) -> bool:
        return bool((np.asarray(wrong.compute(part, tokens)) == values).all())

    return holds


def _used(unit: Unit, question: Question, content: Content) -> Array | None:
    """The words that the run reads, where the others cannot matter; None where it reads all."""
    if isinstance(unit, Embedding):
        return np.unique(question.seen.tokens)
    if content.key[1].startswith("rope."):
        return np.unique(question.seen.positions)
    return None


def _images(content: Content, used: Array | None, others: Callable[[], Iterator[Content]]) -> Iterator[Named]:
    yield from variants(content.stored, content.bits, content.axes, used)
    for other in others():
        if (
            other.key == content.key
            or other.stored.shape != content.stored.shape
            or other.bits != content.bits
        ):
            continue
        layer, name = other.key
        kind = "image of another layer" if name == content.key[1] else "image of another matrix"
        yield kind, f"is {name}{f' of layer {layer}' if layer >= 0 else ''}", other.stored


def variants(image: Array, bits: int, axes: Sequence[str], used: Array | None = None) -> Iterator[Named]:
    """An image as it might be etched or read wrongly.

    Args:
        bits: of an element.
        axes: what each axis counts.
        used: the words that are read; None for all.
    """
    yield from _whole(image, bits)
    yield from _lines(image, bits)
    for axis, name in enumerate(axes):
        yield from _axis(image, axis, name, used if axis == 0 else None)


def _whole(image: Array, bits: int) -> Iterator[Named]:
    """The image as a whole."""
    flat, shape = image.reshape(-1), image.shape
    yield "image blank", "reads as 0", np.zeros_like(image)
    yield "image blank", "reads as 1", np.full_like(image, (1 << bits) - 1)
    yield "image transposed", "elements stand in column-major order", flat.reshape(shape, order="F")
    if image.ndim > 2 and shape[-1] == shape[-2]:
        yield "image transposed", "the words are transposed", np.swapaxes(image, -1, -2)
    yield "image moved", "stands one element late", np.roll(flat, 1).reshape(shape)
    yield "image moved", "stands one element early", np.roll(flat, -1).reshape(shape)
    yield "image in reverse order", "the last element stands first", flat[::-1].reshape(shape)
    turned = np.zeros_like(image)
    for bit in range(bits):
        turned |= (image >> bit & 1) << (bits - 1 - bit)
    yield "bits in reverse order", "the highest bit stands lowest", turned
    yield "bits inverted", "every bit is inverted", image ^ ((1 << bits) - 1)
    if bits == 16:
        yield "bytes exchanged", "the bytes of an element are exchanged", (image >> 8) | (image & 255) << 8
    yield "sign lost", "the highest bit is lost", image & ((1 << (bits - 1)) - 1)


def _lines(image: Array, bits: int) -> Iterator[Named]:
    """Bit lines of the whole array."""
    for bit in range(bits):
        yield "bit line stuck", f"bit {bit} of every element stands at 1", image | (1 << bit)
        yield "bit line stuck", f"bit {bit} of every element stands at 0", image & ~np.int64(1 << bit)
    for one, other in combinations(range(bits), 2):
        moved = image & ~np.int64(1 << one | 1 << other)
        moved |= (image >> one & 1) << other | (image >> other & 1) << one
        yield "bit lines exchanged", f"bits {one} and {other} of every element are exchanged", moved


def _axis(image: Array, axis: int, name: str, used: Array | None) -> Iterator[Named]:
    """Words, lanes or inputs read from another place; words beyond the image read as 0."""
    size = image.shape[axis]
    width = max(1, (size - 1).bit_length())
    if size < 2 and axis > 0:
        return
    index, depth = np.arange(size), 1 << width if axis == 0 else size
    memory = image
    if depth > size:
        memory = np.concatenate((image, np.zeros((depth - size, *image.shape[1:]), image.dtype)))

    def taken(which: Array) -> Array:
        found: Array = np.take(memory, which % depth, axis=axis)
        return found

    for step in (1, -1):
        yield (
            f"neighbour {name}",
            f"reads the {name} {'after' if step > 0 else 'before'}",
            taken(index + step),
        )
    yield f"first {name}", f"reads the first {name} in the place of each", taken(0 * index)
    yield f"{name}s in falling order", f"{name}s stand in falling order", taken(size - 1 - index)
    for bit in range(width):
        stuck = f"address bit stuck ({name})"
        yield stuck, f"bit {bit} of the {name}'s address stands at 0", taken(index & ~(1 << bit))
        yield stuck, f"bit {bit} of the {name}'s address stands at 1", taken(index | 1 << bit)
        inverted = f"bit {bit} of the {name}'s address is inverted"
        yield f"address bit inverted ({name})", inverted, taken(index ^ 1 << bit)
    for one, other in combinations(range(width), 2):
        swapped = index & ~(1 << one | 1 << other) | (index >> one & 1) << other | (index >> other & 1) << one
        yield (
            f"address bits exchanged ({name})",
            f"bits {one} and {other} of the {name}'s address are exchanged",
            taken(swapped),
        )
    first = index if used is None else used
    if size * len(first) > _PAIRS:
        return
    pairs = combinations(range(size), 2) if used is None else _pairs(size, used)
    for one, other in pairs:
        moved = index.copy()
        moved[[one, other]] = moved[[other, one]]
        yield f"{name}s exchanged", f"{name}s {one} and {other} are exchanged", taken(moved)
    for one in first.tolist():
        blank = image.copy()
        np.moveaxis(blank, axis, 0)[one] = 0
        yield f"{name} blank", f"{name} {one} reads as 0", blank
    for one, other in permutations(range(size), 2) if used is None else ():
        moved = index.copy()
        moved[one] = other
        yield f"{name} of another place", f"{name} {one} reads as {other}", taken(moved)


def _pairs(size: int, used: Array) -> Iterator[tuple[int, int]]:
    for one in used.tolist():
        yield from (
            (one, other) for other in range(size) if other != one and (other > one or other not in used)
        )


def is_kind(kind: str) -> bool:
    """Whether hypotheses of a kind are of images."""
    words = set(kind.replace("(", " ").replace(")", " ").split())
    return bool(words & _WORDS)
