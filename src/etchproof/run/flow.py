"""The stages between a checkpoint and a simulator: import, plan, quantize, render, etch, inject.

Each is a function from records to a record; ``etchproof.run.cosim`` puts them in a row. What a project brings (its
plan, renderings, images, sites, golden model) is loaded through its ``etchproof.toml`` and never imported by name.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

import platformdirs

from etchproof import quantize
from etchproof.checkpoint import Checkpoint, ModelConfig, load_checkpoint
from etchproof.contract.golden import Golden
from etchproof.errors import InputError
from etchproof.files.atomic import write_atomically
from etchproof.files.json_record import read_json_record
from etchproof.host.top import NATIVE_FILE, TOP, write_top
from etchproof.project.declaration import Project
from etchproof.project.filelist import with_lists
from etchproof.project.sources import engine_sha256, project_sha256, together
from etchproof.quantize.health import ModelHealth, measure_health
from etchproof.quantize.quantized_model import QuantizedAdapter, QuantizedModel
from etchproof.quantize.recipe import Recipe, load_recipe
from etchproof.render.fabric import Fabric, make_fabric
from etchproof.render.images import ImageSet, flip_bits, memory_site, write_images
from etchproof.render.images_index import IndexedImage
from etchproof.render.sources import take, write_waivers
from etchproof.render.templates import Rendering, library_files, render
from etchproof.run import hooks
from etchproof.run.design import Design, Loaded, Quantized, load_own
from etchproof.run.watcher import Watcher
from etchproof.sim.build import CACHE_ENV

if TYPE_CHECKING:  # slow to import, with PyTorch
    from etchproof.quantize.quality import GoldenModel

_QUANTIZED: Final = "quantized"  # folder of the cache
_LARGE: Final = 1 << 15  # hidden size times layers: beyond it a model's health is taken of 16 tokens
ROM_SITE: Final = re.compile(r"rom:(.+)", re.DOTALL)


@dataclass(frozen=True)
class Injection:
    """One bit of one ROM element that the simulator shall read inverted.

    Attributes:
        text: as the user named it, "rom:model.layers.2.mlp.down_proj[17,5]^1".
        layer: of the image; -1 outside the decoder layers.
        image: its name, "down_proj.codes".
        index: the element, in the image's own shape.
        bit: 0 is the lowest.
    """

    text: str
    layer: int
    image: str
    index: tuple[int, ...]
    bit: int


def quantized_folder(cache: Path) -> Path:
    """Where quantized models and adapters are kept."""
    return cache / _QUANTIZED


def cache_folder() -> Path:
    """What may be made again at any time: ``$ETCHPROOF_CACHE``, or the user's cache folder."""
    named = os.environ.get(CACHE_ENV)
    folder = Path(named) if named else platformdirs.user_cache_path("etchproof", appauthor=False)
    return folder.absolute()


def read_recipe(project: Project, name: str | None) -> Recipe:
    """The recipe of that name or file; the project's default when None."""
    return load_recipe(project.default_recipe if name is None else name, project.recipes_dir)


def draw(config: ModelConfig, seed: int, cache: Path) -> tuple[Path, bool]:
    """A checkpoint folder of random weights, and whether it was in the cache already.

    Raises:
        InputError: the cache cannot be used.
    """
    from etchproof.checkpoint.synthetic import cached_synthetic  # slow to import, with PyTorch

    return cached_synthetic(config, seed, cache)


def plan_chip(
    project: Project, config: ModelConfig, recipe: Recipe, context: int | None = None
) -> tuple[Recipe, Any]:
    """Plan the chip for an architecture; returns the recipe with the chip's context, and the plan.

    Args:
        context: positions of the chip, in place of the recipe's.

    Raises:
        InputError: architecture, recipe and chip do not fit together.
    """
    if context is not None:
        if not 1 <= context <= config.context:
            raise InputError(
                f"is {context}, expected 1 .. {config.context}, the model's own", key="--context"
            )
        recipe = recipe.model_copy(update={"context": context})
    try:
        return recipe, hooks.plan_llama(project)(config, recipe)
    except InputError as error:
        if context is None or error.key != "context" or error.source not in (recipe.source, recipe.name):
            raise
        raise InputError(error.problem, key="--context", hint=error.hint) from None  # the file says another


