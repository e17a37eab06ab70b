"""What sign-off examines itself, beside the regression: each returns whether it holds, and the figures in words."""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from etchproof.coverage import hooks
from etchproof.errors import InputError
from etchproof.quantize.quality_report import QualityReport
from etchproof.quantize.quantized_model import QuantizedAdapter, QuantizedModel
from etchproof.render.fabric import Fabric
from etchproof.render.images import ImageSet, load_image
from etchproof.render.lint import lint_project
from etchproof.run import flow
from etchproof.run import hooks as hooks_of_run
from etchproof.run.design import Design, Loaded
from etchproof.signoff.evidence import CheckEvidence

if TYPE_CHECKING:  # slow to import, with PyTorch
    from torch import Tensor

    from etchproof.adapter import Adapter
    from etchproof.float_model.llama import FloatModel
    from etchproof.quantize import CalibrationText

QUALITY_SEQUENCES: Final = 16
QUALITY_LENGTH: Final = 200
QUALITY_SEED: Final = 2  # another text than the one that calibrated
ARITHMETIC_CORNERS: Final = (1, 2, 3)
"""Seeds of weights for the corners: what trained ones do not reach, such as saturation."""
_OTHER_SEED: Final = 20  # of the weights of the other checkpoint

Found = tuple[bool, str]


def examine(name: str, check: Callable[[], Found]) -> CheckEvidence:
    """A check as evidence; input that it cannot use is a failure with its line, no verdict ends in an error."""
    started = time.perf_counter()
    try:
        passed, message = check()
    except InputError as error:
        passed, message = False, str(error)
    wall_s = round(time.perf_counter() - started, 3)
    return CheckEvidence(name=name, passed=passed, message=message, wall_s=wall_s)


def check_lint(design: Design, fabric: Fabric) -> Found:
    """Every linter, as simulated and as synthesized."""
    report = lint_project(design.project, fabric)
    waived = len(report.findings) - len(report.open)
    tools = ", ".join(f"{name} {version}" for name, version in report.tools.items())
    first = f"; {report.open[0]}" if report.open else ""
    return report.ok, f"{len(report.open)} findings, {waived} waived by {tools}{first}"


def check_fabric_invariance(design: Design, fabric: Fabric, images: ImageSet) -> Found:
    """A checkpoint of other weights: the same SystemVerilog, other ROM contents."""
    config = design.checkpoint.config
    folder, _ = flow.draw(
        config.model_copy(update={"name": f"{config.name}-other-weights"}), _OTHER_SEED, flow.cache_folder()
    )
    recipe = design.recipe.for_random_weights()
    other = flow.plan_design(design.project, folder, recipe, design.context)
    model = flow.quantize_design(other, flow.cache_folder())
    with tempfile.TemporaryDirectory(prefix="etchproof-") as temporary:
        out = Path(temporary) / "fabric"
        out.mkdir()
        rendered = flow.render_fabric(other, out)
        etched = flow.etch(other, model, Path(temporary) / "rom")
    same = rendered.sha256 == fabric.sha256
    shapes = [(image.layer, image.name, image.dtype, image.shape) for image in images.images]
    shapes_too = shapes == [(image.layer, image.name, image.dtype, image.shape) for image in etched.images]
    differs = etched.sha256 != images.sha256
    message = f"fabric {rendered.sha256[:12]} and {fabric.sha256[:12]}"
    message += f", rom {etched.sha256[:12]} and {images.sha256[:12]}"
    if not shapes_too:
        message += "; the images have other shapes"
    if not differs:
        message += "; the other checkpoint is the same one, so nothing was shown"
    return same and shapes_too and differs, message


def check_rom_files(design: Design, model: QuantizedModel, images: ImageSet) -> tuple[bool, str, int]:
    """The files against the quantized checkpoint; also how many bits are padding."""
    problems, padding_bits = hooks.rom_files(design.project)(model, design.plan, images)
    size = sum(image.size_bytes for image in images.images)
    message = (
        f"{len(images.images)} images, {size:,} bytes, {padding_bits:,} bits of padding, which hold zero"
    )
    if problems:
        message = f"{len(problems)} problems: {problems[0]}"
    return not problems, message, padding_bits


