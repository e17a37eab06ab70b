"""From the checkpoint to the ROM that was simulated: a chain of hashes, each found again from what it stands for."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace

from etchproof.checkpoint.folder import content_hash
from etchproof.errors import InputError
from etchproof.images import ImageSet, read_images
from etchproof.quantize import content_sha256, tensor_sha256
from etchproof.regress.execute import ItemResult
from etchproof.signoff.evidence import CheckEvidence, ProvenanceLink
from etchproof.testrun import Chip


def chain(
    chip: Chip, examined: Sequence[CheckEvidence], runs: Sequence[ItemResult]
) -> tuple[ProvenanceLink, ...]:
    """Every link of ``LINKS``, in its order.

    Args:
        examined: of it, ``signoff.rom_files`` says whether the files are the quantized checkpoint.
        runs: of the regression.
    """
    return (
        _checkpoint(chip),
        _quantized(chip),
        _images(chip),
        _files(chip, examined),
        _simulated(chip, runs),
    )


def _checkpoint(chip: Chip) -> ProvenanceLink:
    checkpoint = chip.design.checkpoint
    files = (checkpoint.path / "config.json", *checkpoint.weights.files)
    try:
        found = content_hash(files)
    except InputError as error:
        return ProvenanceLink(name="checkpoint", sha256=checkpoint.sha256, holds=False, message=str(error))
    message = f"{checkpoint.name}: {len(files)} files"
    message += ", the same now as when they were read" if found == checkpoint.sha256 else f", now {found}"
    return ProvenanceLink(
        name="checkpoint", sha256=checkpoint.sha256, holds=found == checkpoint.sha256, message=message
    )


def _quantized(chip: Chip) -> ProvenanceLink:
    design, model = chip.design, chip.model
    tensors = tensor_sha256(model)
    holds = (model.checkpoint_sha256, model.recipe.sha256) == (design.checkpoint.sha256, design.recipe.sha256)
    message = f"{len(tensors)} tensors under {design.recipe.name}"
    message += "" if holds else ", which are of another checkpoint or recipe"
    return ProvenanceLink(
        name="quantized", sha256=content_sha256(model), holds=holds, message=message, parts=tensors
    )


def _images(chip: Chip) -> ProvenanceLink:
    images = chip.images
    try:
        holds = read_images(images.folder).images == images.images
        message = f"{len(images.images)} images, " + ("as" if holds else "not as") + " in the manifest"
    except InputError as error:
        holds, message = False, str(error)
    parts = {f"{image.layer} {image.name}": image.sha256 for image in images.images}
    return ProvenanceLink(name="images", sha256=images.sha256, holds=holds, message=message, parts=parts)


def _files(chip: Chip, examined: Sequence[CheckEvidence]) -> ProvenanceLink:
    """The files' own bytes, hashed again as the images are."""
    images = chip.images
    compared = next((check for check in examined if check.name == "signoff.rom_files"), None)
    try:
        found = tuple(
            replace(image, sha256=hashlib.sha256(images.path(image).read_bytes()).hexdigest())
            for image in images.images
        )
    except OSError as error:
        message = f"cannot be read: {error.strerror}: {error.filename}"
        return ProvenanceLink(name="files", sha256=None, holds=False, message=message)
    sha256 = ImageSet(images.folder, found).sha256
    holds = sha256 == images.sha256 and compared is not None and compared.passed
    message = compared.message if compared else "not compared with the quantized checkpoint"
    return ProvenanceLink(name="files", sha256=sha256, holds=holds, message=message)


def _simulated(chip: Chip, runs: Sequence[ItemResult]) -> ProvenanceLink:
    """Runs on chips with another context have other RoPE tables, and some have weights for the corners: other ROMs."""
    same = sum(run.rom_sha256 == chip.images.sha256 for run in runs)
    foreign = [run.name for run in runs if run.checkpoint_sha256 != chip.design.checkpoint.sha256]
    message = f"{same} of {len(runs)} runs read these images; others have another context or weights for the corners"
    message += f"; of another checkpoint: {foreign[0]}" if foreign else ""
    return ProvenanceLink(
        name="simulated", sha256=chip.images.sha256, holds=same > 0 and not foreign, message=message
    )
