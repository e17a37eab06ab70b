"""A regression's list (``ci/*.yaml``) and the items that it comes to.

An item is one run of one test on one chip with one seed. Its name says all of that, and its seed depends on the name
and the list's base seed only: adding a line to a list changes no other item.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import Annotated, Final

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from etchproof.checkpoint.shape import RandomModel
from etchproof.errors import InputError, shown
from etchproof.files.yaml_file import SUFFIXES, find_yaml, read_yaml_record
from etchproof.run.slots import DRAWN
from etchproof.sim.build import Kind
from etchproof.sim.run import MAX_TIMEOUT_S

MODEL: Final = "@model"
RECIPE: Final = "@recipe"
ADAPTERS: Final = "@adapters"
"""Stand in a list for what the command line names."""

LISTS_FOLDER: Final = "ci"
MAX_ITEMS: Final = 100_000
"""The most that a list comes to; ten times the largest nightly that we know of."""

_MAX_POSITIONS: Final = 2**31 - 1
_MAX_SEED: Final = 2**31 - 1
_MAX_NAME_BYTES: Final = 200  # file systems allow 255
_HASH_DIGITS: Final = 12


def _tuple(value: object) -> object:
    return tuple(map(_tuple, value)) if isinstance(value, list) else value


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")


Token = Annotated[int, Field(strict=True, ge=0, lt=2**32)]
"""A token id as the chip's pins take it, also one beyond the vocabulary."""


class ShapeEntry(_Strict):
    """A part of a shape with random weights, in place of a checkpoint."""

    shape: str
    weights: Annotated[int, Field(ge=0)]  # seed
    layers: Annotated[int, Field(ge=1)] | None = None
    vocab: Annotated[int, Field(ge=1)] | None = None

    @property
    def random_model(self) -> RandomModel:
        return RandomModel(self.shape, self.weights, self.layers, self.vocab)


Names = Annotated[tuple[Annotated[str, Field(min_length=1)], ...], BeforeValidator(_tuple)]


class Entry(_Strict):
    """One line of a list: every combination of what it names is an item.

    Attributes:
        tests: classes of the testbench.
        models: checkpoint folders, from the project's root; ``@model`` is the command line's.
        shapes: further chips, with random weights.
        recipes: names or files, from the project's root; ``@recipe`` is the command line's.
        contexts: positions of the chip; null is the recipe's.
        builds: of the simulator.
        adapters: lists of adapter folders and of kinds to draw, ``@kind``; an empty one is the base model.
            ``@adapters`` is all of the command line's, none where it names none.
        seeds: how many runs of each, which differ in their seed.
        prompts: of a test that generates: texts.
        prompt_ids: likewise, as token ids.
        tokens: how many to generate.
        directed: of a test of given tokens: sequences.
        vectors: of a test of given vectors: a file, from the project's root.
    """

    tests: Names
    models: Names = ()
    shapes: Annotated[tuple[ShapeEntry, ...], BeforeValidator(_tuple)] = ()
    recipes: Names = (RECIPE,)
    contexts: Annotated[
        tuple[Annotated[int, Field(ge=1, le=_MAX_POSITIONS)] | None, ...], BeforeValidator(_tuple)
    ] = (None,)
    builds: Annotated[tuple[Kind, ...], BeforeValidator(_tuple)] = ("fast",)
    adapters: Annotated[tuple[Names, ...], BeforeValidator(_tuple)] = ((),)
    seeds: Annotated[int, Field(ge=1, le=MAX_ITEMS)] = 1
    prompts: Annotated[tuple[str, ...], BeforeValidator(_tuple)] = ()
    prompt_ids: Annotated[tuple[tuple[Token, ...], ...], BeforeValidator(_tuple)] = ()
    tokens: Annotated[int, Field(ge=1, le=_MAX_POSITIONS)] = 32
    directed: Annotated[tuple[tuple[Token, ...], ...], BeforeValidator(_tuple)] = ()
    vectors: Annotated[str, Field(min_length=1)] | None = None


