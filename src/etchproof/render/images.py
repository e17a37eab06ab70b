"""ROM images: content-named files and their manifest (docs/rom-format.md), and bit flips in them."""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Final, Literal
from urllib.parse import quote

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

from etchproof.contract.memory import Memory
from etchproof.errors import InputError
from etchproof.files.json_record import read_json_record
from etchproof.files.regular import open_regular
from etchproof.render.images_index import IndexedImage
from etchproof.render.places import place_problem

MANIFEST: Final = "manifest.json"
FORMAT: Final = 1
_LARGEST_BYTES: Final = 1 << 40
_SITE: Final = re.compile(r"(?P<name>[^\[\]]+)\[(?P<index>\d{1,18}(?:,\d{1,18})*)\]\^(?P<bit>\d{1,4})")


@dataclass(frozen=True)
class Image:
    """One ROM's content.

    Attributes:
        layer: -1 outside the decoder layers.
        name: "q_proj.codes"; of a memory that the RTL fills with ``$readmemh``, the file that it names.
        bits: bits of an element that exist in silicon.
        data: u1, u2, i2 or i4, of a memory u1, u2, u4 or u8; shape as docs/rom-format.md.
        is_memory: whether the RTL fills it itself.
    """

    layer: int
    name: str
    bits: int
    data: npt.NDArray[Any]
    is_memory: bool = False


@dataclass(frozen=True)
class StoredImage:
    """An entry of the manifest."""

    layer: int
    name: str
    bits: int
    dtype: str
    shape: tuple[int, ...]
    sha256: str
    size_bytes: int
    is_memory: bool = False


class _Entry(BaseModel):
    """An entry of the manifest as the file has it. ``file`` can name nothing outside the manifest's own folder."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    layer: Annotated[int, Field(ge=-1, lt=2**24)]
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_./-]{1,200}$")]
    file: Annotated[str, Field(pattern=r"^[0-9a-f]{64}\.bin$")]
    dtype: Literal["u1", "u2", "u4", "u8", "i2", "i4"]
    shape: Annotated[tuple[Annotated[int, Field(ge=0, lt=2**48)], ...], Field(max_length=8)]
    bits: Annotated[int, Field(ge=1, le=64)]
    is_memory: bool = False


class _Manifest(BaseModel):
    """``manifest.json``."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    format: Literal[1]
    images: tuple[_Entry, ...]


