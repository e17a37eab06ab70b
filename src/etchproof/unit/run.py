"""Runs a unit: its fabric, its simulator, what its taps saw against what the test works out, and the record."""

from __future__ import annotations

import dataclasses
import shlex
import shutil
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from etchproof.compare.comparator import Comparator
from etchproof.contract.taps import Array, Tap, TapPlan, TokenArrays
from etchproof.coverage.verilator import COVERAGE_FILE, read, summary
from etchproof.errors import InputError
from etchproof.render.fabric import Fabric, Setup, make_fabric, place_data
from etchproof.render.sources import copy_as_they_are, take, write_waivers
from etchproof.render.templates import compile_order, library_files
from etchproof.run.flow import cache_folder
from etchproof.sim import build as sim_build
from etchproof.sim.build import Build, Kind
from etchproof.sim.run import SimOutcome, simulate
from etchproof.tools import find_verilator
from etchproof.unit.mutate import Mutants
from etchproof.unit.record import CodeCount, UnitResult
from etchproof.unit.spec import RECORDS, VECTORS, PinTap, PortTap, Stream
from etchproof.verdict.judge import check_fabric, ended
from etchproof.verdict.result import RESULT_FILE, Reason

_TAPS_FILE: Final = "ep_unit_taps.sv"
_CONTROL_FILE: Final = "ep_unit.vlt"
_TEST: Final = "vectors"


class UnitFailedError(AssertionError):
    """The unit is not what the test expects; the message is its verdict.

    Attributes:
        result: the record.
    """

    def __init__(self, result: UnitResult, folder: Path) -> None:
        super().__init__(f"{result}\nrun   {folder}\nrerun {result.rerun}")
        self.result = result


