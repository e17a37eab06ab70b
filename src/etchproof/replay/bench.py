"""A chip that a replay simulates: the whole one, or one layer alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from etchproof.contract.alone import Alone
from etchproof.contract.golden import GoldenSession
from etchproof.contract.taps import TapKey
from etchproof.diagnose.evidence import gather
from etchproof.errors import InputError
from etchproof.host.stimulus import VECTORS
from etchproof.regress.execute import test_config
from etchproof.replay.record import FedSequence
from etchproof.replay.stored import Fed, Stored
from etchproof.replay.subject import Subject
from etchproof.run import flow, hooks, slots
from etchproof.run.flow import Injection
from etchproof.run.slots import Fault, LoadedAdapter
from etchproof.run.streams import generation_test
from etchproof.run.testrun import Chip, TestRun, Variation, etch_model, run_test, with_simulator
from etchproof.run.watcher import Watcher
from etchproof.run.waves import Window
from etchproof.sim.build import Kind
from etchproof.sim.forks import Launcher, start

_KEY = "--alone"


@dataclass(frozen=True)
class Bench:
    """A chip that is ready to be fed.

    Attributes:
        subject: what it is of.
        chip: with its simulator.
        loaded: its adapters; ``adapters`` says where each of the run's is among them.
        injections: bits that only the simulator reads inverted; ``faults`` likewise, in adapters.
        unit: the unit that is looked at, as this chip has it.
        vectors: what is fed where the chip takes vectors; None where it takes tokens.
        session: makes a session of the golden model; None for the project's own.
    """

    subject: Subject
    chip: Chip
    loaded: tuple[LoadedAdapter, ...]
    adapters: Mapping[int, int]
    injections: tuple[Injection, ...]
    faults: tuple[Fault, ...]
    unit: TapKey
    vectors: NDArray[np.int64] | None = None
    session: Callable[[], GoldenSession] | None = None

    def feed(
        self,
        sequences: Sequence[FedSequence],
        folder: Path,
        *,
        launcher: Launcher = start,
        keeps_taps: bool = False,
        waves: Window | None = None,
    ) -> TestRun:
        """Simulate sequences of given items, each with one answer more than it has items but one."""
        project = self.subject.project
        config: dict[str, Any]
        if self.vectors is not None:
            test = VECTORS
            config = {"vectors": self.vectors[[item for one in sequences for item in one.items]].tolist()}
        else:
            test = generation_test(project)
            config = {
                "sequences": [
                    {
                        "prompt": list(one.items),
                        "new_tokens": 1,
                        "stop_tokens": [],
                        "adapter": None if one.adapter is None else self.adapters.get(one.adapter),
                    }
                    for one in sequences
                ],
                "adapter_faults": [dict(fault) for fault in self.faults],
            }
        return self._run(test, config, folder, launcher=launcher, keeps_taps=keeps_taps, waves=waves)

    def play(self, folder: Path, *, keeps_taps: bool = False, waves: Window | None = None) -> TestRun:
        """Simulate the test of the stored run as it was."""
        spec = self.subject.spec
        config = test_config(spec, self.chip.design, self.loaded)
        return self._run(spec.test, config, folder, launcher=start, keeps_taps=keeps_taps, waves=waves)

    def _run(
        self,
        test: str,
        config: Mapping[str, Any],
        folder: Path,
        *,
        launcher: Launcher,
        keeps_taps: bool,
        waves: Window | None,
    ) -> TestRun:
        request = self.subject.job.request
        return run_test(
            self.chip,
            test,
            folder,
            seed=request.seed,
            config=config,
            adapters=self.loaded,
            injections=self.injections,
            timeout_s=request.timeout_s,
            variation=Variation(launcher=launcher, keeps_taps=keeps_taps, golden=self.session),
            waves=waves,
        )


def whole_chip(
    subject: Subject,
    unit: TapKey,
    vectors: NDArray[np.int64] | None,
    folder: Path,
    kind: Kind,
    watcher: Watcher,
) -> Bench:
    """The whole chip, rendered and etched into a folder."""
    job = subject.job
    etched = etch_model(job.design, subject.model, folder, watcher)
    injections = flow.locate(subject.project, etched.plan, job.rom_sites, etched.images)
    chip = with_simulator(etched, kind, flow.cache_folder(), watcher)
    same = {index: index for index in range(len(subject.loaded))}
    return Bench(subject, chip, subject.loaded, same, injections, job.adapter_faults, unit, vectors)


def layer_chip(
    subject: Subject,
    unit: TapKey,
    vectors: NDArray[np.int64],
    used: Sequence[int],
    folder: Path,
    kind: Kind,
    watcher: Watcher,
) -> Bench:
    """The layer of a unit alone, rendered and etched into a folder.

    Args:
        vectors: (vectors, elements) what entered the layer.
        used: which of the run's adapters are fed.

    Raises:
        InputError: a fault is in an adapter, or the layer cannot be made.
    """
    job, layer = subject.job, unit[0]
    if job.adapter_faults:
        hint = f"leave out {_KEY}: the whole chip is simulated then"
        raise InputError(
            "stands with a fault in an adapter's memory, which only the whole chip has", key=_KEY, hint=hint
        )
    if job.rom_sites and hooks.site(subject.project) is None:
        hint = f"leave out {_KEY}"
        raise InputError("stands with a fault in a memory that the RTL fills itself", key=_KEY, hint=hint)
    made = _alone(subject, layer).chip(vectors)
    design = replace(job.design, plan=made.plan)
    etched = etch_model(design, made.model, folder, watcher, made.renderings, made.images)
    injections = []
    for one in flow.locate(subject.project, job.design.plan, job.rom_sites):
        place = made.image((one.layer, one.image))
        if place is not None:
            injections.append(replace(one, layer=place[0], image=place[1]))
    chip = with_simulator(etched, kind, flow.cache_folder(), watcher)
    kept = [index for index in sorted(used) if made.adapters[index].linears]
    loaded = slots.place(design, [made.adapters[index] for index in kept])
    places = {index: place for place, index in enumerate(kept)}
    return Bench(subject, chip, loaded, places, tuple(injections), (), (0, unit[1]), session=made.session)


def layer_inputs(subject: Subject, stored: Stored) -> tuple[tuple[Fed, ...], NDArray[np.int64]]:
    """What entered the layer of the unit in the stored run: its items, each the number of its vector, and the vectors.

    They are the chip's own, as it recorded them. Items of which it recorded none are left out.

    Raises:
        InputError: the project makes no layer alone, or the unit is in none.
    """
    design, adapters = subject.design, [one.quantized for one in subject.loaded]
    source = _alone(subject, stored.unit[0]).source
    seen = gather(stored.kept, design.taps, flow.make_golden(design, subject.model, adapters)).chip
    token = {
        (int(sequence), int(position)): number
        for number, (sequence, position) in enumerate(zip(seen.sequences, seen.positions, strict=True))
    }
    fed = [one for one in stored.fed if (one.sequence, one.position) in token]
    if not fed:
        raise InputError("recorded no vector that enters the layer", source=stored.folder, key=_KEY)
    at = np.array([token[one.sequence, one.position] for one in fed], np.intp)
    return tuple(one._replace(item=row) for row, one in enumerate(fed)), seen.of(source, at)


def _alone(subject: Subject, layer: int) -> Alone:
    project = subject.project
    makes = hooks.alone(project)
    if makes is None:
        raise InputError(
            "is missing: the project makes no layer alone",
            source=project.file,
            key="replay.alone",
            hint=f"leave out {_KEY}",
        )
    if layer < 0:
        hint = f"leave out {_KEY}, or name a unit of a layer with --unit"
        raise InputError("stands with a unit outside the layers", key=_KEY, hint=hint)
    return makes(subject.model, subject.design.plan, layer, [one.quantized for one in subject.loaded])