@dataclass(frozen=True)
class ImageSet:
    """All images of a chip, on disk."""

    folder: Path
    images: tuple[StoredImage, ...]  # sorted by layer, then name

    @property
    def sha256(self) -> str:
        """``rom_sha256`` of docs/rom-format.md."""
        lines = "".join(f"{image.layer} {image.name} {image.sha256}\n" for image in self.images)
        return hashlib.sha256(lines.encode()).hexdigest()

    def path(self, image: StoredImage) -> Path:
        return self.folder / f"{image.sha256}.bin"

    def find(self, layer: int, name: str) -> StoredImage:
        """The image of that layer and name; KeyError when there is none."""
        for image in self.images:
            if (image.layer, image.name) == (layer, name):
                return image
        raise KeyError((layer, name))

    def index(self, replaced: Sequence[IndexedImage] = ()) -> list[IndexedImage]:
        """What the engine's loader is told to read; ``replaced`` images stand in for the stored ones of their name."""
        return [path for image, path in self._read(replaced) if not image.is_memory]

    @property
    def memories(self) -> dict[str, tuple[int, int]]:
        """Words, and bits of each, of the files that the RTL reads, by where it looks for them."""
        return {image.name: (math.prod(image.shape), image.bits) for image in self.images if image.is_memory}

    def place_memories(self, folder: Path, replaced: Sequence[IndexedImage] = ()) -> None:
        """Write the memories that the RTL fills itself where it looks for them from ``folder``; as for ``index``.

        Raises:
            InputError: a file cannot be where it has to be.
        """
        for image, found in self._read(replaced):
            if not image.is_memory:
                continue
            words = np.fromfile(found.path, f"<{image.dtype}").tolist()
            digits = -(-image.bits // 4)
            file = folder / image.name
            try:
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text("".join(f"{word:0{digits}x}\n" for word in words), encoding="ascii")
            except (FileExistsError, IsADirectoryError, NotADirectoryError) as error:
                raise InputError(
                    f"{image.name!r} cannot be put there: {error.strerror}", source=file, key="rom.memories"
                ) from error

    def _read(self, replaced: Sequence[IndexedImage]) -> list[tuple[StoredImage, IndexedImage]]:
        other = {(image.layer, image.name): image for image in replaced}
        return [
            (
                image,
                other.get(
                    (image.layer, image.name),
                    IndexedImage(image.layer, image.name, image.size_bytes, self.path(image)),
                ),
            )
            for image in self.images
        ]


def memory_image(memory: Memory) -> Image:
    """A memory that the RTL fills itself, as an image.

    Raises:
        ValueError: its place is no file below a folder, a word does not fit its bits, or it has no words.
    """
    words, bits = np.asarray(memory.words), int(memory.bits)
    if (problem := place_problem(memory.place)) is not None:
        raise ValueError(problem)
    if words.dtype.kind not in "iu" or not words.size:
        raise ValueError(f"{memory.place!r} holds {words.size} words of {words.dtype}, expected integers")
    if not 1 <= bits <= 64:
        raise ValueError(f"{memory.place!r} has words of {bits} bits, expected 1 .. 64")
    least, most = int(words.min()), int(words.max())
    if least < -(1 << bits - 1) or most >= 1 << bits:
        raise ValueError(
            f"{memory.place!r} holds {least if least < 0 else most}, which {bits} bits do not hold"
        )
    size = next(size for size in (1, 2, 4, 8) if bits <= 8 * size)
    mask = np.uint64((1 << bits) - 1)
    return Image(-1, memory.place, bits, (words.astype(np.uint64) & mask).astype(f"u{size}"), is_memory=True)


def memory_site(text: str, images: ImageSet) -> tuple[int, str, tuple[int, ...], int]:
    """Where the bit of a memory's word is that ``--inject`` names, "weights/layer0.hex[3,7]^0".

    Raises:
        InputError: it names none.
    """
    match = _SITE.fullmatch(text)
    if match is None:
        raise InputError(
            f"rom:{text!r} is no site",
            key="--inject",
            hint="write rom:FILE[INDEX]^BIT, such as rom:weights.hex[3,7]^0",
        )
    key = f"--inject rom:{text}"
    memories = {image.name: image for image in images.images if image.is_memory}
    image = memories.get(match["name"])
    if image is None:
        known = ", ".join(sorted(memories)[:8])
        raise InputError(f"{match['name']!r} is no memory of the chip", key=key, hint=f"known are {known}")
    index = tuple(int(part) for part in match["index"].split(","))
    if len(index) != len(image.shape):
        problem = f"has {len(index)} indices, the words are {list(image.shape)}"
        raise InputError(problem, key=key, hint="one index for each dimension")
    if any(at >= size for at, size in zip(index, image.shape, strict=True)):
        raise InputError(f"element is outside {list(image.shape)}", key=key, hint="indices count from 0")
    if int(match["bit"]) >= image.bits:
        raise InputError(f"bit {match['bit']} of {image.bits}", key=key, hint="bit 0 is the lowest")
    return image.layer, image.name, index, int(match["bit"])


def write_images(folder: Path, images: Iterable[Image]) -> ImageSet:
    """Write images, one at a time, and the manifest; files that are there already are not written again.

    Raises:
        ValueError: two images of one layer and name.
    """
    folder.mkdir(parents=True, exist_ok=True)
    stored: dict[tuple[int, str], StoredImage] = {}
    for image in images:
        data = np.ascontiguousarray(image.data)
        if (image.layer, image.name) in stored:
            raise ValueError(f"two images {image.name} of layer {image.layer}")
        raw = data.astype(data.dtype.newbyteorder("<"), copy=False).reshape(-1).view(np.uint8)
        entry = StoredImage(
            image.layer,
            image.name,
            image.bits,
            f"{data.dtype.kind}{data.dtype.itemsize}",
            data.shape,
            hashlib.sha256(raw.data).hexdigest(),
            raw.nbytes,
            image.is_memory,
        )
        path = folder / f"{entry.sha256}.bin"
        if not path.exists() or path.stat().st_size != entry.size_bytes:
            _write_atomically(path, raw.data)
        stored[image.layer, image.name] = entry
    result = ImageSet(folder, tuple(stored[key] for key in sorted(stored)))
    _write_atomically(folder / MANIFEST, memoryview(_manifest(result).encode()))
    return result


def read_images(folder: Path) -> ImageSet:
    """Read a manifest back; contents are not read (``ImageSet.path`` names them by their hash).

    Raises:
        InputError: the manifest is missing or is not of this format; file and key are named.
    """
    path = folder / MANIFEST
    manifest = read_json_record(path, _Manifest)
    keys = [(entry.layer, entry.name) for entry in manifest.images]
    for before, key in pairwise(keys):
        if before >= key:
            problem = "stands twice" if before == key else "is not in order of layer and name"
            raise InputError(f"image {key[1]} of layer {key[0]} {problem}", source=path, key="images")
    entries = []
    for entry in manifest.images:
        size_bytes = math.prod(entry.shape) * np.dtype(entry.dtype).itemsize
        if size_bytes > _LARGEST_BYTES or entry.bits > 8 * np.dtype(entry.dtype).itemsize:
            problem = (
                "is larger than any ROM" if size_bytes > _LARGEST_BYTES else "has more bits than its dtype"
            )
            raise InputError(
                f"image {entry.name} of layer {entry.layer} {problem}", source=path, key="images"
            )
        sha256 = entry.file.removesuffix(".bin")
        entries.append(
            StoredImage(
                *(entry.layer, entry.name, entry.bits, entry.dtype, entry.shape, sha256, size_bytes),
                entry.is_memory,
            )
        )
    return ImageSet(folder, tuple(entries))


def load_image(images: ImageSet, image: StoredImage) -> npt.NDArray[Any]:
    """An image's content, re-read from disk and checked against its hash.

    Raises:
        InputError: the file is missing, has another size, or its bytes are not those of its name.
    """
    path = images.path(image)
    with open_regular(path) as stream:
        size_bytes = os.fstat(stream.fileno()).st_size
        if size_bytes != image.size_bytes:
            raise InputError(
                f"holds {size_bytes:,} bytes, the manifest says {image.size_bytes:,}",
                source=path,
                key=image.name,
            )
        try:
            raw = stream.read()
        except OSError as error:
            raise InputError(f"cannot be read: {error.strerror}", source=path, key=image.name) from error
    if hashlib.sha256(raw).hexdigest() != image.sha256:
        raise InputError("content does not have the hash of its name", source=path, key=image.name)
    return np.frombuffer(raw, dtype=f"<{image.dtype}").reshape(image.shape)


def flip_bits(
    images: ImageSet, image: StoredImage, sites: Sequence[tuple[tuple[int, ...], int]], folder: Path
) -> IndexedImage:
    """Write a copy of an image with some bits inverted, for the simulator alone.

    Args:
        sites: (element, bit) pairs: the element in the image's own shape; bit 0 is the lowest.
        folder: where the copy goes.
    """
    data = load_image(images, image).copy()
    flat = data.reshape(-1).view(f"<u{data.dtype.itemsize}")
    for index, bit in sites:
        flat[int(np.ravel_multi_index(index, image.shape))] ^= flat.dtype.type(1 << bit)
    path = folder / f"layer{image.layer}.{quote(image.name, safe='')}.injected.bin"
    path.write_bytes(data.tobytes())
    return IndexedImage(image.layer, image.name, image.size_bytes, path)


def _manifest(images: ImageSet) -> str:
    entries = [
        {
            "layer": image.layer,
            "name": image.name,
            "file": f"{image.sha256}.bin",
            "dtype": image.dtype,
            "shape": list(image.shape),
            "bits": image.bits,
            **({"is_memory": True} if image.is_memory else {}),
        }
        for image in images.images
    ]
    lines = ",\n  ".join(json.dumps(entry) for entry in entries)
    return f'{{"format": {FORMAT},\n "images": [\n  {lines}\n]}}\n'


def _write_atomically(path: Path, content: memoryview) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_bytes(content)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
