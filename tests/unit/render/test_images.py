"""ROM manifests: only what docs/rom-format.md says, and no file outside the manifest's folder."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from etchproof.errors import InputError
from etchproof.render.images import MANIFEST, Image, load_image, read_images, write_images


@pytest.fixture
def rom(tmp_path: Path) -> Path:
    images = [
        Image(0, "q_proj.codes", 6, np.arange(12, dtype="u1").reshape(3, 4)),
        Image(-1, "params", 32, np.arange(3, dtype="i4")),
    ]
    write_images(tmp_path / "rom", images)
    return tmp_path / "rom"


def edited(rom: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    content = json.loads((rom / MANIFEST).read_text(encoding="utf-8"))
    change(content)
    (rom / MANIFEST).write_text(json.dumps(content), encoding="utf-8")
    return rom


def test_what_was_written(rom: Path) -> None:
    images = read_images(rom)
    assert [image.name for image in images.images] == ["params", "q_proj.codes"]
    assert load_image(images, images.find(0, "q_proj.codes")).tolist() == np.arange(12).reshape(3, 4).tolist()


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("layer", [1], "images.layer: is [1], expected an integer"),
        ("layer", "0", "images.layer: is '0', expected an integer"),
        ("layer", -2, "images.layer: is -2, expected at least -1"),
        ("name", "a b", "images.name: is 'a b'"),
        ("name", {}, "images.name: is {}, expected a string"),
        ("file", "../secret.bin", "images.file: is '../secret.bin'"),
        ("file", "/etc/passwd", "images.file: is '/etc/passwd'"),
        ("file", {"a": 1}, "images.file: is {'a': 1}, expected a string"),
        ("dtype", "O", "images.dtype: is 'O', expected 'u1', 'u2', 'i2' or 'i4'"),
        ("dtype", "f8", "images.dtype: is 'f8'"),
        ("shape", [-1], "images.shape: is -1"),
        ("shape", [2**40, 2**40], "is larger than any ROM"),
        ("shape", 5, "images.shape: is 5, expected a list"),
        ("bits", 33, "images.bits: is 33"),
        ("bits", 9, "has more bits than its dtype"),
        ("more", 1, "images.more: is 1, but there is no such key"),
        ("name", "params", "is not in order"),
    ],
)
def test_a_bad_entry(rom: Path, field: str, value: Any, said: str) -> None:
    entry = 0 if said == "is not in order" else 1
    change = {field: value, **({"layer": 5} if said == "is not in order" else {})}
    with pytest.raises(InputError) as caught:
        read_images(edited(rom, lambda content: content["images"][entry].update(change)))
    assert MANIFEST in str(caught.value) and said in str(caught.value)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda content: content.update(format=2), "format: is 2, expected 1"),
        (lambda content: content.pop("images"), "images: is missing"),
        (lambda content: content["images"].append(content["images"][1]), "stands twice"),
    ],
)
def test_a_bad_manifest(rom: Path, change: Callable[[dict[str, Any]], object], said: str) -> None:
    with pytest.raises(InputError, match=said):
        read_images(edited(rom, change))


def test_an_image_of_another_size_is_not_read(rom: Path) -> None:
    images = read_images(edited(rom, lambda content: content["images"][1].update(shape=[44])))
    with pytest.raises(InputError, match="holds 12 bytes, the manifest says 44"):
        load_image(images, images.images[1])


def test_an_image_of_other_bytes(rom: Path) -> None:
    images = read_images(rom)
    images.path(images.images[1]).write_bytes(bytes(12))
    with pytest.raises(InputError, match="does not have the hash of its name"):
        load_image(images, images.images[1])