class RegressionList(_Strict):
    """A whole list."""

    name: str
    description: str = ""
    base_seed: Annotated[int, Field(ge=0)] = 1
    timeout_s: Annotated[float, Field(gt=0, le=MAX_TIMEOUT_S)] = 600.0
    entries: Annotated[tuple[Entry, ...], BeforeValidator(_tuple)]


class ItemSpec(BaseModel):
    """One run, with every choice made; a record that crosses process borders.

    Attributes:
        name: unique in its regression, also the name of its folder.
        corners: seed of the weights that stand in place of the checkpoint's, None for its own.
        model: the checkpoint folder, absolute; None with ``shape``.
        adapters: folders, absolute, and ``@kind``.
        recipe: "" where models have none.
        seed: of the run.
        vectors: a file, absolute.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    test: str
    model: str | None
    shape: ShapeEntry | None
    recipe: str
    context: int | None
    kind: Kind
    adapters: tuple[str, ...]
    seed: int
    prompt: str | None = None
    prompt_ids: tuple[int, ...] | None = None
    tokens: int = 32
    directed: tuple[tuple[int, ...], ...] = ()
    vectors: str | None = None
    corners: int | None = None
    timeout_s: float = 600.0


def item_name(words: Sequence[str]) -> str:
    """A name that a folder, a line and a test case of ``junit.xml`` can have.

    Signs that do not show, and those that divide paths or pytest's names, become "_"; a name that is too long for a
    folder ends in a hash of the whole one.
    """
    name = "".join(sign if sign.isprintable() and sign not in "/:" else "_" for sign in "-".join(words))
    if len(name.encode()) > _MAX_NAME_BYTES:
        digest = hashlib.sha256(name.encode()).hexdigest()[:_HASH_DIGITS]
        kept = name.encode()[: _MAX_NAME_BYTES - _HASH_DIGITS - 1]
        name = f"{kept.decode(errors='ignore')}-{digest}"
    return name


def item_seed(name: str, base_seed: int) -> int:
    """1 .. 2^31 - 1, from these two alone."""
    digest = hashlib.sha256(f"{base_seed}:{name}".encode()).digest()
    return int.from_bytes(digest[:8], "little") % _MAX_SEED + 1


def load_list(path_or_name: str, root: Path) -> RegressionList:
    """Read a list: a path that ends in .yaml, or the name of one in the project's ``ci/``.

    Raises:
        InputError: one line that names the file, the key and the value.
    """
    return read_yaml_record(find_yaml(path_or_name, root / LISTS_FOLDER, kind="regression"), RegressionList)


def expand(
    listed: RegressionList,
    root: Path,
    tests: Collection[str],
    *,
    model: Path | None = None,
    recipe: str | None = None,
    adapters: Sequence[Path] = (),
    base_seed: int | None = None,
) -> tuple[ItemSpec, ...]:
    """The items of a list, in its order.

    Args:
        root: where relative paths begin.
        tests: what the testbench has.
        model: what ``@model`` stands for, as do ``recipe`` for ``@recipe`` and ``adapters`` for ``@adapters``.
        base_seed: in place of the list's own.

    Raises:
        InputError: an unknown test, no chip, a placeholder that nobody fills, adapters that no entry names, or two
            items of one name, or more than ``MAX_ITEMS`` items.
    """
    if adapters and not any(ADAPTERS in names for entry in listed.entries for names in entry.adapters):
        raise InputError(f"no entry of {listed.name} runs {ADAPTERS}", key="--adapter")
    if (size := sum(map(_size, listed.entries))) > MAX_ITEMS:
        raise InputError(
            f"come to {size:,} runs, expected at most {MAX_ITEMS:,}", source=listed.name, key="entries"
        )
    items: list[ItemSpec] = []
    for number, entry in enumerate(listed.entries):
        key = f"entries[{number}]"
        for test in entry.tests:
            if test not in tests:
                raise InputError(
                    f"{shown(test)} is no test of the testbench",
                    source=listed.name,
                    key=f"{key}.tests",
                    hint=f"known are {', '.join(tests)}",
                )
        if not entry.models and not entry.shapes:
            raise InputError("names neither models nor shapes", source=listed.name, key=key)
        items += _items(entry, key, listed, root, model, recipe, adapters, base_seed)
    for name, count in Counter(item.name for item in items).items():
        if count > 1:
            raise InputError(f"{shown(name)} stands twice", source=listed.name, key="entries")
    return tuple(items)


def _items(
    entry: Entry,
    key: str,
    listed: RegressionList,
    root: Path,
    model: Path | None,
    recipe: str | None,
    given: Sequence[Path],
    base_seed: int | None,
) -> Iterator[ItemSpec]:
    def filled(value: str, placeholder: str, given: str | None, field: str) -> str:
        if value != placeholder:
            return value
        if given is None:
            raise InputError(
                f"is {placeholder}, and the command line names none", source=listed.name, key=f"{key}.{field}"
            )
        return given

    folders = [
        filled(name, MODEL, str(model.absolute()) if model else None, "models") for name in entry.models
    ]
    shapes = [
        shape.model_copy(update={"shape": str(root / shape.shape)})
        if shape.shape.endswith(SUFFIXES)
        else shape
        for shape in entry.shapes
    ]
    named = [tuple(_adapters(names, root, given)) for names in entry.adapters]
    chips: list[Path | ShapeEntry] = [*(root / folder for folder in folders), *shapes]
    prompts: Sequence[str | tuple[int, ...] | None] = (*entry.prompts, *entry.prompt_ids) or (None,)
    combinations = product(
        entry.tests,
        chips,
        entry.recipes,
        entry.contexts,
        entry.builds,
        named,
        range(1, entry.seeds + 1),
    )
    for test, chip, recipe_name, context, kind, adapters, number in combinations:
        chosen = filled(recipe_name, RECIPE, recipe, "recipes")
        chosen = str(root / chosen) if chosen.endswith(SUFFIXES) else chosen
        for index, prompt in enumerate(prompts):
            words = [
                test,
                _label(chip),
                *([_bare(chosen)] if chosen else []),
                *(Path(name).name.removeprefix(DRAWN) for name in adapters),
            ]
            words += [f"c{context}"] if context is not None else []
            words += [kind] if kind != "fast" else []
            words += [f"p{index}"] if len(prompts) > 1 else []
            name = item_name([*words, f"s{number}"])
            yield ItemSpec(
                name=name,
                test=test,
                model=str(chip) if isinstance(chip, Path) else None,
                shape=chip if isinstance(chip, ShapeEntry) else None,
                recipe=chosen,
                context=context,
                kind=kind,
                adapters=adapters,
                seed=item_seed(name, listed.base_seed if base_seed is None else base_seed),
                prompt=prompt if isinstance(prompt, str) else None,
                prompt_ids=prompt if isinstance(prompt, tuple) else None,
                tokens=entry.tokens,
                directed=entry.directed,
                vectors=None if entry.vectors is None else str(root / entry.vectors),
                timeout_s=listed.timeout_s,
            )


def _size(entry: Entry) -> int:
    """How many items an entry comes to."""
    chips = len(entry.models) + len(entry.shapes)
    lists = (
        entry.tests,
        entry.recipes,
        entry.contexts,
        entry.builds,
        entry.adapters,
        (*entry.prompts, *entry.prompt_ids) or (None,),
    )
    return math.prod(map(len, lists)) * chips * entry.seeds


def _adapters(names: Sequence[str], root: Path, given: Sequence[Path]) -> Iterator[str]:
    for name in names:
        if name == ADAPTERS:
            yield from (str(folder.absolute()) for folder in given)
        else:
            yield name if name.startswith(DRAWN) else str(root / name)


def _label(chip: Path | ShapeEntry) -> str:
    if isinstance(chip, Path):
        return chip.name
    cut = [f"l{chip.layers}"] if chip.layers is not None else []
    cut += [f"v{chip.vocab}"] if chip.vocab is not None else []
    return "-".join([_bare(chip.shape), *cut, f"w{chip.weights}"])


def _bare(name_or_file: str) -> str:
    """A file's name without its suffix; a name as it is."""
    return Path(name_or_file).name.removesuffix(".yaml").removesuffix(".yml")
