"""A model on a project's chip: what is known before any weight is quantized or etched."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from etchproof.checkpoint import Checkpoint, ModelConfig
from etchproof.contract.model import Inputs, Model
from etchproof.contract.taps import TapPlan
from etchproof.errors import InputError
from etchproof.project import reading
from etchproof.project.declaration import Project
from etchproof.project.sources import tree_sha256
from etchproof.quantize.recipe import Recipe
from etchproof.run import hooks


@dataclass(frozen=True)
class Quantized:
    """A Hugging Face Llama under a recipe.

    Attributes:
        checkpoint: the model.
        recipe: how it becomes integers.
    """

    checkpoint: Checkpoint
    recipe: Recipe

    @property
    def name(self) -> str:
        return self.checkpoint.name

    @property
    def path(self) -> Path:
        return self.checkpoint.path

    @property
    def sha256(self) -> str:
        return self.checkpoint.sha256

    @property
    def label(self) -> str:
        """For the name of a run's folder."""
        return f"{self.name}-{self.recipe.name}"

    def __str__(self) -> str:
        config = self.checkpoint.config
        layers = f"{config.n_layers} layer{'s' if config.n_layers > 1 else ''}"
        return f"{config.name}: {layers}, hidden {config.hidden_size}, vocabulary {config.vocab_size}"

    @property
    def context(self) -> int:
        """Positions that the chip holds."""
        return self.recipe.chip_context(self.checkpoint.config)

    @property
    def inputs(self) -> Inputs:
        return llama_inputs(self.checkpoint.config, self.recipe)


@dataclass(frozen=True)
class Loaded:
    """A model of the project's own kind, as it is: nothing is quantized.

    Attributes:
        path: as it was named.
        model: what ``[model] load`` gave.
        sha256: hash of the files that it was read from.
        inputs: what goes into the chip.
    """

    path: Path
    model: Model
    sha256: str
    inputs: Inputs

    @property
    def name(self) -> str:
        return self.path.absolute().name

    @property
    def label(self) -> str:
        """For the name of a run's folder."""
        return self.name

    def __str__(self) -> str:
        inputs, count = self.inputs, len(self.model.files)
        taken = (
            f"vectors of {inputs.elements}"
            if inputs.vocab_size is None
            else f"vocabulary {inputs.vocab_size}"
        )
        return f"{self.name}: {count} file{'s' if count > 1 else ''}, {taken}"

    def files_now(self) -> str:
        """The hash of its files as they are now.

        Raises:
            InputError: one cannot be read.
        """
        return _files_sha256(self.model.files, self.path)


@dataclass(frozen=True)
class Design:
    """A model on a project's chip.

    Attributes:
        project: whose chip it is.
        source: the model.
        plan: the project's own record of shapes and widths.
    """

    project: Project
    source: Quantized | Loaded
    plan: Any

    @cached_property
    def taps(self) -> TapPlan:
        """Every tap of the chip.

        Raises:
            InputError: the project declares none, or what is no tap.
        """
        found = hooks.taps(self.project)(self.plan)
        try:
            return TapPlan(tuple(found))
        except (TypeError, ValueError) as error:
            raise InputError(str(error), source=self.project.file, key="taps.plan") from error

    @property
    def inputs(self) -> Inputs:
        """What goes into the chip."""
        return self.source.inputs

    @property
    def context(self) -> int | None:
        """Positions that the chip holds; None for no limit."""
        return self.inputs.context

    @property
    def checkpoint(self) -> Checkpoint:
        """The checkpoint of a Llama; errors as of ``quantized``."""
        return self.quantized.checkpoint

    @property
    def recipe(self) -> Recipe:
        """The recipe of a Llama; errors as of ``quantized``."""
        return self.quantized.recipe

    @property
    def quantized(self) -> Quantized:
        """The model as a Llama under a recipe.

        Raises:
            InputError: it is of the project's own kind.
        """
        if isinstance(self.source, Quantized):
            return self.source
        raise InputError(
            "loads models of the project's own kind, which have neither recipe nor adapters",
            source=self.project.file,
            key="model.load",
        )

    @property
    def slots(self) -> int:
        """Places for adapters on the chip."""
        return self.source.recipe.lora.slots if isinstance(self.source, Quantized) else 0


def llama_inputs(config: ModelConfig, recipe: Recipe) -> Inputs:
    """What goes into the chip of a Llama under a recipe."""
    return Inputs(config.vocab_size, recipe.chip_context(config), stop_tokens=config.eos_token_ids)


def load_own(project: Project, path: Path) -> Loaded:
    """A model of the project's own kind, from its file or folder.

    Raises:
        InputError: it cannot be read, or lacks what the engine has to know of it (``etchproof.contract.model``).
    """
    load, key = hooks.load_model(project), "model.load"
    with reading.gathered() as read:
        model = load(path)

    def number(name: str, *, least: int, optional: bool) -> int | None:
        value = getattr(model, name, None)
        if (value is None and optional) or (type(value) is int and value >= least):
            return value
        raise InputError(
            f"gives a model whose {name} is {value!r}, expected a number from {least}",
            source=project.file,
            key=key,
        )

    files = getattr(model, "files", None)
    if not isinstance(files, list | tuple) or not files or not all(isinstance(path, Path) for path in files):
        raise InputError(
            f"gives a model whose files are {files!r:.80}, expected the paths that it was read from",
            source=project.file,
            key=key,
        )
    own = {file.resolve() for file in files}
    if others := sorted(str(file) for file in read - own if file.exists()):
        raise InputError(
            f"reads {others[0]}, which is not among the model's files",
            source=project.file,
            key=key,
            hint="add it to files, or to [golden] data where every model reads it",
        )
    reading.allow(*own)
    vocab_size = number("vocab_size", least=1, optional=True)
    elements = number("elements", least=1, optional=vocab_size is not None) or 1
    context = number("context", least=1, optional=vocab_size is None)
    limits, stops = getattr(model, "element_range", None), getattr(model, "stop_tokens", ())
    for name, value, counts in (("element_range", limits, (2,)), ("stop_tokens", stops, range(1 << 32))):
        is_list = isinstance(value, list | tuple) and all(type(one) is int for one in value)
        if (name, value) != ("element_range", None) and not (is_list and len(value or ()) in counts):
            raise InputError(
                f"gives a model whose {name} is {value!r:.80}, expected integers",
                source=project.file,
                key=key,
            )
    inputs = Inputs(
        vocab_size, context, elements, None if limits is None else (limits[0], limits[1]), tuple(stops)
    )
    return Loaded(path, model, _files_sha256(files, path), inputs)


def _files_sha256(files: Sequence[Path], path: Path) -> str:
    return tree_sha256(files, path if path.is_dir() else path.parent)
