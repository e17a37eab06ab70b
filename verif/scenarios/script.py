"""Acts as what a run has to do: every request, load and read, with the answers that it may get."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from etchproof.verdict import expect
from etchproof.verdict.expect import Expectation, Request
from verif.protocol import NO_SLOT, LoadStatus, Op, Status, Words, frame_status, payload
from verif.rom_port.port import RomRange
from verif.rom_port.units import RomStatus
from verif.scenarios.acts import (
    Act,
    Acts,
    Ask,
    Beside,
    LoadFrame,
    LoadsDuring,
    ReadRom,
    ReadWhole,
    ResetIdle,
    ResetLoad,
    ResetRom,
    ResetToken,
    Stream,
    Traffic,
)


def any_of(*statuses: int) -> frozenset[int]:
    """The answers that something may get."""
    return frozenset(statuses)


BASE: Final = frozenset[int | None]({None})
"""A sequence without an adapter."""

UNSURE: Final[dict[int, frozenset[int]]] = {
    Op.FIRST: any_of(Status.OK, Status.EMPTY_SLOT),
    Op.NEXT: any_of(Status.OK, Status.NO_SEQUENCE, Status.CONTEXT_FULL),
    Op.CLOSE: any_of(Status.OK, Status.NO_SEQUENCE),
}
"""Answers to requests beside loads of any slot."""


def write(acts: Acts, plan: Any, frames: Sequence[Words]) -> Expectation:
    """What a run of these acts has to do.

    Args:
        plan: of the chip.
        frames: of the run's adapters.
    """
    script = _Script(plan, frames)
    for act in acts:
        script.play(act)
    return Expectation(steps=tuple(script.steps), loads=tuple(script.loads), roms=tuple(script.roms))


class _Script:
    """Follows the slots, so that it knows under which adapter a sequence has to run."""

    def __init__(self, plan: Any, frames: Sequence[Words]) -> None:
        self._plan = plan
        self._known: dict[bytes, int] = {}
        for index, frame in enumerate(frames):
            self._known.setdefault(payload(frame), index)
        self._slots: dict[int, frozenset[int | None]] = {}  # what each may hold
        self.steps: list[expect.Step] = []
        self.loads: list[expect.Load] = []
        self.roms: list[expect.RomRead] = []

    def play(self, act: Act) -> None:
        """The next act."""
        match act:
            case Stream(sure=False):
                self.steps += self.unsure(act)
            case Stream():
                self.steps += self._asked(act.requests, act.answers, act.stalls)
            case Ask():
                self.steps += self._asked(act.requests, act.wanted)
            case LoadFrame():
                self._beside((act,))
            case ReadRom():
                self._rom(act.asked, act.wanted)
            case ReadWhole():
                for asked in act.ranges:
                    self._rom(asked, RomStatus.OK)
            case Beside():
                self._beside((act.first, *act.then))
            case LoadsDuring():
                busy = (act.busy,) if act.busy is not None else ()
                self._beside((act.stream, *busy, *act.loads))
            case ResetToken():
                before = act.stream.requests[: act.position]
                self.steps += self._asked(before, (Status.OK,) * len(before))
                self._reset(expect.Reset(act.position, act.cycles))
            case ResetLoad(stream=None) | ResetRom() | ResetIdle():
                self._reset(expect.Reset())
            case ResetLoad(stream=Stream() as stream):
                requests = self._asked(stream.requests, stream.answers)
                self._reset(expect.CutOff(tuple(requests)))
            case Traffic():
                self._traffic(act)

    def _beside(self, acts: Sequence[Act]) -> None:
        """Loads, alone or beside other acts: they stand after what came before and before what comes then."""
        self.steps.append(expect.Loaded(len(self.loads)))
        for act in acts:
            if isinstance(act, LoadFrame):
                self._load(act, any_of(act.wanted))
            else:
                self.play(act)
        self.steps.append(expect.Loaded(len(self.loads)))

    def _asked(
        self,
        requests: Sequence[tuple[int, int, int]],
        answers: Sequence[int],
        stalls: Sequence[tuple[int, int]] = (),
    ) -> Iterator[Request]:
        held = stalls or [(0, 0)] * len(requests)
        for (token, op, slot), status, stall in zip(requests, answers, held, strict=True):
            yield self._request(token, op, slot, any_of(status), stall)

    def _request(
        self, token: int, op: int, slot: int, statuses: frozenset[int], stalls: tuple[int, int] = (0, 0)
    ) -> Request:
        opens = None
        if op == Op.FIRST:
            opens = BASE if slot == NO_SLOT else self._slots.get(slot, frozenset())
        return Request(token, op, slot, statuses, opens, closes=op == Op.CLOSE, stalls=stalls)

    def _load(self, load: LoadFrame, statuses: frozenset[int]) -> None:
        slot = frame_status(self._plan, load.words)[1]
        adapter = self._known.get(payload(load.words)) if LoadStatus.OK in statuses else None
        if LoadStatus.SLOT_BUSY not in statuses:
            self._slots.pop(slot, None)
        if adapter is not None:
            self._slots[slot] = frozenset({adapter})
        fits = adapter is not None
        self.loads.append(
            expect.Load(
                len(load.words),
                load.sha256,
                statuses,
                slot if fits else None,
                adapter if fits else None,
                load.stall_seed != 0,
            )
        )

    def _rom(self, asked: RomRange, wanted: RomStatus) -> None:
        self.roms.append(expect.RomRead(asked.op, asked.unit, asked.word, asked.words, any_of(wanted)))

    def _reset(self, step: expect.Reset | expect.CutOff) -> None:
        self.steps.append(step)
        self._slots = {}

    def _traffic(self, act: Traffic) -> None:
        self.steps.append(expect.Loaded(len(self.loads)))
        for load, _ in act.loads:
            status, slot = frame_status(self._plan, load.words)
            self._load(load, any_of(status, LoadStatus.SLOT_BUSY) if slot != NO_SLOT else any_of(status))
        anything = frozenset(self._known.values())
        self._slots = dict.fromkeys(range(self._plan.lora_slots), anything)
        self.steps += [expect.Beside(_Unsure(self, act.tokens)), expect.Loaded(len(self.loads))]

    def unsure(self, act: Stream | Ask) -> Iterator[Request]:
        """Requests whose answers depend on what the slots hold at that moment."""
        held = act.stalls if isinstance(act, Stream) else [(0, 0)] * len(act.requests)
        for (token, op, slot), stall in zip(act.requests, held, strict=True):
            statuses = UNSURE[op]
            if op == Op.FIRST and slot == NO_SLOT:
                statuses = any_of(Status.OK)
            yield self._request(token, op, slot, statuses, stall)


class _Unsure:
    """The endless stream of a ``Traffic``, from its beginning each time."""

    def __init__(self, script: _Script, tokens: Any) -> None:
        self._script, self._tokens = script, tokens

    def __iter__(self) -> Iterator[Request]:
        for act in self._tokens:
            yield from self._script.unsure(act)
