"""What a project brings, as functions of known types: each key of ``etchproof.toml`` that names one is loaded here.

Those of ``[coverage]`` are in ``etchproof.coverage.hooks``, which knows their records.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial, wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from etchproof.checkpoint import ModelConfig
from etchproof.contract.alone import MakesAlone
from etchproof.contract.golden import Golden, GoldenSession
from etchproof.contract.memory import Memory
from etchproof.contract.model import Model
from etchproof.contract.taps import Tap
from etchproof.errors import EtchproofError, InputError, machine_trouble, own_line
from etchproof.project.code import load_object
from etchproof.project.declaration import Project
from etchproof.quantize.quantized_model import QuantizedAdapter, QuantizedModel
from etchproof.quantize.recipe import Recipe
from etchproof.render.images import Image, memory_image
from etchproof.render.templates import Rendering
from etchproof.verdict.expect import Expectation, PlannedRun

if TYPE_CHECKING:
    from etchproof.adapter import Adapter

Site = tuple[int, str, tuple[int, ...], int]
"""Where a bit is etched: the layer and name of its image, the element's index, the bit."""

Words = npt.NDArray[np.uint32]


class GoldenFactory(Protocol):
    """``[golden] factory``; a project without adapters may leave the argument out."""

    def __call__(self, model: QuantizedModel, adapters: Sequence[QuantizedAdapter] = ..., /) -> Golden: ...


class _Sessions:
    """A golden model of which a project only says what a session is."""

    def __init__(self, session: Callable[[Any], GoldenSession], model: Any) -> None:
        self._session, self._model = session, model

    def session(self) -> GoldenSession:
        return self._session(self._model)


def load_model(project: Project) -> Callable[[Path], Model]:
    """``[model] load``: a model of the project's own kind, from its file or folder."""
    assert project.model is not None
    return hook(project, "model.load", project.model.load)


def plan_llama(project: Project) -> Callable[[ModelConfig, Recipe], Any]:
    """``[chip] plan`` of a Llama under a recipe: the project's own record of the chip."""
    assert project.chip is not None
    return hook(project, "chip.plan", project.chip.plan)


def plan_model(project: Project) -> Callable[[Model], Any]:
    """``[chip] plan`` of a model of the project's own; the model itself for a project without."""
    chip = project.chip
    return (lambda model: model) if chip is None else hook(project, "chip.plan", chip.plan)


def taps(project: Project) -> Callable[[Any], Iterable[Tap]]:
    """``[taps] plan``: the taps of a chip, in dataflow order."""
    return hook(project, "taps.plan", project.taps.plan)


def golden(project: Project) -> GoldenFactory:
    """``[golden]``: a golden model."""
    if project.golden.factory is not None:
        return hook(project, "golden.factory", project.golden.factory)
    assert project.golden.session is not None
    return partial(_Sessions, hook(project, "golden.session", project.golden.session))


def renderings(project: Project) -> Callable[[Any], Sequence[Rendering]]:
    """``[rtl] renderings``: what to render; nothing for a project that renders nothing."""
    named = project.rtl.renderings
    return (lambda plan: ()) if named is None else hook(project, "rtl.renderings", named)


def images(project: Project) -> Callable[[Any, Any], Iterable[Image]]:
    """``[rom]``: the images of the mask ROM, memories among them; none for a project without."""
    rom = project.rom
    if rom is None:
        return lambda model, plan: ()
    if rom.images is not None:
        return hook(project, "rom.images", rom.images)
    of_model = memories(project)

    def images_of(model: Any, plan: Any) -> Iterable[Image]:
        try:
            found = [memory_image(memory) for memory in of_model(model)]
            counts = Counter([*(image.name for image in found), *project.rtl.data])
            if twice := [name for name, count in counts.items() if count > 1]:
                raise ValueError(f"{twice[0]!r} stands twice")
            return found
        except (AttributeError, TypeError, ValueError) as error:
            raise InputError(
                f"gives what is no memory: {error}", source=project.file, key="rom.memories"
            ) from error

    return images_of


def site(project: Project) -> Callable[[str, Any], Site] | None:
    """``[rom] site``: where the bit of a weight is etched; None of memories, whose words name themselves.

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
    return None if project.rom.site is None else hook(project, "rom.site", project.rom.site)


def memories(project: Project) -> Callable[[Any], Iterable[Memory]]:
    """``[rom] memories``: the memories that the RTL fills itself."""
    assert project.rom is not None and project.rom.memories is not None
    return hook(project, "rom.memories", project.rom.memories)


def flipped(project: Project) -> Callable[[Any, str, tuple[int, ...], int], Any] | None:
    """``[rom] flipped``: a model with one bit of a memory's word inverted: ``flipped(model, place, index, bit)``."""
    assert project.rom is not None
    named = project.rom.flipped
    return None if named is None else hook(project, "rom.flipped", named)


def cycles(project: Project) -> Callable[[Any, int], int] | None:
    """``[cycles] model``: what the item at a position takes; None for a project without."""
    return None if project.cycles is None else hook(project, "cycles.model", project.cycles.model)


def frame(project: Project) -> Callable[[Any, QuantizedAdapter, int], Words]:
    """``[lora] frame``: the words that the host writes for an adapter in a slot."""
    assert project.lora is not None
    return hook(project, "lora.frame", project.lora.frame)


def load_cycles(project: Project) -> Callable[[Any, Words], int]:
    """``[lora] load_cycles``: what the chip takes for them."""
    assert project.lora is not None
    return hook(project, "lora.load_cycles", project.lora.load_cycles)


def adapter_site(
    project: Project, text: str
) -> Callable[[str, Sequence[Adapter], Any], Mapping[str, int | str]]:
    """``[lora] site``: where a bit of an adapter is, of its name, the adapter that each slot holds first, and the plan.

    Raises:
        InputError: the project does not say it.
    """
    if project.lora is None or project.lora.site is None:
        raise InputError(
            f"{text!r}: the project does not say where bits of adapters are",
            source=project.file,
            key="lora.site",
        )
    return hook(project, "lora.site", project.lora.site)


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


def alone(project: Project) -> MakesAlone | None:
    """``[replay] alone``: a layer of the chip alone; None for a project that makes none."""
    named = project.replay.alone
    return None if named is None else hook(project, "replay.alone", named)


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
        except (EtchproofError, MemoryError):
            raise
        except (Exception, SystemExit) as error:  # a project's code may fail in any way
            if isinstance(error, OSError) and machine_trouble(error, project.file) is not None:
                raise
            where = own_line(error)
            raise InputError(
                f"{name!r} failed: {type(error).__name__} at {where}: {error}", source=project.file, key=key
            ) from error

    return called
