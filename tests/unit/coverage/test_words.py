"""ROM words that are shown to be read."""

from __future__ import annotations

import math

import numpy as np

from etchproof.coverage.proven import Proven
from etchproof.coverage.words import words_read
from etchproof.quantize.quantized_model import QuantizedModel
from models import chip
from models.rom.mask import RomMatrix
from models.rom.writer import images
from tests.unit.models.conftest import drawn_model
from verif.coverage.rom import rom


def test_words() -> None:
    """Three rows of five elements of two bits, in words of two rows by two elements: the last ones are shorter."""
    bits, redundant = np.zeros((3, 5, 2), dtype=bool), np.zeros((3, 5, 2), dtype=bool)
    bits[0, 1, 1] = bits[1, 4, 0] = bits[2, 2, 0] = True
    redundant[2, 4] = True  # all of the last word
    redundant[0, 0] = True
    first = np.where(bits, 0, -1).astype(np.int16)
    proven = Proven("m", "codes", first, (("why", redundant),), 1)
    read, visible = words_read(proven, (2, 2))
    assert read.tolist() == [[True, False, True], [False, True, False]]
    assert visible.tolist() == [[True, True, True], [True, True, False]]
    read, _ = words_read(proven, (1, 5))
    assert read.tolist() == [[True], [True], [True]]


def test_words_are_those_of_the_images(tiny_model: QuantizedModel) -> None:
    """As many words of each matrix as its image has rows, for groups finer and coarser than a tile."""
    for model in (tiny_model, drawn_model()):
        plan = chip.plan(model.config, model.recipe)
        rows = {(image.layer, image.name): image.data.shape[0] for image in images(model, plan)}
        for unit in rom(model, plan):
            if isinstance(unit, RomMatrix):
                name = unit.site.rpartition(".")[2]
                for kind, part in (("codes", unit.codes), ("scales", unit.scales), ("bias", unit.bias)):
                    if part is not None:
                        sizes = zip(part.shape, unit.words[kind], strict=True)
                        words = math.prod(math.ceil(size / word) for size, word in sizes)
                        assert words == rows[unit.result[0], f"{name}.{kind}"], (unit.site, kind)
