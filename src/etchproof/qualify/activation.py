"""Whether what a survivor changes was ever another value: one run of each test tells it of all survivors at once.

A fault that no run activates is a question to the stimulus; one that is activated and changes no tap is one to the
chip: somebody has to say why nothing follows from it.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from pathlib import Path
from typing import Final

from etchproof.errors import InputError
from etchproof.qualify.trial import Proven
from etchproof.run import flow
from etchproof.run.testrun import Etched
from etchproof.schemata.faults import WATCHED, RtlFault, Source
from etchproof.schemata.sources import make_watching
from etchproof.sim.build import Kind, build
from etchproof.tools import find_verilator

_FOLDER: Final = "watching"


def activation(
    chip: Etched,
    sources: Mapping[str, Source],
    survivors: Mapping[int, RtlFault],
    runs: Sequence[Proven],
    kind: Kind,
    out: Path,
    pool: Executor,
) -> dict[str, bool]:
    """By name of each fault that can be watched, whether a run activates it.

    Args:
        survivors: by number.
        kind: of simulator, for all runs: what is asked is a matter of the stimulus.

    Raises:
        InputError: a run of the watching chip, which has no fault, is no PASS.
    """
    shutil.rmtree(out / _FOLDER, ignore_errors=True)
    watching = make_watching(chip.fabric, sources, survivors, out / _FOLDER / "sources")
    if not watching.faults:
        return {}
    made = build(watching.fabric, kind, verilator=find_verilator(), cache_dir=flow.cache_folder())

    def told(run: Proven) -> set[int]:
        folder = out / _FOLDER / run.record.name
        file = (folder / "told").absolute()
        folder.mkdir(parents=True)
        plusargs = (f"+{WATCHED}={file}",)
        done = run.trial.run(folder, made, watching.fabric, run.trial.spec.timeout_s, plusargs=plusargs)
        if not done.passed:
            reason = done.reasons[0]
            problem = f"is no PASS while faults are watched: {reason.name}: {reason.message}"
            raise InputError(problem, source=run.record.name)
        return {int(line) for line in file.read_text().split()} if file.exists() else set()

    numbers = set().union(*pool.map(told, runs))
    for run in runs:
        run.trial.golden.forget()
    return {fault.name: number in numbers for number, fault in watching.faults.items()}
