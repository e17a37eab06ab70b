"""The project: where a chip's golden model, RTL, templates, recipes and tests are, told by its ``etchproof.toml``.

The engine never imports a project by name. It looks for ``etchproof.toml`` in the current folder and above; with none
there, it uses the reference project: the one that the wheel carries, or the checkout of an editable installation.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from pydantic import ValidationError, model_validator
from pydantic_core import ErrorDetails

from etchproof.errors import InputError, shown
from etchproof.files.documents import read_document
from etchproof.project.sections import (
    ChipSection,
    CoverageSection,
    CyclesSection,
    DiagnoseSection,
    GoldenSection,
    HostSection,
    LoraSection,
    ModelSection,
    QualifySection,
    RecipesSection,
    ReplaySection,
    RomSection,
    RtlSection,
    Section,
    ShapesSection,
    SignoffSection,
    TapsSection,
    Text,
    VerifSection,
)

PROJECT_FILE: Final = "etchproof.toml"

DATA_FILES: Final = (
    *("config.json", "adapter_config.json", "tokenizer.json"),
    *("run.json", "item.json", "regression.json", "signoff.json"),
)
"""What tells a folder of data: a checkpoint, an adapter, a result. No project is found from inside of one."""

_PACKAGE: Final = Path(__file__).resolve().parents[1]


class _File(Section):
    """The whole of ``etchproof.toml``."""

    name: Text
    model: ModelSection | None = None
    golden: GoldenSection
    chip: ChipSection | None = None
    rtl: RtlSection
    rom: RomSection | None = None
    taps: TapsSection
    host: HostSection | None = None
    cycles: CyclesSection | None = None
    lora: LoraSection | None = None
    recipes: RecipesSection | None = None
    shapes: ShapesSection = ShapesSection()
    verif: VerifSection = VerifSection()
    coverage: CoverageSection | None = None
    signoff: SignoffSection = SignoffSection()
    qualify: QualifySection = QualifySection()
    diagnose: DiagnoseSection = DiagnoseSection()
    replay: ReplaySection = ReplaySection()

    @model_validator(mode="after")
    def _is_whole(self) -> _File:
        of_llama = {"chip": self.chip, "recipes": self.recipes}
        if self.model is None and (missing := [key for key, section in of_llama.items() if section is None]):
            raise ValueError(
                f"[{missing[0]}] is missing: without [model] the project takes a Llama under a recipe"
            )
        for key, section in {"recipes": self.recipes, "lora": self.lora}.items():
            if self.model is not None and section is not None:
                raise ValueError(f"[{key}] stands beside [model], which loads models that have no recipe")
        if self.host is None and self.cycles is not None:
            raise ValueError(
                "[cycles] stands without [host]: a testbench of the project's own has its own cycle model"
            )
        if self.host is None and not self.verif.tests:
            raise ValueError("[verif] tests is missing: without [host] the project brings its own tests")
        return self


class Project(_File):
    """A project as read from its ``etchproof.toml``.

    Attributes:
        root: the folder of ``etchproof.toml``, absolute; every path and import of the file starts there.
    """

    root: Path

    @property
    def file(self) -> Path:
        """``etchproof.toml`` itself."""
        return self.root / PROJECT_FILE

    @property
    def hw_dir(self) -> Path | None:
        """The folder of SystemVerilog that goes with the templates."""
        return None if self.rtl.hw is None else self._folder("rtl.hw", self.rtl.hw)

    @property
    def templates_dir(self) -> Path | None:
        """The folder of templates."""
        return None if self.rtl.templates is None else self._folder("rtl.templates", self.rtl.templates)

    @property
    def recipes_dir(self) -> Path:
        """The folder of recipes.

        Raises:
            InputError: it is not there, or the project loads models of its own, which have no recipe.
        """
        return self._folder("recipes.path", self._recipes.path)

    @property
    def default_recipe(self) -> str:
        """The recipe that is used when none is named; "" where models have none."""
        return "" if self.recipes is None else self.recipes.default

    @property
    def _recipes(self) -> RecipesSection:
        if self.recipes is None:
            raise InputError(
                "is missing: the project loads models of its own, which have no recipe",
                source=self.file,
                key="recipes",
            )
        return self.recipes

    @property
    def shapes_dir(self) -> Path:
        """The folder of shapes."""
        return self._folder("shapes.path", self.shapes.path)

    def _folder(self, key: str, value: str) -> Path:
        folder = self.root / value
        if not folder.is_dir():
            raise InputError(f"{value!r} is not a folder below {str(self.root)!r}", source=self.file, key=key)
        return folder


def find_project(start: Path | None = None, data: Iterable[Path] = ()) -> Project:
    """The project of a folder: the nearest ``etchproof.toml`` in it or above it, else the reference project.

    A project's code is run, and data of other people must run none. So a project that nobody named is refused where
    the search began inside a folder of data, in which its file may have come with the data.

    Args:
        start: where to begin; the current folder by default.
        data: what the command reads or writes as data: checkpoints, adapters, folders of results.

    Raises:
        InputError: the file is not valid, or would be found from a folder of data, or there is none and no reference
            project is installed.
    """
    begin = (start or current_folder()).resolve()
    for folder in (begin, *begin.parents):
        if (folder / PROJECT_FILE).is_file():
            if folder not in _references():
                _refuse_data(begin, folder, data)
            return load_project(folder)
    return load_project(reference_root())


def current_folder() -> Path:
    """The current folder.

    Raises:
        InputError: it is gone, or its path is not UTF-8, which no record could hold.
    """
    try:
        folder = Path.cwd()
    except OSError as error:
        raise InputError(f"cannot be used: {error.strerror}", key="the current folder") from None
    _check_utf8(folder, "the current folder")
    return folder


def _refuse_data(begin: Path, root: Path, data: Iterable[Path]) -> None:
    """Refuse the project in ``root`` where ``begin``, in it or below it, lies in a folder of data."""
    found = [folder for folder in data if begin.is_relative_to(os.path.realpath(folder))]
    why = [f"{str(found[0])!r} is data of this command"] if found else []
    for folder in (begin, *begin.parents):
        why += [f"{str(folder)!r} holds {name}" for name in DATA_FILES if (folder / name).exists()]
        if folder == root:
            break
    if why:
        raise InputError(
            f"was found from a folder of data, and is not used unless it is named: {why[0]}",
            source=root / PROJECT_FILE,
            hint="its code would be run; say --project DIR, or run from another folder",
        )


def _check_utf8(path: Path, key: str) -> None:
    try:
        str(path).encode("utf-8")
    except UnicodeEncodeError:
        raise InputError("is not a path in UTF-8", source=path, key=key) from None


def reference_root() -> Path:
    """The folder of the reference project: in the wheel, or the checkout of an editable installation.

    Raises:
        InputError: neither is there.
    """
    for root in _references():
        if (root / PROJECT_FILE).is_file():
            return root
    raise InputError(
        "not in the current folder or above it, and this installation carries no reference project",
        key=PROJECT_FILE,
        hint="run inside a project or reinstall etchproof",
    )


def _references() -> tuple[Path, Path]:
    """Where the reference project may be: in the wheel, or in the checkout of an editable installation."""
    return _PACKAGE / "_reference", _PACKAGE.parents[1]


def load_project(path: Path) -> Project:
    """Reads a project from its ``etchproof.toml`` or the folder that holds it.

    Raises:
        InputError: unreadable, not TOML, or a key is missing, unknown or of the wrong kind; all are named.
    """
    file = Path(
        os.path.realpath(path / PROJECT_FILE if path.is_dir() else path)
    )  # a loop of links raises nothing
    _check_utf8(file.parent, "--project")
    data = read_document(file, "TOML", tomllib.loads)
    try:
        content = _File.model_validate(data)
    except ValidationError as error:
        raise InputError("; ".join(map(_problem, error.errors())), source=file) from error
    return Project(root=file.parent, **dict(content))


def _problem(detail: ErrorDetails) -> str:
    """One validation error, with the key as it would be written in the file."""
    key = ".".join(str(part) for part in detail["loc"])
    match detail["type"]:
        case "extra_forbidden":
            return f"unknown key {key!r}"
        case "missing":
            return f"key {key!r} is missing"
        case "value_error":
            said = detail["msg"].removeprefix("Value error, ")
            return f"{key}: {said}" if key else said
    return f"{key} is {shown(detail['input'])}: {detail['msg']}"