@dataclasses.dataclass(frozen=True)
class Unit:
    """Runs modules for one test of pytest.

    Attributes:
        base: what relative paths start from: the folder of the test's file.
        folder: where runs go, one folder each.
        test: pytest's name of the test.
        rerun: the command that repeats it.
        mutants: faults that are planted beside each run that passes.
    """

    base: Path
    folder: Path
    test: str
    rerun: str
    mutants: Mutants | None = None

    def run(
        self,
        *,
        files: Sequence[str | Path],
        top: str,
        clock: str,
        taps: Sequence[PinTap | PortTap],
        expected: Mapping[str, TokenArrays],
        inputs: Stream | None = None,
        drive: Callable[[Any], Awaitable[None]] | None = None,
        reset: str | None = None,
        constants: Mapping[str, int] | None = None,
        testbench: Sequence[str] = (),
        include: Sequence[str] = (),
        defines: Mapping[str, str] | None = None,
        parameters: Mapping[str, int | str] | None = None,
        data: Sequence[str | Path] = (),
        waive: Mapping[str, str] | None = None,
        build: Kind = "strict",
        seed: int = 1,
        timeout_cycles: int = 100_000,
        timeout_s: float = 600.0,
        equivalent: Mapping[str, str] | None = None,
    ) -> UnitResult:
        """Simulate a module and compare every record of every tap.

        Args:
            files: of the RTL, in the order of compilation; patterns such as ``rtl/*.v`` stand for files by name.
            top: the module.
            clock: its clock pin, driven here.
            taps: what is compared.
            expected: by tap, (records, elements) or an array for each record; as many records as the module makes.
            inputs: what goes in. Either this or ``drive``.
            drive: a cocotb coroutine of the test's file, given the module, that does it instead.
            reset: its reset pin, high for four cycles at first; "!rst_n" for one that is low. None for none.
            constants: pins that keep a value.
            testbench: C++ that is linked into the simulator, such as for DPI-C, and SystemVerilog beside the module;
                patterns as of ``files``.
            include: folders of included files, which are searched for below ``base``.
            defines: macros; ``parameters`` of the top module likewise.
            data: files that the RTL reads, such as by ``$readmemh``: each is found by its path below ``base``.
            waive: warnings of Verilator that do not fail the build, each with its reason.
            build: how the simulator is built; "coverage" measures code coverage.
            seed: of a strict simulator's unknown values.
            timeout_cycles: how long to wait for records after the last input.
            timeout_s: wall-clock limit.
            equivalent: planted faults that change nothing, by name, each with its reason (``pytest --mutate``).

        Raises:
            UnitFailedError: the verdict is FAIL.
            InputError: something of the above cannot be used, a tool is missing, or the build failed.
        """
        plan = TapPlan(tuple(Tap(tap.name, dtype=tap.dtype) for tap in taps))
        _check(plan, expected, inputs, drive)
        folder = self._new_folder()
        waived = {} if waive is None else dict(waive)
        setup = Setup(
            include=tuple(include),
            defines=defines or {},
            parameters={name: str(value) for name, value in (parameters or {}).items()},
            waive=tuple(waived),
        )
        fabric = self._fabric(folder / "fabric", files, testbench, top, clock, taps, setup, data)
        started = time.monotonic()
        verilator = find_verilator()
        config = {
            "taps": sorted(plan.names),
            "clock": clock,
            "reset": reset,
            "constants": dict(constants or {}),
            "inputs": None
            if inputs is None
            else {"valid": inputs.valid, "ready": inputs.ready, "until": inputs.until},
            "drive": None if drive is None else _where(drive),
            "records": sum(len(arrays) for arrays in expected.values()),
            "timeout_cycles": timeout_cycles,
        }

        def simulated(of: Fabric, place: Path, **varied: Any) -> tuple[SimOutcome, list[Reason], Comparator]:
            simulator = sim_build.build(of, build, verilator=verilator, cache_dir=cache_folder())
            shutil.rmtree(place, ignore_errors=True)
            place.mkdir()
            place_data(of, place)
            if inputs is not None:
                vectors = {name: _bits(array) for name, array in inputs.data.items()}
                np.savez(place / VECTORS, allow_pickle=False, **vectors)
            outcome = simulate(
                simulator,
                run_dir=place,
                test_modules=["etchproof.unit.bench"],
                test_case=_TEST,
                images_index=None,
                data=of.setup.data,
                config=config,
                seed=seed,
                timeout_s=timeout_s,
                python_path=[self.base, *map(Path, sys.path)] if drive is not None else [],
                **varied,
            )
            comparator = _compared(plan, expected, place)
            return outcome, _reasons(comparator, outcome, of, simulator), comparator

        place = folder / "run"
        _, reasons, comparator = simulated(fabric, place)
        counted = place / COVERAGE_FILE  # a simulation that broke off leaves none, and has its reason
        own = {name for name in fabric.compiled if not (name.startswith("ep_tap") or name == _TAPS_FILE)}
        result = UnitResult(
            verdict="FAIL" if reasons else "PASS",
            reasons=tuple(reasons),
            test=self.test,
            top=top,
            sources=fabric.sources,
            fabric_sha256=fabric.sha256,
            build=build,
            waived=waived,
            tools={"verilator": str(verilator.version)},
            seed=seed,
            taps=comparator.counts(),
            first_divergence=comparator.first_divergence,
            code=_code(counted, own) if build == "coverage" and (counted.exists() or not reasons) else None,
            wall_s=round(time.monotonic() - started, 3),
            rerun=self.rerun,
        )
        (folder / RESULT_FILE).write_text(result.model_dump_json(indent=1) + "\n", encoding="utf-8")
        if reasons:
            raise UnitFailedError(result, folder)
        if self.mutants is not None:
            self.mutants.hold(
                lambda of, at, **varied: simulated(of, at, **varied)[:2],
                fabric=fabric,
                own=own,
                folder=folder,
                test=self.test,
                equivalent=equivalent or {},
            )
        return result

    def _new_folder(self) -> Path:
        number = 0
        while (folder := self.folder / f"unit{number}").exists():
            number += 1
        folder.mkdir(parents=True)
        return folder

    def _fabric(
        self,
        out: Path,
        files: Sequence[str | Path],
        testbench: Sequence[str],
        top: str,
        clock: str,
        taps: Sequence[PinTap | PortTap],
        setup: Setup,
        data: Sequence[str | Path],
    ) -> Fabric:
        """The module's files as they are, the engine's taps, and what binds them."""
        out.mkdir()
        library = copy_as_they_are(library_files(), library_files()[0].parent, out)
        own, taken = take(
            *(self.base, out),
            files=files,
            testbench=testbench,
            include=setup.include,
            data={str(name): str(name) for name in data},
            source=Path(self.test),
        )
        (out / _TAPS_FILE).write_text("".join(tap.bind(top, clock) for tap in taps), encoding="utf-8")
        (out / _CONTROL_FILE).write_text(
            f'`verilator_config\npublic_flat_rw -module "{top}" -var "*"\n', encoding="utf-8"
        )
        named = dataclasses.replace(setup, included=taken.included, data=taken.data, native=taken.native)
        waivers = write_waivers(out, setup.waive, own)
        names = [*waivers, _CONTROL_FILE, *compile_order(library), *own, _TAPS_FILE]
        return make_fabric(out, names, top, named)


