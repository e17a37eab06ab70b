"""What each test of the testbench has to do, and that no record of another run counts for it.

A perfect chip is played from the expectation; then each record of it is dropped, repeated, moved and altered in turn.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from etchproof.compare.comparator import (
    Comparison,
    LoadRecord,
    RequestRecord,
    ResetRecord,
    RomRecord,
    SequenceCount,
    TapCount,
    TokenRecord,
)
from etchproof.compare.readback import Readback, UnitReadback
from etchproof.contract.taps import TapPlan
from etchproof.project.code import load_object
from etchproof.project.declaration import load_project
from etchproof.quantize.quantized_model import QuantizedModel
from etchproof.render.images import ImageSet
from etchproof.run import flow, slots
from etchproof.run.design import Design
from etchproof.run.slots import LoadedAdapter
from etchproof.signoff.testplan import all_tests
from etchproof.sim.run import SimOutcome
from etchproof.verdict.expect import Beside, CutOff, Expectation, Loaded, PlannedRun, Request, Reset
from etchproof.verdict.fed import check_fed
from etchproof.verdict.judge import judge
from tests.conftest import ROOT
from verif.protocol import LoadStatus
from verif.scenarios.acts import LoadFrame
from verif.scenarios.stimulus import READS_BACK, TESTS, acts, expect

OUTCOME = SimOutcome("passed", 0, ("verif.tests.Any",), (), 1.0, Path("results.xml"), Path("sim.log"))
PROJECT = load_project(ROOT)
SOME = 12  # records of each kind that are altered


@pytest.fixture(scope="module")
def chip(tiny_checkpoint: Path) -> tuple[Design, QuantizedModel]:
    design = flow.plan_design(PROJECT, tiny_checkpoint, flow.read_recipe(PROJECT, "w6a16"), 18)
    return design, flow.quantize_design(design, flow.cache_folder())


@pytest.fixture(scope="module")
def images(chip: tuple[Design, QuantizedModel], tmp_path_factory: pytest.TempPathFactory) -> ImageSet:
    return flow.etch(*chip, tmp_path_factory.mktemp("images") / "rom")


@pytest.fixture(scope="module")
def adapters(chip: tuple[Design, QuantizedModel]) -> tuple[LoadedAdapter, ...]:
    design, model = chip
    return slots.run_adapters(design, model, ["@corners"], 1, flow.cache_folder())


def planned(chip: Any, images: ImageSet, adapters: Any, seed: int = 1) -> PlannedRun:
    config = {"directed": [[1, 5, 9], [7]]}
    return PlannedRun(chip[0].plan, seed, config, [adapter.frame for adapter in adapters], images)


class Perfect:
    """The records of a run that does what it has to do."""

    def __init__(self, expectation: Expectation, beside: int = 7) -> None:
        self.requests: list[RequestRecord] = []
        self.slots: list[int | None] = []  # of sequences
        self.places: list[tuple[int, int, int]] = []  # of loads: requests before, sequence, tokens held
        self.tokens: list[TokenRecord] = []
        self.resets: list[ResetRecord] = []
        self.sequences: list[int | None] = []
        self._held, self._beside = 0, beside
        for step in expectation.steps:
            self._play(step)
        while len(self.places) < len(expectation.loads):
            self.places.append((len(self.requests), len(self.sequences) - 1, self._held))
        self.loads = [
            LoadRecord(
                adapter=load.adapter if 0 in load.statuses else None,
                slot=load.slot if load.slot is not None else 15,
                words=load.words,
                sha256=load.sha256,
                status=min(load.statuses),
                cycles=load.words + 3 * load.stalled,
                cycles_model=load.words,
                stalled=load.stalled,
                requests=place[0],
                sequence=place[1],
                held=place[2] or None,
            )
            for load, place in zip(expectation.loads, self.places, strict=True)
        ]
        self.roms = [
            RomRecord(op=read.op, unit=read.unit, word=read.word, words=read.words, status=min(read.statuses))
            for read in expectation.roms
        ]

    def _play(self, step: Any) -> None:
        match step:
            case Request():
                self._request(step)
            case Loaded(loads=loads):
                while len(self.places) < loads:
                    self.places.append((len(self.requests), len(self.sequences) - 1, self._held))
            case Reset(position=position, cycles=cycles):
                self._reset(position, cycles)
            case CutOff(requests=requests):
                for request in requests[:1]:
                    self._request(request)
                self._reset(1, 1)
            case Beside(requests=endless):
                for request in islice(endless, self._beside):
                    self._request(request)

    def _reset(self, position: int | None, cycles: int) -> None:
        self._held = 0
        self.resets.append(
            ResetRecord(
                tokens=len(self.tokens), requests=len(self.requests), position=position, cycles=cycles
            )
        )

    def _request(self, request: Request) -> None:
        status = min(request.statuses)
        self.requests.append(
            RequestRecord(token=request.token, op=request.op, slot=request.slot, status=status)
        )
        if status == 0 and request.closes:
            self._held = 0
            return
        if status == 0 and request.opens is not None:
            self._held = 0
            self.sequences.append(min(request.opens, key=lambda adapter: -1 if adapter is None else adapter))
            self.slots.append(None if self.sequences[-1] is None else request.slot)
        self.tokens.append(
            TokenRecord(
                sequence=len(self.sequences) - 1,
                position=self._held,
                token_in=request.token,
                token_out=0,
                status=status,
                cycles=9,
                cycles_model=9,
                request_stall=request.stalls[0],
                response_stall=request.stalls[1],
            )
        )
        self._held += status == 0

    def comparison(self, adapted: Any, taps: TapPlan) -> Comparison:
        accepted = Counter(token.sequence for token in self.tokens if token.status == 0)
        plans = [taps.due(adapted[one] if one is not None else frozenset()) for one in self.sequences]
        vectors = taps.wanted(adapted, [(one, accepted[number]) for number, one in enumerate(self.sequences)])
        return Comparison(
            taps=tuple(
                TapCount(
                    layer=layer,
                    tap=tap,
                    vectors=vectors[layer, tap],
                    elements=8 * vectors[layer, tap],
                    mismatches=0,
                )
                for layer, tap in vectors
            ),
            sequences=tuple(
                SequenceCount(
                    sequence=number,
                    adapter=self.sequences[number],
                    slot=self.slots[number],
                    vectors=accepted[number] * len(plan),
                    elements=8 * accepted[number] * len(plan),
                    mismatches=0,
                )
                for number, plan in enumerate(plans)
            ),
            loads=tuple(self.loads),
            resets=tuple(self.resets),
            requests=tuple(self.requests),
            roms=tuple(self.roms),
            first_divergence=None,
            tokens=tuple(self.tokens),
            failures=(),
            sim_s=0.1,
            golden_s=0.1,
            compare_s=0.1,
            wait_s=0.1,
        )


def perfect_readback(expectation: Expectation) -> Readback:
    units = [
        UnitReadback(
            unit=unit.unit,
            name=unit.image,
            layer=unit.layer,
            image=unit.image,
            sha256=unit.sha256,
            words=1,
            slices=unit.slices,
            read=unit.slices,
            wrong=0,
            bits=(),
            signature=5,
            expected_signature=5,
        )
        for unit in expectation.read_back
    ]
    return Readback(rom_sha256="0" * 64, units=tuple(units))


def test_every_test_has_an_expectation() -> None:
    """But the one that generates: the engine knows what that has to do."""
    assert {*TESTS, PROJECT.verif.generation} == {*all_tests(PROJECT)}
    assert PROJECT.verif.expect is not None
    assert load_object(PROJECT, PROJECT.verif.expect) is expect


def test_a_test_that_nobody_knows_has_none(chip: Any, images: ImageSet) -> None:
    assert expect("Unheard", planned(chip, images, ())) is None


@pytest.mark.parametrize("test", TESTS)
def test_what_has_to_be_done_is_a_function_of_the_seed(
    chip: Any, images: ImageSet, adapters: Any, test: str
) -> None:
    one, other = (Perfect(expect(test, planned(chip, images, adapters))) for _ in range(2))
    assert vars(one) == vars(other)
    assert one.requests
    third = Perfect(expect(test, planned(chip, images, adapters, seed=2)))
    same = test in ("DirectedTokens", "HostErrors")
    assert (third.requests == one.requests) == same


def drawn(records: tuple[Any, ...]) -> Iterator[int]:
    """Where records are altered: both ends, and some between."""
    count = len(records)
    chosen = {0, count - 1, *np.random.default_rng(1).integers(0, max(count, 1), size=SOME).tolist()}
    yield from sorted(at for at in chosen if 0 <= at < count)


def altered(value: Any) -> Iterator[Any]:
    """Other values of a field."""
    match value:
        case bool():
            yield not value
        case int():
            yield from (value + 1, value - 1, value + 11, None)
        case str():
            yield f"{value}x"
        case None:
            yield 3


def unseen(kind: str, record: Any, name: str, beside: bool) -> bool:
    """What the process that judges cannot tell: it is the chip's own, or timing's.

    A token's answer is held against the golden model inside the simulator, and again here where it is fed back. Cycles
    of a load that the host stalled are the stalls'. What runs beside loads decides where among the requests they stand.
    """
    match kind, name:
        case "tokens", "token_out":
            return True
        case "loads", "cycles" | "cycles_model":
            return bool(record.stalled)
        case "loads", "slot":
            return bool(record.status)
        case "loads", "requests" | "held":
            return beside
        case "resets", "cycles" | "position":
            return beside  # a reset amid a load
    return False


def doctored(
    comparison: Comparison, expectation: Expectation, beside: bool
) -> Iterator[tuple[str, Comparison]]:
    """The comparison with one record dropped, repeated, moved or altered.

    Args:
        expectation: of the run; one of several answers that timing may give is as good as another.
        beside: whether loads run beside requests in this test.
    """
    for kind in ("requests", "tokens", "resets", "loads", "roms", "sequences", "taps"):
        records = getattr(comparison, kind)
        for at in drawn(records):
            before, record, after = records[:at], records[at], records[at + 1 :]
            yield f"{kind} dropped", comparison.model_copy(update={kind: (*before, *after)})
            yield f"{kind} twice", comparison.model_copy(update={kind: (*before, record, record, *after)})
            if after and after[0] != record:
                moved = (*before, after[0], record, *after[1:])
                yield f"{kind} moved", comparison.model_copy(update={kind: moved})
            for name, value in record:
                if unseen(kind, record, name, beside):
                    continue
                for other in altered(value):
                    if (kind, name) == ("loads", "status") and other in expectation.loads[at].statuses:
                        continue
                    try:
                        changed = type(record).model_validate({**dict(record), name: other})
                    except ValidationError:
                        continue  # such a file is refused as a whole
                    yield f"{kind}.{name}", comparison.model_copy(update={kind: (*before, changed, *after)})


BESIDE = ("AdapterTraffic", "LoadWhileGenerating", "ResetDuringLoad", "AdapterStatus")
"""Tests in which loads and requests run beside each other."""


@pytest.mark.parametrize("test", TESTS)
def test_only_what_was_planned_counts(chip: Any, images: ImageSet, adapters: Any, test: str) -> None:
    design, _ = chip
    adapted = [one.quantized.linears.keys() for one in adapters]
    found = expect(test, planned(chip, images, adapters))
    assert found is not None
    expectation = Expectation(
        steps=found.steps,
        loads=found.loads,
        roms=found.roms,
        read_back=found.read_back,
        adapted=tuple(adapted),
    )
    good = Perfect(expectation).comparison(adapted, design.taps)

    def reasons(comparison: Comparison, readback: Readback | None) -> list[str]:
        found = judge(
            comparison=comparison,
            outcome=OUTCOME,
            expectation=expectation,
            taps=design.taps,
            context=design.context,
            readback=readback,
        )
        return [f"{reason.name}: {reason.message}" for reason in found]

    readback = perfect_readback(expectation)
    assert reasons(good, readback) == []
    seen = Counter[str]()
    unnoticed = Counter[str]()
    for what, changed in doctored(good, expectation, test in BESIDE):
        seen[what] += 1
        unnoticed[what] += not reasons(changed, readback)
    assert not +unnoticed
    assert seen["requests dropped"] and seen["tokens.token_in"] and seen["requests.status"]
    if test == READS_BACK:
        assert reasons(good, None)
        for at, unit in enumerate(readback.units):
            for update in (
                {"read": 0},
                {"wrong": 1},
                {"signature": None},
                {"sha256": "1" * 64},
                {"unit": 999},
            ):
                units = (*readback.units[:at], unit.model_copy(update=update), *readback.units[at + 1 :])
                assert reasons(good, readback.model_copy(update={"units": units})), update
        assert reasons(good, readback.model_copy(update={"units": readback.units[:-1]}))


def test_load_errors_gets_every_answer(chip: Any, images: ImageSet, adapters: Any) -> None:
    wanted = {
        act.wanted
        for act in acts("LoadErrors", planned(chip, images, adapters))
        if isinstance(act, LoadFrame)
    }
    assert wanted == set(LoadStatus)


def test_a_run_beside_traffic_has_to_feed_something(chip: Any, images: ImageSet, adapters: Any) -> None:
    found = expect("AdapterTraffic", planned(chip, images, adapters))
    assert found is not None
    taps = chip[0].taps
    for count in (1, 2, 60):
        good = Perfect(found, count).comparison([one.quantized.linears.keys() for one in adapters], taps)
        assert check_fed(good, found, 18) == []
    nothing = Perfect(found, 0).comparison([one.quantized.linears.keys() for one in adapters], taps)
    assert check_fed(nothing, found, 18)
