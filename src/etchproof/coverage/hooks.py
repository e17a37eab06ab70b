"""The coverage model that a project brings (``[coverage]`` of ``etchproof.toml``), as functions of known types."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from etchproof.contract.mask import MaskSite, TriedUnit
from etchproof.coverage.exclusions import Exclusion, SignalExclusion
from etchproof.coverage.functional import Covergroup, Sampler
from etchproof.coverage.observability import AnyUnit
from etchproof.errors import InputError
from etchproof.project.declaration import Project
from etchproof.project.sections import CoverageSection
from etchproof.quantize.quantized_model import QuantizedModel
from etchproof.render.images import ImageSet
from etchproof.run.hooks import hook


def rom(project: Project) -> Callable[[QuantizedModel, Any], Sequence[AnyUnit]]:
    """What reads the mask; nothing of a project that does not say it."""
    named = declared(project).rom
    return (lambda model, plan: ()) if named is None else hook(project, "coverage.rom", named)


def sites(project: Project, images: Iterable[tuple[int, str]]) -> tuple[MaskSite, ...]:
    """The tensors of the mask of a chip, in dataflow order; none of a project that does not observe them.

    Args:
        images: (layer, name) of each of its ROM images.

    Raises:
        InputError: the project names a tensor twice, or what is none.
    """
    named = None if project.coverage is None else project.coverage.sites
    if named is None:
        return ()
    key = "coverage.sites"
    found = tuple(hook(project, key, named)(tuple(images)))
    for one in found:
        if not isinstance(one, MaskSite):
            raise InputError(f"gives {one!r:.80}, expected a MaskSite", source=project.file, key=key)
    for count in (Counter(one.site for one in found), Counter((one.layer, one.name) for one in found)):
        for twice in (name for name, times in count.items() if times > 1):
            raise InputError(f"names {twice!r} twice", source=project.file, key=key)
    return found


def tables(project: Project) -> Callable[[QuantizedModel, Any], Sequence[TriedUnit]]:
    """The constant tables that are made in logic; none of a project that does not say it."""
    named = declared(project).tables
    return (lambda model, plan: ()) if named is None else hook(project, "coverage.tables", named)


def groups(project: Project) -> Callable[[Any], Sequence[Covergroup]]:
    """The covergroups."""
    return hook(project, "coverage.groups", declared(project).groups)


def sampler(project: Project) -> Callable[[QuantizedModel, Any], Sampler]:
    """What fills them from runs."""
    return hook(project, "coverage.sampler", declared(project).sampler)


def rom_files(project: Project) -> Callable[[QuantizedModel, Any, ImageSet], tuple[Sequence[str], int]]:
    """The ROM files against the checkpoint: problems, bits of padding."""
    return hook(project, "coverage.rom_files", declared(project).rom_files)


def exclusions(project: Project, plan: Any, images: ImageSet) -> tuple[Exclusion | SignalExclusion, ...]:
    """The points of code coverage that the chip of that plan and mask does not have; none where nobody works them out.

    Raises:
        InputError: the project gives something else.
    """
    named = None if project.coverage is None else project.coverage.exclusions
    if named is None:
        return ()
    key = "coverage.exclusions"
    found = tuple(hook(project, key, named)(plan, images))
    for one in found:
        if not isinstance(one, Exclusion | SignalExclusion):
            raise InputError(f"gives {one!r:.80}, expected an exclusion", source=project.file, key=key)
    return found


def declared(project: Project) -> CoverageSection:
    """The section.

    Raises:
        InputError: the project has none.
    """
    if project.coverage is None:
        raise InputError("is missing: there is no coverage model", source=project.file, key="coverage")
    return project.coverage