def _check(
    plan: TapPlan,
    expected: Mapping[str, TokenArrays],
    inputs: Stream | None,
    drive: Callable[[Any], Awaitable[None]] | None,
) -> None:
    if (inputs is None) == (drive is None):
        raise InputError("are both given or both left out", key="inputs and drive", hint="give one of them")
    if plan.names != expected.keys():
        odd = sorted(plan.names ^ expected.keys())
        raise InputError(f"is not of the same taps as taps: {', '.join(odd)}", key="expected")
    for name, arrays in expected.items():
        if not len(arrays):
            raise InputError(f"has no record of {name}", key="expected")
    if inputs is not None:
        sizes = {len(array) for array in inputs.data.values()}
        if len(sizes) != 1 or 0 in sizes:
            raise InputError("need ports of equally many vectors, at least one", key="inputs")


def _bits(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Integers as they are, floating point as its bits."""
    found = np.ascontiguousarray(array)
    return found if found.dtype.kind in "iu" else found.view(f"u{found.dtype.itemsize}")


def _where(drive: Callable[[Any], Awaitable[None]]) -> dict[str, str]:
    if "<" in drive.__qualname__:
        raise InputError(
            f"{drive.__qualname__} has no name in its module",
            key="drive",
            hint="the simulator imports it from the test's file: define it there at the top",
        )
    return {"file": drive.__code__.co_filename, "name": drive.__qualname__}


def _compared(plan: TapPlan, expected: Mapping[str, TokenArrays], place: Path) -> Comparator:
    """Every record of every tap; a record too many or too few is a failure."""
    comparator = Comparator(plan)
    comparator.begin(0, None)
    found: dict[str, list[Array]] = {name: [] for name in plan.names}
    if (place / RECORDS).is_file():
        with np.load(place / RECORDS) as stored:
            for name in plan.names & {key.removesuffix(".sizes") for key in stored.files}:
                ends = np.cumsum(stored[f"{name}.sizes"])[:-1]
                found[name] = np.split(stored[f"{name}.data"], ends)
    for layer, name in plan.by_key:
        wanted, got = expected[name], found[name]
        if len(got) > len(wanted):
            comparator.fail("extra_tap", f"{name} has {len(got)} records, expected {len(wanted)}")
        records = [{(layer, name): data} for data in got[: len(wanted)]]
        records += [{} for _ in range(len(wanted) - len(records))]
        comparator.compare(0, [(layer, name)], range(len(wanted)), {(layer, name): wanted}, records)
    return comparator


def _reasons(comparator: Comparator, outcome: SimOutcome, fabric: Fabric, simulator: Build) -> list[Reason]:
    counts = comparator.counts()
    reasons = [Reason(name=failure.name, message=failure.message) for failure in comparator.failures]
    differing = sum(count.mismatches for count in counts)
    if differing:
        reasons.insert(0, Reason(name="mismatch", message=f"{differing} elements differ"))
    if not sum(count.elements for count in counts):
        reasons.append(Reason(name="nothing_compared", message="no element of any tap was compared"))
    # A simulation that broke off explains every record that is missing, so it comes first.
    return ended(outcome, reasons) + reasons + check_fabric(fabric, simulator)


def _code(file: Path, own: set[str]) -> dict[str, CodeCount]:
    """Points of the unit's own files."""
    modules = read(file).modules
    excluded = np.array([point.file not in own for point in modules.points], dtype=bool)
    return {
        kind: CodeCount(passed=passed, points=points)
        for kind, (passed, points) in summary(modules, excluded).items()
    }


def rerun_command(test: str) -> str:
    """How pytest repeats one test."""
    return f"pytest {shlex.quote(test)}"
