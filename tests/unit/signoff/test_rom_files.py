"""The ROM files re-read by the book: each way in which one can be wrong is found and named."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from etchproof.quantize.quantized_model import QuantizedModel
from etchproof.render.images import ImageSet, write_images
from models import chip
from models.rom import writer
from tests.unit.models.conftest import drawn_model
from verif.rom_port.files import compare

Etched = tuple[QuantizedModel, chip.ChipPlan, ImageSet]


@pytest.fixture
def etched(tmp_path: Path) -> Etched:
    """Groups finer than the tile, as wide, coarser, whole rows; biases; short last blocks."""
    model = drawn_model()
    plan = chip.plan(model.config, model.recipe)
    return model, plan, write_images(tmp_path, writer.images(model, plan))


def rewritten(images: ImageSet, layer: int, name: str, change: tuple[int, int]) -> ImageSet:
    """Another content under its own right hash: the byte at an offset is inverted by a mask."""
    image = images.find(layer, name)
    content = bytearray(images.path(image).read_bytes())
    content[change[0]] ^= change[1]
    sha = hashlib.sha256(content).hexdigest()
    (images.folder / f"{sha}.bin").write_bytes(content)
    return ImageSet(
        images.folder,
        tuple(replace(found, sha256=sha) if found is image else found for found in images.images),
    )


def test_good_files(etched: Etched) -> None:
    model, plan, images = etched
    problems, padding_bits = compare(model, plan, images)
    assert problems == []
    silicon = sum(int(np.prod(image.shape)) * image.bits for image in images.images)
    assert 0 < padding_bits < silicon


def test_every_image_is_read(etched: Etched) -> None:
    """A changed byte in any file is found."""
    model, plan, images = etched
    for image in images.images:
        problems, _ = compare(model, plan, rewritten(images, image.layer, image.name, (0, 1)))
        assert len(problems) == 1, (image.name, problems)
        assert f"layer {image.layer} {image.name}: 1 elements differ, the first" in problems[0]


def test_a_file_that_is_not_its_name(etched: Etched) -> None:
    model, plan, images = etched
    path = images.path(images.find(1, "o_proj.codes"))
    path.write_bytes(path.read_bytes()[:-1] + b"\x55")
    problems, _ = compare(model, plan, images)
    assert len(problems) == 1 and "content does not have the hash of its name" in problems[0]
    path.unlink()
    problems, _ = compare(model, plan, images)
    assert len(problems) == 1 and "file not found" in problems[0]


def test_padding(etched: Etched) -> None:
    model, plan, images = etched
    image = images.find(
        0, "q_proj.codes"
    )  # 30 rows in blocks of 8: the last lane of the last block is padding
    last = int(np.prod(image.shape)) - 1
    problems, _ = compare(model, plan, rewritten(images, 0, "q_proj.codes", (last, 1)))
    assert problems == ["layer 0 q_proj.codes: padding is not zero"]


def test_bits_above_the_code(etched: Etched) -> None:
    model, plan, images = etched
    problems, _ = compare(model, plan, rewritten(images, 0, "q_proj.codes", (0, 0x80)))
    assert len(problems) == 1 and "elements differ" in problems[0]


def test_missing_and_foreign_images(etched: Etched) -> None:
    model, plan, images = etched
    missing = ImageSet(images.folder, images.images[1:])
    assert compare(model, plan, missing)[0] == [f"layer -1 {images.images[0].name} is missing"]
    foreign = ImageSet(images.folder, (*images.images, replace(images.images[0], layer=9)))
    assert compare(model, plan, foreign)[0] == [f"layer 9 {images.images[0].name} is no image of this chip"]
