"""The coverage model that a project brings (``[coverage]`` of ``etchproof.toml``), as functions of known types."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from etchproof.contract.mask import MaskUnit
from etchproof.coverage.functional import Covergroup, Sampler
from etchproof.errors import InputError
from etchproof.project.declaration import Project
from etchproof.project.sections import CoverageSection
from etchproof.quantize.quantized_model import QuantizedModel
from etchproof.render.images import ImageSet
from etchproof.run.hooks import hook


def rom(project: Project) -> Callable[[QuantizedModel, Any], Sequence[MaskUnit]]:
    """What the mask holds."""
    return hook(project, "coverage.rom", declared(project).rom)


def groups(project: Project) -> Callable[[Any], Sequence[Covergroup]]:
    """The covergroups."""
    return hook(project, "coverage.groups", declared(project).groups)


def sampler(project: Project) -> Callable[[QuantizedModel, Any], Sampler]:
    """What fills them from runs."""
    return hook(project, "coverage.sampler", declared(project).sampler)


def rom_files(project: Project) -> Callable[[QuantizedModel, Any, ImageSet], tuple[Sequence[str], int]]:
    """The ROM files against the checkpoint: problems, bits of padding."""
    return hook(project, "coverage.rom_files", declared(project).rom_files)


def declared(project: Project) -> CoverageSection:
    """The section.

    Raises:
        InputError: the project has none.
    """
    if project.coverage is None:
        raise InputError("is missing: there is no coverage model", source=project.file, key="coverage")
    return project.coverage
