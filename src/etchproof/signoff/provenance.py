"""From the checkpoint to the words of the chip: a chain of hashes, each found again from what it stands for."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from etchproof.checkpoint.folder import content_hash
from etchproof.errors import InputError
from etchproof.quantize import content_sha256, tensor_sha256
from etchproof.regress.item import ItemResult
from etchproof.render.images import ImageSet, read_images
from etchproof.run import flow
from etchproof.run.design import Quantized
from etchproof.run.testrun import Chip
from etchproof.signoff.capabilities import capabilities
from etchproof.signoff.capabilities import links as due_links
from etchproof.signoff.evidence import CheckEvidence, ImageEvidence, ProvenanceEvidence, ProvenanceLink
from etchproof.signoff.readback import ReadBack
from etchproof.verdict.judge import check_fabric


def chain(
    chip: Chip,
    read: ReadBack | None,
    examined: Sequence[CheckEvidence],
    runs: Sequence[ItemResult],
    counted: Mapping[str, str],
) -> ProvenanceEvidence:
    """Every link that the project has, in the order of ``LINKS``; the hash of each tensor and image; the chip's ROMs.

    Args:
        read: from the chip; None of one that cannot be read back.
        examined: of it, ``signoff.rom_files`` says whether the files are the quantized checkpoint, ``rom_readback`` and
            ``rom_signature`` whether the chip answers what is in them.
        runs: of the regression.
        counted: by run, why it does not count; empty where it does.
    """
    found = {check.name: check for check in examined}
    units = read.record.units if read and read.record else ()
    of_name: dict[str, Callable[[], ProvenanceLink]] = {
        "checkpoint": lambda: _model(chip),
        "quantized": lambda: _quantized(chip),
        "images": lambda: _images(chip),
        "files": lambda: _files(chip, found.get("signoff.rom_files")),
        "fabric": lambda: _fabric(chip, runs, counted),
        "simulated": lambda: _simulated(chip, runs),
        "read back": lambda: _answered("read back", read, found.get("signoff.rom_readback")),
        "signatures": lambda: _answered("signatures", read, found.get("signoff.rom_signature")),
    }
    return ProvenanceEvidence(
        links=tuple(of_name[name]() for name in due_links(capabilities(chip.design.project))),
        tensors=tensor_sha256(chip.model) if isinstance(chip.design.source, Quantized) else {},
        images=tuple(
            ImageEvidence(
                layer=image.layer,
                name=image.name,
                bits=image.bits,
                size_bytes=image.size_bytes,
                sha256=image.sha256,
                units=tuple(unit for unit in units if (unit.layer, unit.image) == (image.layer, image.name)),
            )
            for image in chip.images.images
        ),
    )


def _model(chip: Chip) -> ProvenanceLink:
    source = chip.design.source
    if isinstance(source, Quantized):
        return _checkpoint(chip)
    try:
        found = source.files_now()
    except InputError as error:
        return ProvenanceLink(name="checkpoint", sha256=source.sha256, holds=False, message=str(error))
    message = f"{source.name}: {len(source.model.files)} files"
    message += ", the same now as when they were read" if found == source.sha256 else f", now {found}"
    return ProvenanceLink(
        name="checkpoint", sha256=source.sha256, holds=found == source.sha256, message=message
    )


def _checkpoint(chip: Chip) -> ProvenanceLink:
    checkpoint = chip.design.checkpoint
    files = checkpoint.files
    try:
        found = content_hash(files)
    except InputError as error:
        return ProvenanceLink(name="checkpoint", sha256=checkpoint.sha256, holds=False, message=str(error))
    several, read = (f"{len(files)} files", "they were") if len(files) > 1 else ("1 file", "it was")
    message = f"{checkpoint.name}: {several}"
    message += f", the same now as when {read} read" if found == checkpoint.sha256 else f", now {found}"
    if checkpoint.published is not None:
        message += f"; its published codes ({checkpoint.published}) are dequantized and quantized again"
    return ProvenanceLink(
        name="checkpoint", sha256=checkpoint.sha256, holds=found == checkpoint.sha256, message=message
    )


def _quantized(chip: Chip) -> ProvenanceLink:
    design, model = chip.design, chip.model
    holds = (model.checkpoint_sha256, model.recipe.sha256) == (design.checkpoint.sha256, design.recipe.sha256)
    message = f"every integer under {design.recipe.name}"
    message += "" if holds else ", which are of another checkpoint or recipe"
    return ProvenanceLink(name="quantized", sha256=content_sha256(model), holds=holds, message=message)


def _images(chip: Chip) -> ProvenanceLink:
    images = chip.images
    try:
        holds = read_images(images.folder).images == images.images
        message = f"{len(images.images)} images, " + ("as" if holds else "not as") + " in the manifest"
    except InputError as error:
        holds, message = False, str(error)
    return ProvenanceLink(name="images", sha256=images.sha256, holds=holds, message=message)


def _files(chip: Chip, compared: CheckEvidence | None) -> ProvenanceLink:
    """The files' own bytes, hashed again as the images are."""
    images = chip.images
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


def _fabric(chip: Chip, runs: Sequence[ItemResult], counted: Mapping[str, str]) -> ProvenanceLink:
    """Rendered anew = in ``chip/`` = built = simulated by each run that counts.

    A run on the chip with another context simulated that chip's fabric, which counting it has rendered anew.
    """
    sha256, context = chip.fabric.sha256, chip.design.context
    with tempfile.TemporaryDirectory(prefix="etchproof-") as folder:
        rendered = flow.render_fabric(chip.design, Path(folder)).sha256
    problems = [f"rendered anew it is {rendered[:12]}"] if rendered != sha256 else []
    problems += [reason.message for reason in check_fabric(chip.fabric, chip.build)]
    mine = [run for run in runs if not counted[run.name]]
    problems += [
        f"{run.name} simulated {run.fabric_sha256[:12]}"
        for run in mine
        if run.context == context and run.fabric_sha256 != sha256
    ]
    same = sum(run.fabric_sha256 == sha256 for run in mine)
    message = f"{sha256[:12]}: rendered anew, in chip/, built, and simulated by {same} of {len(mine)} runs that count"
    message += f"; the others are of another context; {len(runs) - len(mine)} runs do not count"
    message = "; ".join(problems) or message
    return ProvenanceLink(name="fabric", sha256=sha256, holds=not problems and same > 0, message=message)


def _simulated(chip: Chip, runs: Sequence[ItemResult]) -> ProvenanceLink:
    """Runs on chips with another context have other RoPE tables, and some have weights for the corners: other ROMs."""
    same = sum(run.rom_sha256 == chip.images.sha256 for run in runs)
    foreign = [run.name for run in runs if run.checkpoint_sha256 != chip.design.source.sha256]
    message = f"{same} of {len(runs)} runs read these images; others have another context or weights for the corners"
    message += f"; of another checkpoint: {foreign[0]}" if foreign else ""
    return ProvenanceLink(
        name="simulated", sha256=chip.images.sha256, holds=same > 0 and not foreign, message=message
    )


def _answered(name: str, read: ReadBack | None, check: CheckEvidence | None) -> ProvenanceLink:
    """What the chip's ROM test port answered, of the ROM files that the run names."""
    return ProvenanceLink(
        name=name,
        sha256=read.record.rom_sha256 if read and read.record else None,
        holds=check is not None and check.passed,
        message=check.message if check else "not read back",
    )
