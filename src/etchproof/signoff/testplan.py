"""The testplan: what has to be shown before which stage, and by which tests (docs/testplan.md).

The file is in OpenTitan's schema: Hjson with ``name``, ``import_testplans``, ``testpoints`` (``name``, ``stage``,
``desc``, ``tests``, ``tags``) and ``covergroups`` (``name``, ``desc``). A plan that names a test that does not exist, a
testpoint without tests, or a test that no testpoint claims is refused: each is a promise that nobody keeps.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from etchproof.errors import InputError, shown
from etchproof.files.documents import read_document, unique_keys
from etchproof.project.code import load_module
from etchproof.project.declaration import Project
from etchproof.run.streams import test_modules

Stage = Literal["V1", "V2", "V3"]
STAGES: Final[tuple[Stage, ...]] = ("V1", "V2", "V3")

CHECKS: Final[Mapping[str, str]] = {
    "signoff.lint": "every linter is clean on the chip's rendered SystemVerilog",
    "signoff.fabric_invariance": "another checkpoint of the shape renders the same SystemVerilog, byte for byte",
    "signoff.rom_files": "the ROM files, re-read from disk and reassembled, are the quantized checkpoint",
    "signoff.rom_readback": "every word that the simulated chip's ROM test port answers is that of the ROM files",
    "signoff.rom_signature": "every signature that the chip takes of its ROMs is that of the ROM files",
    "signoff.rom_observability": "what share of the mask's bits the runs are proven to observe",
    "signoff.injected_faults": "proven bits, drawn at random and inverted in simulation, are caught",
    "signoff.quality": "the golden model against the float model",
    "signoff.quantized": "every integer of the quantized checkpoint, held against its files a second time",
    "signoff.checker": "runs that are known to be bad, played to scoreboard and judge, are found and named",
    "signoff.arithmetic": "every operation of the golden model, one at a time, against real arithmetic",
}
"""What ``etchproof signoff`` examines itself, beside the regression; a testpoint claims them like tests."""

LORA: Final = "lora"
"""The tag of testpoints and covergroups that apply only to a chip with slots for adapters."""

_Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
_Text = Annotated[str, Field(min_length=20)]


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", str_strip_whitespace=True)


class Testpoint(_Entry):
    """One thing that has to be shown.

    Attributes:
        name: in snake case, unique.
        stage: the stage that cannot be signed without it.
        desc: the intent, the stimulus and what is checked, for a reader who decides whether that is enough.
        tests: which tests show it: all of them.
        tags: free words to select by; ``LORA`` says what it takes.
    """

    __test__ = False  # pytest: no test class

    name: _Name
    stage: Stage
    desc: _Text
    tests: tuple[str, ...]
    tags: tuple[str, ...] = ()


class CovergroupPlan(_Entry):
    """A covergroup that the coverage model has to have."""

    name: _Name
    desc: _Text
    tags: tuple[str, ...] = ()


class Testplan(_Entry):
    """A whole plan, imports included."""

    __test__ = False

    name: _Name
    testpoints: tuple[Testpoint, ...]
    covergroups: tuple[CovergroupPlan, ...] = ()

    def tagged(self, tag: str) -> tuple[Testpoint | CovergroupPlan, ...]:
        """What bears a tag."""
        entries: tuple[Testpoint | CovergroupPlan, ...] = (*self.testpoints, *self.covergroups)
        return tuple(entry for entry in entries if tag in entry.tags)

    def without(self, tag: str) -> Testplan:
        """The plan for a chip that does not have what bears a tag."""
        points = tuple(point for point in self.testpoints if tag not in point.tags)
        groups = tuple(group for group in self.covergroups if tag not in group.tags)
        return self.model_copy(update={"testpoints": points, "covergroups": groups})

    def stage_points(self, stage: Stage) -> tuple[Testpoint, ...]:
        """The testpoints of a stage and of those before it."""
        wanted = STAGES[: STAGES.index(stage) + 1]
        return tuple(point for point in self.testpoints if point.stage in wanted)


class _File(_Entry):
    """One Hjson file."""

    name: _Name
    import_testplans: tuple[str, ...] = ()
    testpoints: tuple[Testpoint, ...] = ()
    covergroups: tuple[CovergroupPlan, ...] = ()


def is_check(test: str) -> bool:
    """Whether a testpoint's test is one of sign-off's own checks, and none of the testbench."""
    return test in CHECKS


def uvm_tests(module: ModuleType) -> tuple[str, ...]:
    """The names of a testbench module's tests: its classes under ``@pyuvm.test()``, in the order of the file.

    pyuvm leaves a cocotb test ``__NAME`` in the module beside the class ``NAME``.
    """
    names = vars(module)
    return tuple(
        name
        for name, value in names.items()
        if isinstance(value, type) and value.__module__ == module.__name__ and f"__{name}" in names
    )


def all_tests(project: Project, *, of_engine: bool = True) -> tuple[str, ...]:
    """The names of the tests of a project's testbench.

    Args:
        of_engine: whether the engine's are among them, where the project has a ``[host]``.

    Raises:
        InputError: a module cannot be imported, or a name stands in two.
    """
    key = "verif.tests"
    modules = test_modules(project) if of_engine else project.verif.tests
    names = [name for module in modules for name in uvm_tests(load_module(project, module, key=key))]
    if twice := _repeated("test", names):
        raise InputError("; ".join(twice), source=project.file, key=key)
    return tuple(names)


def read_testplan(path: Path) -> Testplan:
    """A testplan as its file says it, imports included; what it promises is not held against anything.

    Raises:
        InputError: the file is bad.
    """
    return _merged(path, set())


def load_testplan(
    path: Path,
    tests: Collection[str],
    covergroups: Collection[str] | None = None,
    *,
    lora: bool = True,
    claimed: Collection[str] | None = None,
) -> Testplan:
    """Read a testplan and hold it against what exists.

    Args:
        path: the Hjson file.
        tests: the testbench's tests.
        covergroups: the coverage model's; None to leave that part unchecked.
        claimed: tests that have to be claimed by a testpoint; all of them, and every check, by default.
        lora: whether the chip has slots for adapters; without them the coverage model has no covergroup tagged so.

    Raises:
        InputError: the file is bad, or promises what nobody keeps; every finding is named.
    """
    plan = read_testplan(path)
    known = {*tests, *CHECKS}
    problems = []
    due, found = [*tests, *CHECKS] if claimed is None else claimed, set[str]()
    for point in plan.testpoints:
        if not point.tests:
            problems.append(f"testpoint {point.name!r} has no tests")
        problems += [
            f"testpoint {point.name!r} names {test!r}, which is no test"
            for test in point.tests
            if test not in known
        ]
        found.update(point.tests)
    problems += [f"no testpoint claims test {test!r}" for test in due if test not in found]
    problems += _repeated("testpoint", [point.name for point in plan.testpoints])
    problems += _repeated("covergroup", [group.name for group in plan.covergroups])
    planned = [group.name for group in plan.covergroups if lora or LORA not in group.tags]
    if covergroups is not None:
        problems += [
            f"covergroup {name!r} is not in the coverage model" for name in planned if name not in covergroups
        ]
        problems += [f"covergroup {name!r} is not planned" for name in covergroups if name not in planned]
    if not plan.testpoints:
        problems.append("has no testpoints")
    if problems:
        raise InputError("; ".join(problems), source=path, key="testplan")
    return plan


def _repeated(what: str, names: Iterable[str]) -> list[str]:
    return [f"{what} {name!r} stands twice" for name, count in Counter(names).items() if count > 1]


def _merged(path: Path, known: set[Path]) -> Testplan:
    """A plan with those that it imports; ``known`` are the files read so far, each of which counts once."""
    path = Path(os.path.realpath(path))  # a loop of links raises nothing
    if path in known:
        raise InputError("is imported twice, or imports itself", source=path, key="import_testplans")
    known.add(path)
    content = _read(path)
    points, groups = [*content.testpoints], [*content.covergroups]
    for name in content.import_testplans:
        imported = _merged(path.parent / name, known)
        points += imported.testpoints
        groups += imported.covergroups
    return Testplan(name=content.name, testpoints=tuple(points), covergroups=tuple(groups))


def _read(path: Path) -> _File:
    import hjson

    data = read_document(path, "Hjson", partial(hjson.loads, object_pairs_hook=unique_keys(path)))
    if not isinstance(data, dict):
        raise InputError("is not an object", source=path)
    try:
        return _File.model_validate(data)
    except ValidationError as error:
        detail = error.errors(include_url=False)[0]
        raise InputError(
            f"is {shown(detail['input'])}: {detail['msg']}",
            source=path,
            key=_key(data, detail["loc"]),
        ) from None


def _key(data: Any, location: tuple[int | str, ...]) -> str:
    """Where a value stands; an entry of a list by its ``name`` where it has one: ``testpoints[rom_linear].stage``."""
    words = ""
    for depth, part in enumerate(location):
        if isinstance(part, str):
            words += f".{part}" if words else part
            continue
        entry = data
        for step in location[: depth + 1]:
            entry = entry[step]
        name = entry.get("name") if isinstance(entry, dict) else None
        words += f"[{name if isinstance(name, str) else part}]"
    return words
