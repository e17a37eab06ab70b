"""Faults of ROM images: each changes what it names, and nothing is drawn that changes nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from etchproof.qualify import images
from etchproof.qualify.images import ImageFault
from etchproof.render.images import Image, ImageSet, load_image, write_images


@pytest.fixture
def chip(tmp_path: Path) -> ImageSet:
    rng = np.random.default_rng(1)

    def codes() -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
        return rng.integers(0, 64, (4, 8), np.uint8)

    return write_images(
        tmp_path / "rom",
        [
            Image(0, "q.codes", 6, codes()),
            Image(0, "k.codes", 6, codes()),
            Image(1, "q.codes", 6, codes()),
            Image(-1, "gains", 16, rng.integers(-9, 9, (5,), np.int16)),
            Image(-1, "blank", 4, np.zeros((6,), np.uint8)),
            Image(-1, "one", 4, np.array([3], np.uint8)),
        ],
    )


def test_whatever_is_drawn_changes_its_image(chip: ImageSet, tmp_path: Path) -> None:
    drawn = images.draw(chip, 400, 1)
    assert len({fault.name for fault in drawn}) == len(drawn)
    assert {fault.operator for fault in drawn} == {*images.OPERATORS, *images.EXCHANGED} - {
        "slices of axis 2 exchanged",
        "slices of axis 3 exchanged",
    }
    for fault in drawn:
        image = chip.find(fault.layer, fault.image)
        before, after = load_image(chip, image), images.changed(chip, fault)
        assert after is not None and not np.array_equal(before, after), fault
        bits = after.view(f"u{after.dtype.itemsize}").astype(np.uint64)
        if after.dtype.kind == "u":
            assert bits.max() < 1 << image.bits, fault
        (written,) = images.write(chip, fault, tmp_path)
        assert written.path.read_bytes() == after.tobytes() and written.size_bytes == image.size_bytes


def test_the_same_seed_draws_the_same(chip: ImageSet) -> None:
    assert images.draw(chip, 20, 1) == images.draw(chip, 20, 1)
    assert images.draw(chip, 20, 1) != images.draw(chip, 20, 2)
    assert len(images.draw(chip, 20, 1)) == 20


def test_what_changes_nothing_is_no_fault(chip: ImageSet) -> None:
    for operator in ("words exchanged", "transposed", "one word late", "blank", "bits in reverse order"):
        assert images.changed(chip, ImageFault(-1, "blank", operator, 1)) is None
    assert images.changed(chip, ImageFault(-1, "gains", "another layer's", 1)) is None
    assert images.changed(chip, ImageFault(-1, "one", "bit inverted", 1)) is not None


def test_each_does_what_it_says(chip: ImageSet) -> None:
    def of(operator: str, layer: int = 0, name: str = "q.codes") -> tuple[np.ndarray, np.ndarray]:  # type: ignore[type-arg]
        changed = images.changed(chip, ImageFault(layer, name, operator, 1))
        assert changed is not None
        return load_image(chip, chip.find(layer, name)), changed

    before, after = of("bit inverted")
    assert np.bitwise_count(before ^ after).sum() == 1
    before, after = of("words exchanged")
    assert (before != after).sum() == 2 and sorted(before.flat) == sorted(after.flat)
    before, after = of("slices of axis 0 exchanged")
    assert sorted(map(tuple, before)) == sorted(map(tuple, after))
    before, after = of("transposed")
    assert np.array_equal(after, before.reshape(-1).reshape(before.shape, order="F"))
    before, after = of("bits in reverse order")
    assert all(f"{b:06b}" == f"{a:06b}"[::-1] for b, a in zip(before.flat, after.flat, strict=True))
    before, after = of("one word late")
    assert np.array_equal(after.reshape(-1), np.roll(before.reshape(-1), 1))
    assert not of("blank")[1].any()
    before, after = of("bit line stuck at 1")
    assert (
        np.array_equal(after & before, before)
        and np.bitwise_count(np.bitwise_and.reduce(after, axis=None)) >= 1
    )
    assert np.array_equal(of("another layer's")[1], load_image(chip, chip.find(1, "q.codes")))
    assert np.array_equal(of("another matrix's")[1], load_image(chip, chip.find(0, "k.codes")))
