"""ROM images: content-named files and their manifest (docs/rom-format.md), and bit flips in them."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from etchproof.errors import InputError
from etchproof.sim.images import IndexedImage

MANIFEST: Final = "manifest.json"
FORMAT: Final = 1


@dataclass(frozen=True)
class Image:
    """One ROM's content.

    Attributes:
        layer: -1 outside the decoder layers.
        name: "q_proj.codes".
        bits: bits of an element that exist in silicon.
        data: u1, u2, i2 or i4; shape as docs/rom-format.md.
    """

    layer: int
    name: str
    bits: int
    data: npt.NDArray[Any]


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
        """What the simulator is told to read; ``replaced`` images stand in for the stored ones of their name."""
        other = {(image.layer, image.name): image for image in replaced}
        return [
            other.get(
                (image.layer, image.name),
                IndexedImage(image.layer, image.name, image.size_bytes, self.path(image)),
            )
            for image in self.images
        ]


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
        InputError: the manifest is missing or is not of this format.
    """
    path = folder / MANIFEST
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        if raw["format"] != FORMAT:
            raise InputError(f"{raw['format']!r}, expected {FORMAT}", source=path, key="format")
        entries = [
            StoredImage(
                entry["layer"],
                entry["name"],
                entry["bits"],
                entry["dtype"],
                tuple(entry["shape"]),
                entry["file"].removesuffix(".bin"),
                int(np.prod(entry["shape"])) * np.dtype(f"<{entry['dtype']}").itemsize,
            )
            for entry in raw["images"]
        ]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"is no ROM manifest: {error}", source=path) from error
    return ImageSet(folder, tuple(entries))


def load_image(images: ImageSet, image: StoredImage) -> npt.NDArray[Any]:
    """An image's content, re-read from disk and checked against its hash.

    Raises:
        InputError: the file is missing or its bytes are not those of its name.
    """
    path = images.path(image)
    try:
        raw = path.read_bytes()
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
    path = folder / f"layer{image.layer}.{image.name}.injected.bin"
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
        }
        for image in images.images
    ]
    lines = ",\n  ".join(json.dumps(entry) for entry in entries)
    return f'{{"format": {FORMAT},\n "images": [\n  {lines}\n]}}\n'


def _write_atomically(path: Path, content: memoryview) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_bytes(content)
    temporary.replace(path)