def make_design(project: Project, model: Path, recipe_name: str | None, context: int | None = None) -> Design:
    """Read a model and plan the chip for it.

    Args:
        model: a checkpoint folder, or what ``[model] load`` of the project reads.
        recipe_name: as for ``read_recipe``; None where models have none.
        context: as for ``plan_chip``.

    Raises:
        InputError: the model is bad, or model, recipe and chip do not fit together.
    """
    if project.model is None:
        return plan_design(project, model, read_recipe(project, recipe_name), context)
    for key, given in (("--recipe", recipe_name or None), ("--context", context)):
        if given is not None:
            raise InputError(
                "stands with a model of the project's own kind, which has none", key=key, hint="leave it out"
            )
    source = load_own(project, model)
    return _with_taps(Design(project, source, hooks.plan_model(project)(source.model)))


def plan_design(project: Project, model_dir: Path, recipe: Recipe, context: int | None = None) -> Design:
    """Import a checkpoint and plan the chip for it under a recipe; arguments and errors as for ``plan_chip``."""

    def known(checkpoint: Checkpoint) -> bool:  # quantizing has read every value
        planned, _ = plan_chip(project, checkpoint.config, recipe, context)
        return quantize.is_cached(checkpoint, planned, quantized_folder(cache_folder()))

    checkpoint = load_checkpoint(model_dir, known)
    planned, plan = plan_chip(project, checkpoint.config, recipe, context)
    return _with_taps(Design(project, Quantized(checkpoint, planned), plan))


def _with_taps(design: Design) -> Design:
    _ = design.taps  # refused before anything is quantized
    return design


def etched_model(design: Design, cache: Path, watcher: Watcher, asked: Recipe | None = None) -> Any:
    """What the project's functions get as the model: the integers of a Llama, or what ``[model] load`` gave.

    Args:
        asked: the recipe as it was named, where random weights changed it.
    """
    if isinstance(design.source, Loaded):
        return design.source.model
    with watcher.stage("quantize") as say:
        model = quantize_design(design, cache, watcher.busy)
        say(design.recipe.described(asked))
    return model


def quantize_design(
    design: Design, cache: Path, progress: Callable[[str], None] | None = None
) -> QuantizedModel:
    """The integers of a Llama under its recipe."""
    return quantize.quantize_cached(
        design.checkpoint, design.recipe, quantized_folder(cache), progress=progress
    )


def model_health(design: Design, model: Any, cache: Path) -> ModelHealth | None:
    """How the quantized model fares on a short text, drawn as its calibration text is; kept in the cache beside it.

    None where the project's golden model only predicts taps, and of a model that nobody quantized: that is not
    measured, and said so.

    Of a large model the text is shorter still: its golden model takes seconds for a token.
    """
    if isinstance(design.source, Loaded):
        return None
    made_from = (
        ("model", quantize.content_sha256(model)),
        ("checkpoint", design.checkpoint.sha256),  # its float model writes the text
        ("recipe", design.recipe.sha256),
        ("context", str(design.context)),
        ("project", project_sha256(design.project)),  # its golden model is measured
        ("engine", engine_sha256()),
    )
    file = quantized_folder(cache) / "health" / f"{together(made_from)[:32]}.json"
    with contextlib.suppress(InputError):
        return read_json_record(file, ModelHealth)
    golden = make_golden(design, model)
    if _lacks(golden):
        return None
    text = quantize.calibration_text(design.checkpoint, short_recipe(design)).tokens
    found = measure_health(cast("GoldenModel", golden), text, design.checkpoint.tensor)
    with contextlib.suppress(OSError):  # a cache that cannot be written makes it anew each time
        file.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(file, found.model_dump_json())
    return found


def short_recipe(design: Design, **calibration: Any) -> Recipe:
    """The recipe of a Llama with a short calibration text, of a large model a shorter one still.

    Args:
        calibration: what else is other than in the recipe.
    """
    config, own = design.checkpoint.config, design.recipe.calibration
    large = config.hidden_size * config.n_layers > _LARGE
    size = {"sequences": 1, "length": 16} if large else {"sequences": 2, "length": 64}
    size["length"] = min(size["length"], own.length)
    return design.recipe.model_copy(update={"calibration": own.model_copy(update={**size, **calibration})})


def corner_weights(design: Design, model: QuantizedModel, seed: int) -> QuantizedModel:
    """The project's weights for the same fabric that reach what trained ones do not (``[coverage] corners``).

    Raises:
        InputError: the project has none.
    """
    return hooks.corners(design.project)(model, design.plan, seed)


def make_golden(design: Design, model: Any, adapters: Sequence[QuantizedAdapter] = ()) -> Golden:
    """The project's golden model; one that knows no adapters is made without the argument."""
    factory = hooks.golden(design.project)
    return factory(model, adapters) if adapters else factory(model)


