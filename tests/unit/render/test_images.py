"""ROM manifests: only what docs/rom-format.md says, and no file outside the manifest's folder."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from etchproof.contract.memory import Memory
from etchproof.errors import InputError
from etchproof.render.images import (
    MANIFEST,
    Image,
    flip_bits,
    load_image,
    memory_image,
    read_images,
    write_images,
)


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
        ("dtype", "O", "images.dtype: is 'O', expected 'u1', 'u2', 'u4', 'u8', 'i2' or 'i4'"),
        ("dtype", "f8", "images.dtype: is 'f8'"),
        ("shape", [-1], "images.shape: is -1"),
        ("shape", [2**40, 2**40], "is larger than any ROM"),
        ("shape", 5, "images.shape: is 5, expected a list"),
        ("bits", 65, "images.bits: is 65"),
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


class TestMemories:
    """Memories that the RTL fills itself."""

    def test_round_trip(self, tmp_path: Path) -> None:
        words = np.array([[-1, 5], [0, -32]], np.int64)
        images = write_images(tmp_path / "rom", [memory_image(Memory("w/a.hex", words, 6))])
        assert read_images(tmp_path / "rom") == images
        assert images.index() == []
        images.place_memories(tmp_path / "run")
        assert (tmp_path / "run" / "w" / "a.hex").read_text() == "3f\n05\n00\n20\n"
        other = flip_bits(images, images.images[0], [((1, 0), 4)], tmp_path)
        images.place_memories(tmp_path / "run", [other])
        assert (tmp_path / "run" / "w" / "a.hex").read_text() == "3f\n05\n10\n20\n"
        wide = memory_image(Memory("a.hex", np.array([2**64 - 1], np.uint64), 64))
        assert wide.data.dtype == np.uint64 and int(wide.data[0]) == 2**64 - 1

    @pytest.mark.parametrize(
        ("memory", "problem"),
        [
            (Memory("/a.hex", np.zeros(1, int), 8), "no path of a file below"),
            (Memory("../a.hex", np.zeros(1, int), 8), "no path of a file below"),
            (Memory("comparison.json", np.zeros(1, int), 8), "is a name of the run's own files"),
            (Memory("rom/a.hex", np.zeros(1, int), 8), "is a name of the run's own files"),
            (Memory("./a.hex", np.zeros(1, int), 8), "no path of a file below"),
            (Memory("a b.hex", np.zeros(1, int), 8), "no path of a file below"),
            (Memory("a.hex", np.zeros(1), 8), "expected integers"),
            (Memory("a.hex", np.zeros(0, int), 8), "holds 0 words"),
            (Memory("a.hex", np.zeros(1, int), 65), "expected 1 .. 64"),
            (Memory("a.hex", np.array([256]), 8), "holds 256, which 8 bits do not hold"),
            (Memory("a.hex", np.array([-129]), 8), "holds -129, which 8 bits do not hold"),
        ],
    )
    def test_refused(self, memory: Memory, problem: str) -> None:
        with pytest.raises(ValueError, match=problem):
            memory_image(memory)

    def test_a_file_in_the_way(self, tmp_path: Path) -> None:
        images = write_images(tmp_path / "rom", [memory_image(Memory("w/a.hex", np.zeros(1, int), 8))])
        (tmp_path / "w").write_text("")
        with pytest.raises(InputError, match="cannot be put there"):
            images.place_memories(tmp_path)
