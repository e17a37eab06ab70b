"""The project: where a chip's golden model, RTL, templates, recipes and tests are, told by its ``etchproof.toml``.

The engine never imports a project by name. It looks for ``etchproof.toml`` in the current folder and above; with none
there, it uses the reference project: the one that the wheel carries, or the checkout of an editable installation.
"""

from __future__ import annotations

import importlib
import os
import sys
import tomllib
import traceback
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any, Final

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails

from etchproof.errors import InputError, shown
from etchproof.files.documents import read_document

PROJECT_FILE: Final = "etchproof.toml"

DATA_FILES: Final = (
    *("config.json", "adapter_config.json", "tokenizer.json"),
    *("run.json", "item.json", "regression.json", "signoff.json"),
)
"""What tells a folder of data: a checkpoint, an adapter, a result. No project is found from inside of one."""

_PACKAGE: Final = Path(__file__).resolve().parents[1]

ObjectName = Annotated[str, Field(pattern=r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(\.[A-Za-z_]\w*)*$")]
"""``package.module:attribute``, imported from the project's root."""

ModuleName = Annotated[str, Field(pattern=r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*$")]
Text = Annotated[str, Field(min_length=1)]


def _tuple(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value


def _modules(value: object) -> object:
    return tuple(value) if isinstance(value, list) else (value,)


def _places(value: object) -> object:
    """A list of files is looked for where each lies."""
    return {name: name for name in value} if isinstance(value, list) else value


Texts = Annotated[tuple[Text, ...], BeforeValidator(_tuple)]
"""A list of texts."""

ModuleNames = Annotated[tuple[ModuleName, ...], Field(min_length=1), BeforeValidator(_modules)]
"""One module, or a list of them."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class GoldenSection(_Section):
    """``[golden]``: the quantized PyTorch model."""

    factory: ObjectName


class ChipSection(_Section):
    """``[chip]``: ``plan(config, recipe)`` works out the chip: the project's own record of its shapes and widths."""

    plan: ObjectName


class RtlSection(_Section):
    """``[rtl]``: what is simulated: files as they are, rendered ones, or both. Paths are relative to the root.

    Attributes:
        top: the top module.
        files: patterns of files of any suffix, copied byte for byte, in the order of compilation.
        include: folders of included files.
        defines: macros; an empty value defines the name alone.
        data: files that the RTL reads while it runs, by where it looks from its working folder.
        waive: warnings of Verilator that do not fail the build, each with its reason.
        renderings: ``renderings(plan)`` says what to render of the folder ``templates``.
        templates: the folder of templates.
        hw: a folder of SystemVerilog that goes with them: each ``.sv`` below it is copied into one flat folder.
    """

    top: Annotated[str, Field(pattern=r"^[A-Za-z_]\w*$")]
    files: Texts = ()
    include: Texts = ()
    defines: dict[str, str] = {}
    data: Annotated[dict[str, Text], BeforeValidator(_places)] = {}
    waive: dict[str, Text] = {}
    renderings: ObjectName | None = None
    templates: Text | None = None
    hw: Text | None = None

    @model_validator(mode="after")
    def _names_something(self) -> RtlSection:
        if not (self.files or self.hw or self.renderings):
            raise ValueError("names nothing: give files, or renderings with templates and hw")
        return self


class RomSection(_Section):
    """``[rom]``: the mask ROM; a chip whose weights are none of the engine's images has no such section.

    ``images(model, plan)`` gives its images, ``site(text, plan)`` where a weight's bit is etched.
    """

    images: ObjectName
    site: ObjectName


class TapsSection(_Section):
    """``[taps]``: ``plan(plan)`` declares the taps of a chip, in dataflow order (``etchproof.contract.taps.Tap``)."""

    plan: ObjectName


class LoraSection(_Section):
    """``[lora]``: how an adapter enters the chip; a chip that takes none has no such section.

    ``frame(plan, adapter, slot)`` gives the words that the host writes, uint32, and ``load_cycles(plan, frame)`` the
    cycles that the chip takes for them. ``drawn(kind, model, plan, seed)`` draws adapters that show what trained ones
    do not; a list or ``--adapter`` names a kind as ``@kind``.
    """

    frame: ObjectName
    load_cycles: ObjectName
    drawn: ObjectName | None = None


class RecipesSection(_Section):
    """``[recipes]``: the folder of recipes, relative to the root, and the one used when none is named."""

    path: Text = "models/recipes"
    default: Text


class ShapesSection(_Section):
    """``[shapes]``: the folder of architectures without weights, relative to the root."""

    path: Text = "models/shapes"


class VerifSection(_Section):
    """``[verif]``: the modules whose tests cocotb runs, the test that generates text, and what a run has to do.

    ``expect(test, run)`` says beforehand what a run of any other test has to do (``etchproof.verdict.expect``), None
    for a test that it does not know. It is called in the process that starts the simulator; without it such a run is
    no PASS.
    """

    tests: ModuleNames
    expect: ObjectName | None = None
    generation: Annotated[str, Field(pattern=r"^[A-Za-z_]\w*$")] = "GreedyGeneration"


class CoverageSection(_Section):
    """``[coverage]``: the coverage model.

    ``rom(model, plan)`` names what the mask holds (``etchproof.coverage.rom``), ``groups(plan)`` the covergroups,
    ``sampler(model, plan)`` makes what fills them from a run (``etchproof.coverage.functional``),
    ``rom_files(model, plan, images)`` compares the ROM files with the checkpoint: problems, bits of padding.
    ``corners(model, plan, seed)`` draws a model for the same fabric whose weights reach what trained ones do not.
    """

    rom: ObjectName
    groups: ObjectName
    sampler: ObjectName
    rom_files: ObjectName
    corners: ObjectName | None = None


class SignoffSection(_Section):
    """``[signoff]``: files, relative to the root, and two tests of the testbench.

    ``directed`` feeds given sequences of tokens; ``readback`` reads the mask ROM back and leaves ``readback.json``.
    """

    testplan: Text = "verif/testplan.hjson"
    gates: Text = "verif/signoff.yaml"
    waivers: Text = "verif/waivers.yaml"
    exclusions: Text = "verif/coverage-exclusions.yaml"
    directed: Annotated[str, Field(pattern=r"^[A-Za-z_]\w*$")] = "DirectedTokens"
    readback: Annotated[str, Field(pattern=r"^[A-Za-z_]\w*$")] = "RomReadback"


class _File(_Section):
    """The whole of ``etchproof.toml``."""

    name: Text
    golden: GoldenSection
    chip: ChipSection
    rtl: RtlSection
    rom: RomSection | None = None
    taps: TapsSection
    lora: LoraSection | None = None
    recipes: RecipesSection
    shapes: ShapesSection = ShapesSection()
    verif: VerifSection
    coverage: CoverageSection | None = None
    signoff: SignoffSection = SignoffSection()


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
        """The folder of recipes."""
        return self._folder("recipes.path", self.recipes.path)

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


def load_object(project: Project, name: str, *, key: str | None = None) -> Any:
    """Imports ``module:attribute`` from the project's root, which is put first on ``sys.path`` once.

    Args:
        project: whose root the import starts from.
        name: a value of its ``etchproof.toml``, such as ``project.golden.factory``.
        key: the key that the value stands under ("golden.factory"), for the message.

    Raises:
        InputError: there is no such module or attribute, importing it failed, or the module came from another folder.
    """
    module_name, _, attribute = name.partition(":")
    if not attribute:
        raise InputError(f"{name!r} is not of the form 'module:attribute'", source=project.file, key=key)
    found: Any = _import(project, module_name, name, key)
    for part in attribute.split("."):
        try:
            found = getattr(found, part)
        except AttributeError as error:
            raise InputError(
                f"{name!r}: {module_name} has no {attribute!r}", source=project.file, key=key
            ) from error
    return found


def load_module(project: Project, name: str, *, key: str | None = None) -> ModuleType:
    """Imports a module from the project's root; arguments and errors as for ``load_object``."""
    return _import(project, name, name, key)


def _import(project: Project, name: str, value: str, key: str | None) -> ModuleType:
    """Imports module ``name``; ``value`` is what the project's file says."""
    root = str(project.root)
    if root not in sys.path:
        sys.path.insert(0, root)
    try:
        module = importlib.import_module(name)
    except Exception as error:
        # A project's file may fail in any way; the line names the place, the cause keeps the traceback.
        place = traceback.extract_tb(error.__traceback__)[-1]
        own = Path(place.filename).is_relative_to(project.root)
        what = type(error).__name__ + (f" at {place.filename}:{place.lineno}" if own else "")
        raise InputError(
            f"{value!r} cannot be imported: {what}: {error}", source=project.file, key=key
        ) from error
    _check_origin(project, module, value, key)
    return module


def _check_origin(project: Project, module: ModuleType, value: str, key: str | None) -> None:
    """Refuses a namesake: ``models`` already imported from, or shadowed by, another project."""
    top = project.root / module.__name__.partition(".")[0]
    own = top.is_dir() or top.with_suffix(".py").is_file()
    origin = getattr(module, "__file__", None)  # a module of the interpreter has none
    if own and origin is not None and not Path(origin).resolve().is_relative_to(project.root):
        raise InputError(
            f"{value!r} was imported from {origin}, not from this project",
            source=project.file,
            key=key,
            hint="one process serves one project",
        )


def _problem(detail: ErrorDetails) -> str:
    """One validation error, with the key as it would be written in the file."""
    key = ".".join(str(part) for part in detail["loc"])
    match detail["type"]:
        case "extra_forbidden":
            return f"unknown key {key!r}"
        case "missing":
            return f"key {key!r} is missing"
    return f"{key} is {shown(detail['input'])}: {detail['msg']}"
