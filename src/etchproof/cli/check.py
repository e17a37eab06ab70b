"""``etchproof check``: what a project declares, what of it is missing, and what is not measured without the rest."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Final

from pydantic import BaseModel
from rich.table import Table
from rich.text import Text

from etchproof.cli.console import make_console
from etchproof.cli.source import choose_project
from etchproof.errors import InputError
from etchproof.project.code import load_module
from etchproof.project.declaration import Project
from etchproof.project.filelist import with_lists
from etchproof.project.sections import HostSection
from etchproof.render.pins import port_problems
from etchproof.render.sources import matched
from etchproof.run import flow
from etchproof.run.hooks import hook

CAPABILITIES: Final = {
    "rom": "no mask ROM: no --inject, no ROM image is part of a result",
    "cycles": "no cycle model of a chip with a [host]",
    "lora": "no adapters: no --adapter",
    "lora.drawn": "no drawn adapters in lists",
    "lora.site": "no --inject of a bit of an adapter",
    "host": "no tests of the engine's: the project brings its own testbench",
    "verif.expect": "a run of a test of the project's own is no PASS",
    "coverage": "no coverage model: neither bits of the mask nor bins are measured",
    "coverage.rom": "neither bits of the mask nor sums are observed",
    "coverage.corners": "no weights for the corners: no --corners",
    "coverage.exclusions": "code coverage leaves out what the file of exclusions says, and no more",
}
"""What a project may leave out, and what it then does without."""

_OBJECT: Final = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")
"""What names a function: ``module:attribute``."""

_FOLDERS: Final = {
    "rtl.hw": "hw_dir",
    "rtl.templates": "templates_dir",
    "recipes.path": "recipes_dir",
    "shapes.path": "shapes_dir",
}
"""The keys that name a folder, and the project's word for it."""

_FILES: Final = ("signoff.testplan", "signoff.gates", "signoff.waivers", "signoff.exclusions")


def run_check(*, project: Path | None) -> int:
    """0: all that is declared is there; 2 otherwise."""
    found = choose_project(project)
    table = Table(box=None, padding=(0, 2, 0, 0))
    for heading in ("key", "", "declared"):
        table.add_column(heading, overflow="fold")
    missing = 0
    for key, value, problem in _findings(found):
        missing += problem is not None
        state = Text("ok", style="green") if problem is None else Text("missing", style="bold red")
        table.add_row(Text(key), state, Text(value if problem is None else problem))
    for key, without in CAPABILITIES.items():
        section, _, name = key.partition(".")
        if _value(found, key) is None and (not name or _value(found, section) is not None):
            table.add_row(Text(key), Text("absent", style="yellow"), Text(without))
    console = make_console()
    console.print(table)
    console.print(f"project {found.name}, {found.file}", soft_wrap=True)
    if missing:
        raise InputError(f"{missing} of what it declares cannot be used", source=found.file, hint="see above")
    return 0


def _findings(project: Project) -> Iterator[tuple[str, str, str | None]]:
    """Each declared key, its value, and what is wrong with it."""
    for key, name in _code(project):
        yield key, name, _refused(partial(hook, project, key, name))
    for module in project.verif.tests:
        yield "verif.tests", module, _refused(partial(load_module, project, module, key="verif.tests"))
    for text in project.rtl.filelist:
        yield "rtl.filelist", text, _refused(partial(with_lists, project))
    patterns = {
        "rtl.files": project.rtl.files,
        "rtl.testbench": project.rtl.testbench,
        "rtl.include": project.rtl.include,
        "rtl.data": tuple(project.rtl.data.values()),
        "golden.data": project.golden.data,
    }
    for key, named in patterns.items():
        for pattern in named:
            path = f"{pattern}/*" if key == "rtl.include" else pattern
            find = partial(matched, project.root, [path], source=project.file, key=key)
            yield key, pattern, _refused(find)
    if project.host is not None:
        yield from _ports(project, project.host)
    for key, folder in _FOLDERS.items():
        of_llama = key in ("recipes.path", "shapes.path")
        if (value := _value(project, key)) is not None and not (of_llama and project.model is not None):
            yield key, value, _refused(partial(getattr, project, folder))
    if project.recipes is not None:
        yield "recipes.default", project.recipes.default, _refused(partial(flow.read_recipe, project, None))
    if project.coverage is not None:
        for key in _FILES:
            name = str(_value(project, key))
            yield key, name, None if (project.root / name).is_file() else f"{name!r} is no file"


def _ports(project: Project, host: HostSection) -> Iterator[tuple[str, str, str | None]]:
    """What is wrong with the ports that ``[host]`` names."""
    try:
        problems = list(port_problems(project, host))
    except InputError as error:
        yield f"{error.key}", project.rtl.top, error.problem
        return
    yield from problems
    if not problems:
        yield "host", "its ports are those of the chip", None


def _code(project: Project) -> Iterator[tuple[str, str]]:
    """Each key that names a function."""
    for section in type(project).model_fields:
        record = getattr(project, section)
        for name in type(record).model_fields if isinstance(record, BaseModel) else ():
            value = getattr(record, name)
            if isinstance(value, str) and _OBJECT.fullmatch(value):
                yield f"{section}.{name}", value


def _refused(use: Callable[[], object]) -> str | None:
    """The one line of what cannot be used; None where it can."""
    try:
        use()
    except InputError as error:
        return error.problem
    return None


def _value(project: Project, key: str) -> str | None:
    """A key's value; of a section that is there, its name."""
    found: object = project
    for part in key.split("."):
        if found is None:
            return None
        found = getattr(found, part)
    return key if isinstance(found, BaseModel) else None if found is None else str(found)
