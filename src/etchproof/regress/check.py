"""What a regression's items name, looked at before anything runs: what cannot be is bad input, and no FAIL."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from etchproof.checkpoint import ModelConfig, Tokenizer, load_checkpoint
from etchproof.checkpoint.prompt import notes, open_tokenizer
from etchproof.errors import InputError
from etchproof.host.stimulus import VECTORS, read_vectors
from etchproof.project.declaration import Project
from etchproof.quantize.recipe import Recipe
from etchproof.regress.prompt import generates, generation_of
from etchproof.regress.spec import ItemSpec, ShapeEntry
from etchproof.run import flow, slots
from etchproof.run.design import Design, llama_inputs
from etchproof.run.slots import DRAWN
from etchproof.run.streams import stream_facts


def check_items(items: Sequence[ItemSpec], project: Project) -> tuple[str, ...]:
    """Read recipes, shapes, adapters, and checkpoints but for the values of their weights; plan each chip.

    Each is read once, however many items name it. Each prompt is encoded.

    Returns:
        Where the parts of a checkpoint disagree (``etchproof.checkpoint.prompt.notes``), once for each checkpoint.

    Raises:
        InputError: something is missing or bad, or does not fit together; the line ends in the first item that names
            it.
    """

    said: dict[str, tuple[str, ...]] = {}  # by folder

    @cache
    def model_of(folder: str) -> tuple[ModelConfig, Tokenizer | None]:
        checkpoint = load_checkpoint(folder, known=lambda _: True)
        tokenizer = open_tokenizer(checkpoint, needed=False)
        said[folder] = tuple(f"{checkpoint.name}: {note}" for note in notes(checkpoint, tokenizer))
        return checkpoint.config, tokenizer

    @cache
    def own_of(model: str | None, shape: ShapeEntry | None, recipe: str, context: int | None) -> Design:
        if model is None or shape is not None:
            raise InputError("stands with a project that loads models of its own kind", key="shapes")
        return flow.make_design(project, Path(model), recipe, context)

    def check_own(spec: ItemSpec) -> None:
        design = own_of(spec.model, spec.shape, spec.recipe, spec.context)
        facts = stream_facts(design)
        if spec.adapters:
            slots.check_slots(project, None)
        if spec.vectors is not None and facts is not None:
            read_vectors(Path(spec.vectors), facts)
        if generates(spec, project):
            generation_of(spec, design.inputs)

    @cache
    def chip_of(
        model: str | None, shape: ShapeEntry | None, recipe_name: str, context: int | None
    ) -> tuple[ModelConfig, Recipe]:
        recipe = flow.read_recipe(project, recipe_name)
        if shape is None:
            assert model is not None
            config, _ = model_of(model)
        else:
            config = shape.random_model.config(project.shapes_dir)
            recipe = recipe.for_random_weights()
        return config, flow.plan_chip(project, config, recipe, context)[0]

    @cache
    def check_adapters(chip: tuple[Any, ...], names: tuple[str, ...]) -> None:
        config, recipe = chip_of(*chip)
        slots.check_slots(project, recipe)
        folders = [Path(name) for name in names if not name.startswith(DRAWN)]
        slots.read_adapters(project, config, recipe, folders)

    def check_prompt(spec: ItemSpec, config: ModelConfig, recipe: Recipe) -> None:
        tokenizer = None if spec.model is None else model_of(spec.model)[1]
        if spec.model is not None and spec.prompt and tokenizer is None:
            load_checkpoint(spec.model, known=lambda _: True).tokenizer()  # says what is missing
        generation_of(spec, llama_inputs(config, recipe), config, tokenizer)

    for spec in items:
        chip = (spec.model, spec.shape, spec.recipe, spec.context)
        try:
            if project.host is not None and (spec.test == VECTORS) != (spec.vectors is not None):
                raise InputError(
                    f"goes with the test {VECTORS}, and only with it", source=spec.name, key="vectors"
                )
            if project.model is not None:
                check_own(spec)
                continue
            if spec.vectors is not None:
                raise InputError("the chip takes tokens", source=spec.name, key="vectors")
            fits = chip_of(*chip)
            if generates(spec, project):
                check_prompt(spec, *fits)
            if spec.adapters:
                check_adapters(chip, spec.adapters)
        except InputError as error:
            named = f"item {spec.name}"
            raise InputError(
                error.problem,
                source=error.source,
                key=error.key,
                hint=f"{error.hint}; {named}" if error.hint else named,
            ) from error
    return tuple(note for notes_of_one in said.values() for note in notes_of_one)
