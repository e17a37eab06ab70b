"""What a project brings, as functions of known types: each key of ``etchproof.toml`` that names one is loaded here.

Those of ``[coverage]`` are in ``etchproof.coverage.hooks``, which knows their records.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterable, Sequence
from functools import wraps
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from etchproof.checkpoint import ModelConfig
from etchproof.contract.golden import Golden
from etchproof.contract.taps import Tap
from etchproof.errors import EtchproofError, InputError
from etchproof.project.declaration import Project, load_object
from etchproof.quantize.quantized_model import QuantizedAdapter, QuantizedModel
from etchproof.quantize.recipe import Recipe
from etchproof.render.images import Image
from etchproof.render.templates import Rendering
from etchproof.verdict.expect import Expectation, PlannedRun

Site = tuple[int, str, tuple[int, ...], int]
"""Where a bit is etched: the layer and name of its image, the element's index, the bit."""

Words = npt.NDArray[np.uint32]


class GoldenFactory(Protocol):
    """``[golden] factory``; a project without adapters may leave the argument out."""

    def __call__(self, model: QuantizedModel, adapters: Sequence[QuantizedAdapter] = ..., /) -> Golden: ...


def plan(project: Project) -> Callable[[ModelConfig, Recipe], Any]:
    """``[chip] plan``: the project's own record of the chip."""
    return hook(project, "chip.plan", project.chip.plan)


def taps(project: Project) -> Callable[[Any], Iterable[Tap]]:
    """``[taps] plan``: the taps of a chip, in dataflow order."""
    return hook(project, "taps.plan", project.taps.plan)


def golden(project: Project) -> GoldenFactory:
    """``[golden] factory``: a golden model."""
    return hook(project, "golden.factory", project.golden.factory)


def renderings(project: Project) -> Callable[[Any], Sequence[Rendering]]:
    """``[rtl] renderings``: what to render; nothing for a project that renders nothing."""
    named = project.rtl.renderings
    return (lambda plan: ()) if named is None else hook(project, "rtl.renderings", named)


def images(project: Project) -> Callable[[QuantizedModel, Any], Iterable[Image]]:
    """``[rom] images``: the images of the mask ROM; none for a project without."""
    rom = project.rom
    return (lambda model, plan: ()) if rom is None else hook(project, "rom.images", rom.images)


def site(project: Project) -> Callable[[str, Any], Site]:
    """``[rom] site``: where the bit of a weight is etched.

    Raises:
        InputError: the project declares no mask ROM.
    """
    if project.rom is None:
        raise InputError(
            "is missing: the project declares no mask ROM",
            source=project.file,
            key="rom",
            hint="leave out --inject",
        )
    return hook(project, "rom.site", project.rom.site)


def frame(project: Project) -> Callable[[Any, QuantizedAdapter, int], Words]:
    """``[lora] frame``: the words that the host writes for an adapter in a slot."""
    assert project.lora is not None
    return hook(project, "lora.frame", project.lora.frame)


def load_cycles(project: Project) -> Callable[[Any, Words], int]:
    """``[lora] load_cycles``: what the chip takes for them."""
    assert project.lora is not None
    return hook(project, "lora.load_cycles", project.lora.load_cycles)


def drawn_adapters(
    project: Project, kind: str
) -> Callable[[str, QuantizedModel, Any, int], Sequence[QuantizedAdapter]]:
    """``[lora] drawn``: adapters of a kind, from a seed.

    Raises:
        InputError: the project draws none.
    """
    if project.lora is None or project.lora.drawn is None:
        raise InputError(f"{kind!r}: the project draws no adapters", source=project.file, key="lora.drawn")
    return hook(project, "lora.drawn", project.lora.drawn)


def corners(project: Project) -> Callable[[QuantizedModel, Any, int], QuantizedModel]:
    """``[coverage] corners``: weights for the same fabric that reach what trained ones do not.

    Raises:
        InputError: the project draws none.
    """
    if project.coverage is None or project.coverage.corners is None:
        raise InputError(
            "is missing: the project draws no weights for the corners",
            source=project.file,
            key="coverage.corners",
            hint="leave out --corners",
        )
    return hook(project, "coverage.corners", project.coverage.corners)


def expect(project: Project) -> Callable[[str, PlannedRun], Expectation | None] | None:
    """``[verif] expect``: what a run has to do; None for a project that does not say it."""
    named = project.verif.expect
    if named is None:
        return None
    found: Callable[..., Any] = load_object(project, named, key="verif.expect")  # what it raises is a finding
    return found


def hook(project: Project, key: str, name: str) -> Callable[..., Any]:
    """A function of a project; whatever it raises becomes one line that names it.

    Raises:
        InputError: it cannot be imported, or is no function.
    """
    found = load_object(project, name, key=key)
    if not callable(found):
        raise InputError(f"{name!r} is {found!r:.80}, expected a function", source=project.file, key=key)

    @wraps(found, updated=())
    def called(*arguments: Any) -> Any:
        try:
            return found(*arguments)
        except (EtchproofError, OSError, MemoryError):
            raise
        except Exception as error:  # a project's code may fail in any way
            place = traceback.extract_tb(error.__traceback__)[-1]
            where = f" at {Path(place.filename).name}:{place.lineno}"
            raise InputError(
                f"{name!r} failed: {type(error).__name__}{where}: {error}", source=project.file, key=key
            ) from error

    return called
