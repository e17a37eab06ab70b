"""The index of ROM images that the simulator reads: ``layer name bytes path``, a line for each image."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from etchproof.errors import InputError


@dataclass(frozen=True, slots=True)
class IndexedImage:
    """One ROM image.

    Attributes:
        layer: -1 outside the decoder layers.
        name: as the ROM asks for it, "q_proj.codes".
        size_bytes: what the file must have, to the byte.
        path: the file.
    """

    layer: int
    name: str
    size_bytes: int
    path: Path


def write_images_index(file: Path, images: Iterable[IndexedImage]) -> None:
    """Writes the index.

    Raises:
        InputError: a name with white space or a path with a line break; the format has no quotes.
    """
    lines = []
    for image in images:
        path = str(image.path.absolute())
        if len(image.name.split()) != 1 or image.name != image.name.strip() or "\n" in path:
            raise InputError(
                f"layer {image.layer} {image.name!r} at {path!r} cannot be written in one line", source=file
            )
        lines.append(f"{image.layer} {image.name} {image.size_bytes} {path}\n")
    file.write_text("".join(lines), encoding="utf-8")
