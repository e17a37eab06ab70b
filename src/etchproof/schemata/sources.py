"""One simulator that holds many faults in RTL, of which a plusarg picks one."""

from __future__ import annotations

import random
import shlex
import shutil
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path, PurePath
from typing import Any, Final

from etchproof.errors import InputError
from etchproof.files.regular import read_text
from etchproof.render.fabric import Fabric, make_fabric
from etchproof.render.sources import lint_off
from etchproof.schemata.declared import RtlEdit, planted
from etchproof.schemata.facts import read_facts
from etchproof.schemata.faults import RtlFault, Source, package_source
from etchproof.schemata.holders import PACKAGE
from etchproof.sim.build import TIME_PRECISION
from etchproof.tools import slang_driver

_CONTROL: Final = "ep_faults.vlt"
_NATIVE: Final = Path(__file__).with_name("ep_differs.cpp")
_RTL: Final = (".sv", ".v")
_NOT_LINT: Final = ("COMBDLY", "INFINITELOOP", "LATCH", "MULTIDRIVEN", "SELRANGE", "UNOPTFLAT")
"""Warnings that a fault may cause and that Verilator does not call lint."""


@dataclass(frozen=True)
class Schemata:
    """Sources with faults in them.

    Attributes:
        fabric: what the simulator is built from.
        faults: by the number that the plusarg gives; 0 is none.
        refused: faults that do not elaborate.
    """

    fabric: Fabric
    faults: Mapping[int, RtlFault]
    refused: tuple[RtlFault, ...]


def read_sources(fabric: Fabric, apart: Collection[str]) -> dict[str, Source]:
    """The chip's sources, each with the places in which a fault may be.

    Args:
        apart: names in the fabric that are no part of the chip: taps, testbench, what only a simulation has.
    """
    names = [name for name in fabric.compiled if PurePath(name).suffix in _RTL and name not in apart]
    defines = ["SYNTHESIS", *(f"{name}={value}" for name, value in fabric.setup.defines.items())]
    folders = [fabric.folder / name for name in fabric.setup.include] + [fabric.folder]
    _, compilation = _elaborated(fabric, fabric.folder, _compiled(fabric))
    facts = read_facts(compilation, fabric.folder)
    found = {}
    for name in names:
        file = fabric.folder / name
        found[name] = Source(name, read_text(file), _parse(file, defines, folders), facts)
    return found


def _compiled(fabric: Fabric) -> list[str]:
    return [name for name in fabric.compiled if PurePath(name).suffix in _RTL]


def _parse(file: Path, defines: Sequence[str], folders: Sequence[Path]) -> Any:
    slang_driver()  # refuses where slang is not installed
    import pyslang
    from pyslang.parsing import PreprocessorOptions
    from pyslang.syntax import SyntaxTree

    options = PreprocessorOptions()
    options.predefines = list(defines)
    options.additionalIncludePaths = [str(folder) for folder in folders]
    return SyntaxTree.fromFile(str(file), pyslang.SourceManager(), pyslang.Bag([options]))


def draw(sources: Mapping[str, Source], seed: int, declared: Sequence[RtlEdit] = ()) -> list[RtlFault]:
    """Every fault there is, those of each pair of module and operator one after the other, so that any number of the
    first ones has as many of each as there are: the same order of the same sources and seed. Declared ones come first.

    Raises:
        InputError: one that is declared cannot be planted.
    """
    rng = random.Random(seed)
    pools: dict[tuple[str, str], list[RtlFault]] = defaultdict(list)
    watching = {name for source in sources.values() for name in source.bound}
    for source in sources.values():
        for fault in source.faults():
            if fault.module not in watching:
                pools[fault.module, fault.operator].append(fault)
    for pool in pools.values():
        rng.shuffle(pool)
    drawn = [fault for source in sources.values() for fault in planted(source, declared)]
    while any(pools.values()):
        for key in sorted(pools):
            if pools[key]:
                drawn.append(pools[key].pop())
    return drawn