def measurable_golden(
    design: Design, model: QuantizedModel, adapters: Sequence[QuantizedAdapter] = ()
) -> GoldenModel:
    """The project's golden model, where it can be measured against the float model.

    Raises:
        InputError: it cannot, as it has no ``forward``, ``model`` or ``adapters``.
    """
    golden = make_golden(design, model, adapters)
    if absent := _lacks(golden):
        raise InputError(
            f"makes a golden model without {' and '.join(map(repr, absent))}",
            source=design.project.file,
            key="golden.factory",
            hint="they are needed to measure it against the float model (etchproof.quantize.quality)",
        )
    return cast("GoldenModel", golden)


def _lacks(golden: Golden) -> list[str]:
    """What a golden model has not of what measuring it needs."""
    return [name for name in ("model", "adapters", "forward") if not hasattr(golden, name)]


def render_fabric(design: Design, out: Path) -> Fabric:
    """Render the chip's SystemVerilog into ``out``, an empty folder; no weight goes into it."""
    return render_plan(design.project, design.plan, out)


def render_plan(
    project: Project, plan: Any, out: Path, renderings: Sequence[Rendering] | None = None
) -> Fabric:
    """As ``render_fabric``, from the plan alone.

    Args:
        renderings: in place of the project's own for the plan.
    """
    rtl = with_lists(project)
    if renderings is None:
        renderings = hooks.renderings(project)(plan)
    names = render(renderings, templates=project.templates_dir, hw=project.hw_dir, out=out)
    own, setup = take(
        *(project.root, out),
        files=rtl.files,
        testbench=rtl.testbench,
        include=rtl.include,
        data=rtl.data,
        source=project.file,
    )
    setup = replace(setup, defines=rtl.defines, waive=tuple(rtl.waive))
    engines = {path.name for path in library_files()}
    of_the_team = [*(name for name in names if name not in engines), *own]
    names = [*write_waivers(out, setup.waive, of_the_team), *names]
    if project.host is None:
        setup = replace(setup, parameters=rtl.parameters)
        return make_fabric(out, [*names, *own], rtl.top, setup)
    top = write_top(project.host, rtl.top, rtl.parameters, out)
    setup = replace(setup, native=setup.native | {NATIVE_FILE})
    return make_fabric(out, [*names, *own, *top], TOP, setup)


def etch(design: Design, model: Any, out: Path) -> ImageSet:
    """Write the chip's ROM images into ``out``."""
    return write_images(out, hooks.images(design.project)(model, design.plan))


def check_sites(project: Project, plan: Any, texts: Sequence[str]) -> None:
    """Refuse what ``--inject`` names as far as that can be known before the chip is etched; errors as of ``locate``."""
    if texts and hooks.site(project) is not None:
        locate(project, plan, texts)


def locate(
    project: Project, plan: Any, texts: Sequence[str], images: ImageSet | None = None
) -> tuple[Injection, ...]:
    """Where on the chip of a plan the bits are that ``--inject`` names.

    Args:
        images: of the chip; None where it is not etched yet and the project says where bits are.

    Raises:
        InputError: a text names no bit of this chip, or two name the same bit.
    """
    if not texts:
        return ()
    site = hooks.site(project)
    found: dict[tuple[Any, ...], Injection] = {}
    for text in texts:
        match = ROM_SITE.fullmatch(text)
        if match is None:
            raise InputError(
                f"{text!r} is no site",
                key="--inject",
                hint="write rom:TENSOR[INDEX]^BIT; of an adapter, lora:SLOT:ELEMENT^BIT",
            )
        if site is not None:
            layer, image, index, bit = place = site(match[1], plan)
        else:
            assert images is not None
            layer, image, index, bit = place = memory_site(match[1], images)
        if place in found:
            raise InputError(
                f"{text!r} and {found[place].text!r} are the same bit",
                key="--inject",
                hint="give each bit once",
            )
        found[place] = Injection(text, layer, image, index, bit)
    return tuple(found.values())


def inject(images: ImageSet, injections: Sequence[Injection], folder: Path) -> list[IndexedImage]:
    """Copies of the images that injections touch, with those bits inverted, in ``folder``."""
    by_image: dict[tuple[int, str], list[tuple[tuple[int, ...], int]]] = {}
    for injection in injections:
        by_image.setdefault((injection.layer, injection.image), []).append((injection.index, injection.bit))
    return [flip_bits(images, images.find(*key), sites, folder) for key, sites in by_image.items()]