def check_memories(design: Design, images: ImageSet) -> Found:
    """The files against the memories of the model, which is read once more."""
    assert isinstance(design.source, Loaded)
    model = hooks_of_run.load_model(design.project)(design.source.path)
    made = {image.name: image for image in hooks_of_run.images(design.project)(model, design.plan)}
    problems = [
        f"{name} is not among the files" for name in made if name not in {i.name for i in images.images}
    ]
    for image in images.images:
        wanted, found = made.get(image.name), load_image(images, image)
        if wanted is None or wanted.data.shape != found.shape or not (wanted.data == found).all():
            problems.append(f"{image.name} is not what the model says")
    words = sum(math.prod(image.shape) for image in images.images)
    message = f"{len(images.images)} memories, {words:,} words, as the model says"
    return not problems, f"{len(problems)} problems: {problems[0]}" if problems else message


def check_quantized(
    design: Design,
    model: QuantizedModel,
    adapters: Sequence[tuple[Adapter, QuantizedAdapter]],
    text: CalibrationText | None = None,
) -> Found:
    """Every integer against the files that it was made from, found a second time (``etchproof.quantize.audit``).

    Args:
        text: the calibration text, where it is known already.
    """
    from etchproof.quantize import tensor_sha256
    from etchproof.quantize.audit import audit

    problem = next(audit(model, design.checkpoint, adapters, text), None)
    count = len(tensor_sha256(model))
    message = f"{count} tensors and {len(adapters)} adapters are what the files and the recipe say"
    return problem is None, problem or message


def check_arithmetic(design: Design, model: QuantizedModel, adapters: Sequence[QuantizedAdapter]) -> Found:
    """Every operation of the golden model against real arithmetic: the base, each adapter, weights for the corners."""
    from etchproof.quantize import calibration_text
    from etchproof.quantize.arithmetic import check_arithmetic

    golden = flow.measurable_golden(design, model, adapters)
    text = calibration_text(design.checkpoint, flow.short_recipe(design, source="random")).tokens
    found = [
        error
        for adapter in (None, *range(len(adapters)))
        for error in check_arithmetic(golden, text, adapter)
    ]
    if design.project.coverage is not None and design.project.coverage.corners is not None:
        for seed in ARITHMETIC_CORNERS:
            corners = flow.measurable_golden(design, flow.corner_weights(design, model, seed))
            found += check_arithmetic(corners, text)
    wrong = [error for error in found if not error.worst <= 1]
    if wrong:
        return (
            False,
            f"{len(wrong)} of {len(found)} operations are wrong: {wrong[0].name}, {wrong[0].message}",
        )
    return bool(
        found
    ), f"{len(found)} operations on {text.numel():,} tokens, each as near as its width allows"


@dataclass(frozen=True)
class QualityText:
    """What quality is measured on.

    Attributes:
        tokens: (n, T) int64, written by the float model.
        reference: that float model.
    """

    tokens: Tensor
    reference: FloatModel


def float_reference(design: Design) -> FloatModel:
    """The float model of a checkpoint."""
    from etchproof.float_model.llama import FloatModel

    return FloatModel(design.checkpoint.config, design.checkpoint.tensor)


def quality_text(design: Design) -> QualityText:
    """Text that the float model writes, another than the one that calibrated."""
    from etchproof.quantize import sample_text

    length = min(QUALITY_LENGTH, design.quantized.context)
    text = sample_text(design.checkpoint, QUALITY_SEQUENCES, length, QUALITY_SEED)
    return QualityText(text, float_reference(design))


def measure_quality(design: Design, model: QuantizedModel) -> QualityReport:
    """The golden model against the float model, on text that the float model writes."""
    from etchproof.quantize.quality import measure

    text = quality_text(design)
    return measure(text.reference, flow.measurable_golden(design, model), text.tokens)