def make_schemata(
    fabric: Fabric, sources: Mapping[str, Source], faults: Sequence[RtlFault], count: int, out: Path
) -> Schemata:
    """Write sources that hold faults into ``out``, new.

    Args:
        faults: in the order in which they are taken; one that slang refuses is left out, and the next one taken.
        count: how many are to be in it.

    Raises:
        InputError: the sources cannot be elaborated whatever is left out.
    """
    left = enumerate(faults, 1)
    numbered, refused = dict(islice(left, count)), []
    _prepare(fabric, sources, package_source(), out)
    while bad := _planted(fabric, sources, numbered, out):
        refused += [numbered.pop(number) for number in sorted(bad)]
        numbered |= dict(islice(left, count - len(numbered)))
    made = make_fabric(out, [_CONTROL, f"{PACKAGE}.sv", *fabric.sources], fabric.top, fabric.setup)
    return Schemata(made, numbered, tuple(refused))


def make_watching(
    fabric: Fabric, sources: Mapping[str, Source], faults: Mapping[int, RtlFault], out: Path
) -> Schemata:
    """Write sources that are right and watch faults into ``out``, new.

    A simulator of them writes the numbers of those that would have changed a value into the file that ``WATCHED``
    names. Faults that cannot be watched so are refused: one whose text is no expression and no assignment, one in what
    is computed before there is a simulation.

    Raises:
        InputError: the sources cannot be elaborated whatever is left out.
    """
    numbered = {number: fault for number, fault in faults.items() if not fault.is_whole}
    refused = [fault for fault in faults.values() if fault.is_whole]
    _prepare(fabric, sources, package_source(watched=True), out)
    shutil.copyfile(_NATIVE, out / _NATIVE.name)
    while bad := _planted(fabric, sources, numbered, out, watched=True):
        refused += [numbered.pop(number) for number in sorted(bad)]
    names = [_CONTROL, f"{PACKAGE}.sv", *fabric.sources, _NATIVE.name]
    setup = replace(fabric.setup, native=fabric.setup.native | {_NATIVE.name})
    return Schemata(make_fabric(out, names, fabric.top, setup), numbered, tuple(refused))


def _prepare(fabric: Fabric, sources: Iterable[str], package: str, out: Path) -> None:
    """Everything of the sources but the faults."""
    out.mkdir(parents=True)
    for name in fabric.sources:
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(fabric.folder / name, out / name)
    (out / f"{PACKAGE}.sv").write_text(package, encoding="ascii")
    quiet = lint_off((None, *_NOT_LINT), [*sources, f"{PACKAGE}.sv"])
    (out / _CONTROL).write_text(quiet, encoding="utf-8")


def _planted(
    fabric: Fabric,
    sources: Mapping[str, Source],
    numbered: Mapping[int, RtlFault],
    out: Path,
    watched: bool = False,
) -> set[int]:
    """Write the sources with faults; returns those of them that slang refuses."""
    spans = {}
    for name, source in sources.items():
        mine = {number: fault for number, fault in numbered.items() if fault.file == name}
        text, spans[name] = source.with_faults(mine, watched)
        (out / name).write_text(text, encoding="utf-8")
    return _refused(out, [f"{PACKAGE}.sv", *_compiled(fabric)], fabric, spans)


def _refused(
    out: Path, names: Sequence[str], fabric: Fabric, spans: Mapping[str, Sequence[tuple[int, int, int]]]
) -> set[int]:
    """The faults in which slang finds errors.

    Raises:
        InputError: there is an error in none of them.
    """
    driver, compilation = _elaborated(fabric, out, names)
    errors = [found for found in compilation.getAllDiagnostics() if found.isError()]
    bad = set()
    for error in errors:
        place = error.location
        file = Path(compilation.sourceManager.getFullPath(place.buffer))
        name = file.relative_to(out).as_posix() if file.is_relative_to(out) else ""
        here = [number for start, end, number in spans.get(name, ()) if start <= place.offset < end]
        bad |= set(here[-1:])
    if errors and not bad:
        said = driver.diagEngine.formatMessage(errors[0])
        raise InputError(f"cannot be elaborated with faults in it: {said}", source=out)
    return bad


def _elaborated(fabric: Fabric, folder: Path, names: Sequence[str]) -> tuple[Any, Any]:
    """slang's driver and its compilation of sources in a folder, under the setup of a fabric."""
    driver, setup = slang_driver(), fabric.setup
    timescale = "/".join(TIME_PRECISION)
    words = ["slang", "--top", fabric.top, "--timescale", timescale, "--error-limit", "0", *setup.flags]
    words += [word for name in (*setup.include, ".") for word in ("-I", str(folder / name))]
    driver.parseCommandLine(shlex.join([*words, *(str(folder / name) for name in names)]))
    driver.processOptions()
    driver.parseAllSources()
    return driver, driver.createCompilation()
