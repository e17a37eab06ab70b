"""What a unit holds in ROM: each image as it is etched, and the unit with another in its place (docs/rom-format.md)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from etchproof.contract.diagnosis import Place
from etchproof.contract.mask import ImageKey
from models.chip import SCALE_BITS, ChipPlan
from models.diagnosis.units import Embedding, Linear, Norm, Rope, Unit
from models.rom.mask import BIAS_BITS, GAIN_BITS
from models.rom.rope import ENTRY_BITS
from models.rom.writer import padded, site, tiled, untiled

Array = npt.NDArray[Any]

_IMAGES: Final = {"logits": "lm_head", "embedding": "embed_tokens"}


@dataclass(frozen=True, eq=False)
class Content:
    """One image of a unit.

    Attributes:
        key: layer and name of the image.
        site: of the tensor in ``--inject``.
        stored: as it is etched, of any shape; unsigned, in int64.
        bits: of an element.
        axes: what each axis of it counts; words count along the first one.
        unit: the unit with another content in its place.
    """

    key: ImageKey
    site: str
    stored: Array
    bits: int
    axes: tuple[str, ...]
    unit: Callable[[Array], Unit]


def contents(unit: Unit, plan: ChipPlan) -> Sequence[Content]:
    """The images that a unit reads; none of one that reads none."""
    match unit:
        case Linear():
            return tuple(_linear(unit, plan))
        case Embedding():
            return tuple(_embedding(unit, plan))
        case Norm():
            return (_gains(unit, plan),)
        case Rope():
            return tuple(_tables(unit))
    return ()


def _unsigned(values: Array, bits: int) -> Array:
    found: Array = values.astype(np.int64) & ((1 << bits) - 1)
    return found


def _signed(values: Array, bits: int) -> Array:
    found: Array = ((values + (1 << (bits - 1))) & ((1 << bits) - 1)) - (1 << (bits - 1))
    return found


def _linear(unit: Linear, plan: ChipPlan) -> Iterator[Content]:
    layer, tap = unit.result
    linear = plan.lm_head if layer < 0 else plan.linears(layer)[tap]
    name, shape, offset = _IMAGES.get(tap, tap), unit.codes.shape, 1 << (unit.code_bits - 1)
    rows, inputs, blocks, chunks = linear.tile_rows, linear.tile_inputs, linear.blocks, linear.chunks
    codes = tiled(unit.codes, rows, inputs, blocks, chunks).astype(np.int64) + offset
    yield Content(
        (layer, f"{name}.codes"),
        unit.name,
        codes,
        unit.code_bits,
        ("word", "lane", "input"),
        lambda stored: replace(unit, codes=untiled(stored, blocks, chunks, shape) - offset),
    )
    scaled = unit.scales.shape
    width, across = (
        (inputs // linear.group_size, chunks)
        if linear.group_size <= inputs
        else (1, linear.scale_depth // blocks)
    )
    yield Content(
        (layer, f"{name}.scales"),
        f"{unit.name}.scales",
        tiled(unit.scales, rows, width, blocks, across).astype(np.int64),
        SCALE_BITS,
        ("word", "lane", "group"),
        lambda stored: replace(unit, scales=untiled(stored, blocks, across, scaled)),
    )
    if unit.bias is not None:
        size = len(unit.bias)
        yield Content(
            (layer, f"{name}.bias"),
            f"{unit.name}.bias",
            _unsigned(padded(unit.bias, (blocks * rows,)).reshape(blocks, rows), BIAS_BITS),
            BIAS_BITS,
            ("word", "lane"),
            lambda stored: replace(unit, bias=_signed(stored, BIAS_BITS).reshape(-1)[:size]),
        )


def _embedding(unit: Embedding, plan: ChipPlan) -> Iterator[Content]:
    vocab, hidden = unit.codes.shape
    bits, blocks, lanes = plan.embedding.bits, plan.blocks(hidden), plan.tile_rows
    offset = 1 << (bits - 1)
    codes = (
        padded(unit.codes, (vocab, blocks * lanes)).reshape(vocab, blocks, lanes).astype(np.int64) + offset
    )
    yield Content(
        (-1, "embed_tokens.codes"),
        unit.name,
        codes,
        bits,
        ("word", "block", "lane"),
        lambda stored: replace(unit, codes=stored.reshape(vocab, -1)[:, :hidden] - offset),
    )
    group = blocks * lanes if unit.group_size >= hidden else unit.group_size
    groups = unit.scales.shape[1]
    yield Content(
        (-1, "embed_tokens.scales"),
        f"{unit.name}.scales",
        padded(unit.scales, (vocab, -(-blocks * lanes // group))).astype(np.int64),
        SCALE_BITS,
        ("word", "group"),
        lambda stored: replace(unit, scales=stored[:, :groups]),
    )


def _gains(unit: Norm, plan: ChipPlan) -> Content:
    layer, tap = unit.result
    size = len(unit.gains)
    blocks, lanes = plan.blocks(size), plan.tile_rows
    return Content(
        (layer, f"{tap}.gains"),
        unit.name,
        _unsigned(padded(unit.gains, (blocks * lanes,)).reshape(blocks, lanes), GAIN_BITS),
        GAIN_BITS,
        ("word", "lane"),
        lambda stored: replace(unit, gains=_signed(stored, GAIN_BITS).reshape(-1)[:size]),
    )


def _tables(unit: Rope) -> Iterator[Content]:
    def of(field: str, table: Array) -> Content:
        def changed(stored: Array) -> Unit:
            other: dict[str, Any] = {field: _signed(stored, ENTRY_BITS)}
            return replace(unit, **other)

        return Content(
            (-1, f"rope.{field}"),
            f"rope.{field}",
            _unsigned(table, ENTRY_BITS),
            ENTRY_BITS,
            ("position", "pair"),
            changed,
        )

    yield of("cos", unit.cos)
    yield of("sin", unit.sin)


def bits_of(difference: int) -> tuple[int, ...]:
    """The bits that are set."""
    return tuple(bit for bit in range(difference.bit_length()) if difference >> bit & 1)


def names(site_of: str, element: Sequence[int], difference: int) -> tuple[str, ...]:
    """The bits of an element, as ``--inject`` names them."""
    index = ",".join(map(str, element))
    return tuple(f"rom:{site_of}[{index}]^{bit}" for bit in bits_of(difference))


def place(unit: Unit, plan: ChipPlan, changes: Sequence[tuple[str, tuple[int, ...], int]]) -> Place:
    """Where elements are: (tensor in ``--inject``, index, bits that differ) each; words are of the first."""
    inject = tuple(text for change in changes for text in names(*change))
    layer, image, index, _ = site(inject[0].removeprefix("rom:"), plan)
    tensor, element, difference = changes[0]
    base, _, part = tensor.rpartition(".")
    named = f"{base}.weight" if part == "scales" else tensor if part == "bias" else f"{tensor}.weight"
    return Place(
        tensor=named,
        element=element,
        inject=inject,
        layer=layer,
        image=image,
        word=index[0],
        lane=index[1:],
        bits=bits_of(difference),
        instance=unit.place.instance,
        file=unit.place.file,
    )
