"""The ROM files, re-read from disk and reassembled after docs/rom-format.md, against the quantized checkpoint.

It shares nothing with the writer (``models.rom.writer``): it goes from an element to its place in a file, by the page.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from etchproof.checkpoint.linears import LINEARS
from etchproof.errors import InputError
from etchproof.quantize.quantized_model import QuantizedMatrix, QuantizedModel
from etchproof.render.images import ImageSet, load_image
from models.chip import ChipPlan
from models.numerics.params import layer_params, top_params
from models.numerics.tables import rope_tables

Array = npt.NDArray[Any]


def compare(model: QuantizedModel, plan: ChipPlan, images: ImageSet) -> tuple[list[str], int]:
    """What is wrong with the files, a line each; and how many bits of silicon are padding, all of them zero."""
    reader = _Reader(model, plan, images)
    reader.all()
    return reader.problems, reader.padding_bits


class _Reader:
    def __init__(self, model: QuantizedModel, plan: ChipPlan, images: ImageSet) -> None:
        self._model, self._plan, self._images = model, plan, images
        self.problems: list[str] = []
        self.padding_bits = 0
        self._read: set[tuple[int, str]] = set()

    def all(self) -> None:
        model, plan = self._model, self._plan
        lanes, hidden = plan.tile_rows, plan.hidden_size
        embedding = model.embedding
        place = np.arange(hidden)
        # embed_tokens.codes: token, block, lane; scales: token, group.
        self._check(
            -1,
            "embed_tokens.codes",
            embedding.bits,
            (np.arange(plan.vocab_size)[:, None], (place // lanes)[None], (place % lanes)[None]),
            embedding.codes,
            codes=True,
        )
        groups = np.arange(embedding.scales.shape[1])
        self._check(
            -1,
            "embed_tokens.scales",
            16,
            (np.arange(plan.vocab_size)[:, None], groups[None]),
            embedding.scales,
        )
        self._linear(-1, "lm_head", model.lm_head)
        self._vector(-1, "final_norm.gains", 16, model.final_norm.values)
        cos, sin = rope_tables(model.config, plan.context)
        for name, table in (("rope.cos", cos), ("rope.sin", sin)):
            rows, columns = (np.arange(size) for size in table.shape)
            self._check(-1, name, 16, (rows[:, None], columns[None]), table)
        self._words(-1, top_params(model))
        for index, layer in enumerate(model.layers):
            for name in LINEARS:
                self._linear(index, name, layer.linears[name])
            self._vector(index, "attn_norm.gains", 16, layer.attn_norm.values)
            self._vector(index, "mlp_norm.gains", 16, layer.mlp_norm.values)
            self._words(index, layer_params(model, index))
        for image in self._images.images:
            if (image.layer, image.name) not in self._read:
                self.problems.append(f"layer {image.layer} {image.name} is no image of this chip")

    def _linear(self, layer: int, name: str, matrix: QuantizedMatrix) -> None:
        lanes, inputs = self._plan.tile_rows, self._plan.tile_inputs
        chunks = -(-matrix.cols // inputs)
        row, column = np.arange(matrix.rows)[:, None], np.arange(matrix.cols)[None]
        place = (row // lanes * chunks + column // inputs, row % lanes, column % inputs)
        self._check(layer, f"{name}.codes", matrix.bits, place, matrix.codes, codes=True)
        size = matrix.group_size if matrix.group_size < matrix.cols else chunks * inputs
        group = np.arange(matrix.scales.shape[1])[None]
        if size <= inputs:
            first = group * size
            place = (row // lanes * chunks + first // inputs, row % lanes, first % inputs // size)
        else:
            per_row = -(-chunks * inputs // size)
            place = (row // lanes * per_row + group, row % lanes, np.zeros_like(group))
        self._check(layer, f"{name}.scales", 16, place, matrix.scales)
        if matrix.bias is not None:
            self._vector(layer, f"{name}.bias", 32, matrix.bias)

    def _vector(self, layer: int, name: str, bits: int, values: Array) -> None:
        place = np.arange(len(values))
        lanes = self._plan.tile_rows
        self._check(layer, name, bits, (place // lanes, place % lanes), values)

    def _words(self, layer: int, words: dict[str, int]) -> None:
        values = np.array(list(words.values()))
        self._check(layer, "params", 32, (np.arange(len(values)),), values)

    def _check(
        self,
        layer: int,
        name: str,
        bits: int,
        place: tuple[Array, ...],
        values: Array,
        *,
        codes: bool = False,
    ) -> None:
        """The elements of an image at ``place`` are ``values``, all others zero; nothing above ``bits``.

        Args:
            codes: they are codes of weights.
        """
        what = f"layer {layer} {name}"
        self._read.add((layer, name))
        try:
            image = self._images.find(layer, name)
            data = load_image(self._images, image)
        except KeyError:
            self.problems.append(f"{what} is missing")
            return
        except InputError as error:
            self.problems.append(str(error))
            return
        if image.bits != bits:
            self.problems.append(f"{what} has {image.bits} bits, expected {bits}")
        try:
            found = data[place].astype(np.int64)
        except IndexError:
            self.problems.append(f"{what} has shape {data.shape}, too small for {values.shape}")
            return
        zero = 1 << (bits - 1) if codes else 0  # codes are in offset binary
        found -= zero
        wrong = np.argwhere(found != values)
        if len(wrong):
            index = tuple(wrong[0].tolist())
            self.problems.append(
                f"{what}: {len(wrong)} elements differ, the first {list(index)}: {int(found[index])} on disk, "
                f"{int(values[index])} in the checkpoint"
            )
        rest = np.ones(data.shape, dtype=bool)
        rest[place] = False
        if (data[rest] != zero).any():
            self.problems.append(f"{what}: padding is not zero")
        if int(np.count_nonzero(~rest)) != values.size:
            self.problems.append(f"{what}: two elements share a place")
        self.padding_bits += int(np.count_nonzero(rest)) * bits
