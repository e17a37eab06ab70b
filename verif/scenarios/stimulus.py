"""What each test of the testbench does, as acts drawn from the run's seed, and from it what the run has to do.

Pure functions of the chip's plan, the seed, the configuration and the frames of the run's adapters: the testbench plays
the acts inside the simulator, and the process that started it works out from them, before, what has to come back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, Final

import numpy as np

from etchproof.verdict.expect import Expectation, PlannedRun
from etchproof.verdict.expect import RomUnit as ReadBackUnit
from models.cycles import token_steps
from models.lora import checksum, frame
from verif.protocol import MAGIC, NO_SLOT, LoadStatus, Op, Status, Words
from verif.rom_port.port import RomRange
from verif.rom_port.units import RomOp, RomStatus, RomUnit, rom_units, whole
from verif.scenarios import script
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

Rng = np.random.Generator
_SEEDS: Final = 2**32
_OK: Final = (Status.OK,)


class Draw:
    """A run as the functions below see it: the plan, the generator of its random choices, its frames and its ROMs."""

    def __init__(self, run: PlannedRun) -> None:
        self.run, self.plan = run, run.plan
        self.rng = np.random.default_rng(run.seed)
        self.frames = [np.asarray(words, np.uint32) for words in run.frames]

    @property
    def units(self) -> list[RomUnit]:
        """Every ROM of the chip, in the order of their numbers."""
        assert self.run.images is not None, "rom_folder: the run was not told where the ROM files are"
        return list(rom_units(self.plan, self.run.images))

    def seed(self) -> int:
        """Of stalls; never 0, which means none."""
        return int(self.rng.integers(1, _SEEDS))

    def tokens(self, count: int) -> tuple[int, ...]:
        """Random tokens of the vocabulary."""
        return tuple(self.rng.integers(self.plan.vocab_size, size=count).tolist())

    def stream(self, slot: int = NO_SLOT, most: int = 10, **more: Any) -> Stream:
        """Random tokens, at least one, under a slot."""
        return Stream(self.tokens(int(self.rng.integers(1, min(most, self.plan.context) + 1))), slot, **more)

    def frame(self, adapter: int, slot: int) -> Words:
        """The frame of one of the run's adapters for a slot."""
        words = self.frames[adapter].copy()
        words[1] = slot
        return sealed(words)

    def load(self, adapter: int, slot: int, wanted: LoadStatus = LoadStatus.OK) -> LoadFrame:
        """An adapter into a slot, without stalls."""
        return LoadFrame(self.frame(adapter, slot), wanted)

    def stalled(self, load: LoadFrame) -> LoadFrame:
        """The same with random stalls."""
        return replace(load, stall_seed=self.seed(), response_stall=int(self.rng.integers(0, 9)))

    def by_size(self) -> list[int]:
        """The run's adapters, the one with the shortest frame first."""
        return sorted(range(len(self.frames)), key=lambda adapter: len(self.frames[adapter]))


def sealed(words: Words) -> Words:
    """Words with the checksum that fits them in the place of the last."""
    return np.append(words[:-1], checksum(words[:-1])).astype(np.uint32)


def _random_tokens(draw: Draw) -> Acts:
    tokens = draw.tokens(min(24, draw.plan.context))
    return [Stream(tokens, stall_seed=draw.seed())]


def _back_to_back(draw: Draw) -> Acts:
    return [draw.stream() for _ in range(4)]


def _reset_mid_sequence(draw: Draw) -> Acts:
    steps = list(dict.fromkeys(step for _, step, _ in token_steps(draw.plan, 0)))
    nothing_open = Ask(((0, Op.NEXT, NO_SLOT),), (Status.NO_SEQUENCE,))
    acts: list[Act] = []
    for step in draw.rng.permutation(steps).tolist():
        position = int(draw.rng.integers(min(2, draw.plan.context)))
        tokens = draw.tokens(min(3, draw.plan.context))
        acts += [ResetToken(Stream(tokens), position, _moment(draw, step, position)), nothing_open]
    between = Stream(draw.tokens(min(2, draw.plan.context)))
    return [*acts, between, ResetIdle(), nothing_open, Stream(draw.tokens(min(8, draw.plan.context)))]


def _moment(draw: Draw, step: str, position: int) -> int:
    """A random cycle, from acceptance, of one of the steps of that name."""
    moments, start = [], 0
    for _, name, cycles in token_steps(draw.plan, position):
        if name == step:
            moments.append(start + int(draw.rng.integers(cycles)))
        start += cycles
    return max(1, int(draw.rng.choice(moments)))


def _context_limit(draw: Draw) -> Acts:
    context = draw.plan.context
    wanted = (Status.OK,) * context + (Status.CONTEXT_FULL,) * 2
    return [Stream(draw.tokens(context + 2), wanted=wanted), Stream(draw.tokens(min(6, context)))]


def _host_errors(draw: Draw) -> Acts:
    vocab, slots, context = draw.plan.vocab_size, draw.plan.lora_slots, draw.plan.context
    nothing = Status.EMPTY_SLOT if slots else Status.BAD_SLOT
    held = 0

    def goes_on() -> Status:
        """To a further token of the open sequence."""
        nonlocal held
        held += 1
        return Status.OK if held < context else Status.CONTEXT_FULL

    pairs = [
        ((0, Op.NEXT, NO_SLOT), Status.NO_SEQUENCE),  # nothing open
        ((0, Op.CLOSE, NO_SLOT), Status.NO_SEQUENCE),
        ((vocab, Op.NEXT, NO_SLOT), Status.NO_SEQUENCE),  # nor is its token looked at
        ((vocab, Op.FIRST, NO_SLOT), Status.BAD_TOKEN),  # just outside the vocabulary
        ((0, Op.NEXT, NO_SLOT), Status.NO_SEQUENCE),  # the refused token opened nothing
        ((1, Op.FIRST, NO_SLOT), Status.OK),
        ((2**32 - 1, Op.NEXT, NO_SLOT), Status.BAD_TOKEN),
        # a token with one bit too many, whatever part of the id is looked at
        *(((1 << bit, Op.NEXT, NO_SLOT), Status.BAD_TOKEN) for bit in range((vocab - 1).bit_length(), 32)),
        ((2, Op.NEXT, 3), goes_on()),  # continues at position 1, whatever slot it names
        ((vocab, Op.FIRST, NO_SLOT), Status.BAD_TOKEN),  # refused: the open sequence stays
        ((1, Op.FIRST, slots), Status.BAD_SLOT),  # no such slot
        ((1, Op.FIRST, 0), nothing),  # nothing in it, or no such slot
        ((1, 3, NO_SLOT), Status.BAD_OP),  # no operation
        ((3, Op.NEXT, NO_SLOT), goes_on()),  # continues at position 2
        ((vocab, Op.CLOSE, slots), Status.OK),  # its token and slot are nobody's
        ((3, Op.NEXT, NO_SLOT), Status.NO_SEQUENCE),
        ((3, Op.CLOSE, NO_SLOT), Status.NO_SEQUENCE),
        ((1, Op.FIRST, slots), Status.BAD_SLOT),
        ((1, Op.FIRST, 0), nothing),
        ((1, 3, NO_SLOT), Status.BAD_OP),
    ]
    return [Ask(tuple(request for request, _ in pairs), tuple(status for _, status in pairs))]


def _vocabulary_sweep(draw: Draw) -> Acts:
    order, length = draw.rng.permutation(draw.plan.vocab_size).tolist(), min(32, draw.plan.context)
    return [Stream(tuple(order[start : start + length])) for start in range(0, len(order), length)]


def _directed_tokens(draw: Draw) -> Acts:
    return [Stream(tuple(tokens)) for tokens in draw.run.config.get("directed", ())]


def _rom_readback(draw: Draw) -> Acts:
    tokens = draw.tokens(min(6, draw.plan.context))
    middle = max(1, len(tokens) // 2)
    rest = tuple((token, Op.NEXT, NO_SLOT) for token in tokens[middle:])
    acts: list[Act] = [Stream(tokens[:middle]), *map(_whole, draw.units)]
    return [*acts, Ask(rest, _OK * len(rest))] if rest else acts


def _whole(unit: RomUnit, stall_seed: int = 0) -> ReadWhole:
    return ReadWhole(unit.number, whole(unit, stall_seed), unit.words * unit.slices)


def _rom_test_port(draw: Draw) -> Acts:
    plan, units = draw.plan, draw.units
    token, *rest = draw.tokens(min(4, plan.context))
    busy = [_rom(RomStatus.BUSY, op, units[0].number, 0) for op in RomOp]
    acts: list[Act] = [Beside(Stream((token,)), 20, (busy[0],))]  # the first request of all is refused
    for stage in range(plan.n_layers + 2):
        there = [unit for unit in units if unit.stage == stage]
        acts += _rom_corners(draw, there[int(draw.rng.integers(len(there)))])
    # Each ROM after the one that follows it: what the read-back does the other way round.
    acts += [_rom(RomStatus.OK, RomOp.READ, unit.number, 0) for unit in reversed(units)]
    beyond = (32 * (plan.n_layers + 2), 0xFFFF, 31, 32 * (plan.n_layers + 1) + 31)
    acts += [_rom(RomStatus.BAD_UNIT, op, number, 0) for number in beyond for op in RomOp]
    acts.append(_whole(min(units, key=lambda unit: unit.words * unit.slices), draw.seed()))
    signature = _rom(RomStatus.OK, RomOp.SIGNATURE, units[0].number, 0)
    acts += [Beside(Stream((token,)), 20, tuple(busy)), Beside(signature, 8, (Stream((token,)),))]
    if plan.lora_slots:  # a chip that takes a frame is busy, whatever is in it
        nothing = LoadFrame(np.zeros(400, np.uint32), LoadStatus.BAD_HEADER)
        held_off = _rom(RomStatus.BUSY, RomOp.READ, units[0].number, 0, stall_seed=0x1F)  # for 7 cycles
        acts += [Beside(nothing, 20, (held_off,)), Beside(signature, 8, (nothing,))]
    acts += [ResetRom(signature.asked, int(draw.rng.integers(1, 60))), _whole(units[-1])]
    return [*acts, Stream((token, *rest))]


def _rom_corners(draw: Draw, unit: RomUnit) -> list[Act]:
    """First and last word, one beyond, far beyond, and a range that leaves the ROM."""
    last, number = unit.words - 1, unit.number
    return [
        _rom(RomStatus.OK, RomOp.READ, number, last),
        _rom(RomStatus.BAD_WORD, RomOp.READ, number, last + 1),
        _rom(RomStatus.BAD_WORD, RomOp.READ, number, 0xFFFFFFFF),
        _rom(RomStatus.BAD_WORD, RomOp.READ, number, last, words=3),
        _rom(RomStatus.OK, RomOp.READ, number, 0, stall_seed=draw.seed()),
    ]


def _rom(status: RomStatus, op: int, unit: int, word: int, words: int = 1, stall_seed: int = 0) -> ReadRom:
    return ReadRom(RomRange(op, unit, word, words, stall_seed), status)


# Adapters: each of the run's can be put into any slot.

_FREES: Final = Ask(((0, Op.FIRST, NO_SLOT),), _OK)
"""Opens a sequence of the base, so that no slot is held."""
_CLOSES: Final = Ask(((0, Op.CLOSE, NO_SLOT),), _OK)


def _adapter_slots(draw: Draw) -> Acts:
    slots, count = draw.plan.lora_slots, len(draw.frames)
    acts: list[Act] = []
    for turn in range(max(2, -(-count // slots) + 1)):
        for slot in range(slots):
            acts += [_FREES, draw.load((slot + turn * slots) % count, slot)]
        order = [*draw.rng.permutation(slots).tolist(), NO_SLOT, *draw.rng.permutation(slots).tolist()]
        acts += [draw.stream(slot) for slot in order]
    return acts


def _adapter_twice(draw: Draw) -> Acts:
    tokens = draw.tokens(min(8, draw.plan.context))
    acts: list[Act] = [Stream(tokens)]
    for adapter in range(len(draw.frames)):
        acts += [draw.load(adapter, 0), Stream(tokens, slot=0), _CLOSES]
    return acts


def _adapter_ranks(draw: Draw) -> Acts:
    slots, count = draw.plan.lora_slots, len(draw.frames)
    acts: list[Act] = []
    for turn in range(count):
        acts += [_FREES, _CLOSES, *(draw.load((turn + slot) % count, slot) for slot in range(slots))]
        acts += [Stream(draw.tokens(min(2, draw.plan.context)), slot) for slot in range(slots)]
    return acts


def _adapter_traffic(draw: Draw) -> Acts:
    streams_seed = draw.seed()  # of its own: what is fed does not depend on what meets
    loads = [(_traffic_load(draw), int(draw.rng.integers(1, 200))) for _ in range(6 * len(draw.frames))]
    tail = [draw.stream(slot, sure=False) for slot in range(draw.plan.lora_slots)]
    return [Traffic(tuple(loads), _Streams(draw.run, streams_seed)), *tail]


def _traffic_load(draw: Draw) -> LoadFrame:
    """Any adapter for any slot, now and then cut short or corrupt."""
    rng = draw.rng
    words = draw.frame(int(rng.integers(len(draw.frames))), int(rng.integers(draw.plan.lora_slots)))
    if rng.random() < 0.15:
        words = words[: int(rng.integers(1, len(words)))]
    elif rng.random() < 0.15:
        words[int(rng.integers(len(words)))] ^= np.uint32(1 << int(rng.integers(32)))
    seed = int(rng.choice([0, draw.seed()]))
    return LoadFrame(words, stall_seed=seed, response_stall=int(rng.choice([0, 0, 1, 5])))


class _Streams:
    """Sequences under any slot, now and then closed, without end; the same from the beginning each time."""

    def __init__(self, run: PlannedRun, seed: int) -> None:
        self._run = replace(run, seed=seed)

    def __iter__(self) -> Iterator[Stream | Ask]:
        draw = Draw(self._run)
        slots: list[int] = [NO_SLOT, *range(draw.plan.lora_slots)]
        while True:
            yield draw.stream(int(draw.rng.choice(slots)), stall_seed=draw.seed(), sure=False)
            if draw.rng.random() < 0.4:
                yield _CLOSES


def _load_while_generating(draw: Draw) -> Acts:
    count, slots, small = len(draw.frames), draw.plan.lora_slots, draw.by_size()[:3]
    acts: list[Act] = []
    for slot in range(slots):
        acts += [_FREES, draw.load(slot % count, slot)]
    for turn, slot in enumerate([*range(slots), NO_SLOT]):
        stream = Stream(draw.tokens(min(12, draw.plan.context)), slot)
        busy = None
        if slot != NO_SLOT:
            busy = draw.stalled(draw.load(small[-1], slot, LoadStatus.SLOT_BUSY))
        loads = []
        for index, other in enumerate(one for one in range(slots) if one != slot):
            load = draw.load(small[(turn + index) % len(small)], other)
            loads.append(draw.stalled(load) if index % 2 else load)
        acts.append(LoadsDuring(stream, busy, tuple(loads)))
    return acts


def _load_errors(draw: Draw) -> Acts:
    good, slots = draw.frame(0, 0), draw.plan.lora_slots
    opens = Ask(((1, Op.FIRST, 0),), _OK)
    closes = Ask(((1, Op.CLOSE, 0),), _OK)
    acts: list[Act] = [LoadFrame(good), Stream(draw.tokens(min(2, draw.plan.context)), 0)]
    for words, status in (  # which leave every slot as it was
        *(
            (sealed(np.concatenate([[MAGIC ^ 1 << bit], good[1:]]).astype(np.uint32)), LoadStatus.BAD_HEADER)
            for bit in (0, 15, 16, 31)
        ),
        (np.zeros(1, np.uint32), LoadStatus.BAD_HEADER),
        (good[:1], LoadStatus.PARTIAL),
        (draw.frame(0, slots), LoadStatus.BAD_SLOT),
        (draw.frame(0, NO_SLOT), LoadStatus.BAD_SLOT),
        (draw.frame(0, 2**31), LoadStatus.BAD_SLOT),
        (good, LoadStatus.SLOT_BUSY),
        (good[:2], LoadStatus.SLOT_BUSY),
    ):
        acts += [LoadFrame(words, status), opens]
        if status is not LoadStatus.SLOT_BUSY:  # once more, with no sequence open
            acts += [closes, LoadFrame(words, status), opens]
    for number, (words, status) in enumerate(_broken(draw, good)):
        closed = number % 2 == 1
        acts += [_FREES, _CLOSES] if closed else [_FREES]
        load = LoadFrame(words, status)
        acts.append(draw.stalled(load) if draw.rng.integers(2) else load)
        goes_on = Status.OK if draw.plan.context > 1 else Status.CONTEXT_FULL
        after = Status.NO_SEQUENCE if closed else goes_on
        acts.append(Ask(((1, Op.FIRST, 0), (1, Op.NEXT, 0)), (Status.EMPTY_SLOT, after)))
        # nothing of the broken one is left
        acts += [LoadFrame(good), Stream(draw.tokens(min(2, draw.plan.context)), 0)]
    return [*acts, closes, LoadFrame(good), draw.stream(0)]  # the slot of a closed sequence is free


_GREAT_RANKS: Final = (0xFF, 0xAA, 0x55, 0x80)
"""Ranks above a chip's largest; between them they set and clear each bit of a section's rank."""


def _broken(draw: Draw, good: Words) -> list[tuple[Words, LoadStatus]]:
    """Frames for slot 0 that empty it, and the answer to each."""
    partial, section, plan = LoadStatus.PARTIAL, LoadStatus.BAD_SECTION, draw.plan
    head, shifts = int(good[3]), int(good[4])
    blocks = [linear.in_blocks + linear.blocks for linear in plan.layer_kinds[plan.layers[0]]]
    widest = blocks.index(max(blocks))

    def with_word(at: int, value: int) -> Words:
        words = good.copy()
        words[at] = value
        return sealed(words)

    def one_word_short(linear: int) -> Words:
        """A section of rank 1 in a payload that would hold it with one word more."""
        words = np.zeros(1 + blocks[linear] * plan.tile_rows // 2, np.uint32)
        words[0] = linear << 24 | 1 << 16
        return frame(0, [words])

    cuts = [2, 3, 4, 5, 6, len(good) // 2, len(good) - 2, len(good) - 1]
    found: list[tuple[Words, LoadStatus]] = [(good[:cut], partial) for cut in cuts]
    found += [
        (with_word(2, int(good[2]) + 1), section),  # the checksum is no section's head: no room for it
        (with_word(2, 2), section),  # shorter than its first section
        (with_word(2, 2)[:6], section),  # and ends in it
        *((one_word_short(linear), section) for linear in range(len(blocks))),
        (with_word(3, 7 << 24 | head & 0xFFFFFF), section),  # no such linear
        (with_word(3, head & ~0xFFFF | plan.n_layers), section),  # no such layer
        (with_word(3, head & ~0xFF0000), section),  # rank 0
        (with_word(3, head & ~0xFF0000 | plan.lora_max_rank + 1 << 16), section),
        *(
            (with_word(3, widest << 24 | rank << 16), section)
            for rank in _GREAT_RANKS
            if rank > plan.lora_max_rank
        ),
        (with_word(3, 0x00FF_FFFF), section),  # no such layer, nor any near it
        # a layer and a linear with one bit too many
        *((with_word(3, head | 1 << bit), section) for bit in range((plan.n_layers - 1).bit_length(), 16)),
        *((with_word(3, head | 1 << bit), section) for bit in range(27, 32)),
        (with_word(4, shifts & ~0xFF | 63), section),
        (with_word(4, shifts & ~0xFF | 0x80), section),
        (with_word(4, shifts & ~0xFF00 | plan.max_b_shift + 1 << 8), section),
        (with_word(4, shifts & ~0xFF00 | 0x8000), section),
        (with_word(4, shifts | 1 << 16), section),
        (with_word(4, shifts | 1 << 31), section),
        (frame(0, [good[3:-1], good[3:-1]]), section),  # a linear twice
        (np.append(good, np.uint32(0)), LoadStatus.OVERLONG),
        (np.append(good, good), LoadStatus.OVERLONG),
    ]
    for at in (0, len(good) // 2, len(good) - 1):  # a bit of the elements, and of the checksum itself
        words = good.copy()
        words[max(at, 5)] ^= np.uint32(1 << int(draw.rng.integers(32)))
        found.append((words, LoadStatus.CHECKSUM))
    return found


def _reset_during_load(draw: Draw) -> Acts:
    slots, count = draw.plan.lora_slots, len(draw.frames)
    empty = (Status.EMPTY_SLOT,) * slots + (Status.NO_SEQUENCE,)
    every_slot = Ask((*((0, Op.FIRST, slot) for slot in range(slots)), (0, Op.NEXT, NO_SLOT)), empty)
    acts: list[Act] = []
    for turn in range(5):
        other = (turn + 1) % slots
        words = draw.frame((turn + 1) % count, other)
        load = LoadFrame(words, stall_seed=draw.seed() if turn % 2 else 0)
        stream = Stream(draw.tokens(min(2, draw.plan.context)), 0) if other else None
        cycles = int(draw.rng.integers(1, len(words)))
        acts += [draw.load(turn % count, 0), ResetLoad(load, stream, cycles), every_slot, LoadFrame(words)]
        acts += [Stream(draw.tokens(min(3, draw.plan.context)), other), _CLOSES]
    return acts


def _adapter_status(draw: Draw) -> Acts:
    slots, vocab, context = draw.plan.lora_slots, draw.plan.vocab_size, draw.plan.context
    empty, ok, bad = Status.EMPTY_SLOT, Status.OK, Status.BAD_SLOT
    beyond = range(slots, NO_SLOT)
    held = 0

    def goes_on() -> Status:
        nonlocal held
        held += 1
        return ok if held < context else Status.CONTEXT_FULL

    refused = tuple((3, Op.FIRST, slot) for slot in range(1, NO_SLOT))
    busy = draw.load(0, 0, LoadStatus.SLOT_BUSY)
    return [
        Ask(tuple((1, Op.FIRST, slot) for slot in range(slots)), (empty,) * slots),
        Ask(tuple((1, Op.FIRST, slot) for slot in beyond), (bad,) * len(beyond)),
        draw.load(0, 0),
        Ask(((1, Op.FIRST, 0), (2, Op.NEXT, NO_SLOT)), (ok, goes_on())),
        Ask((*refused, (4, Op.NEXT, NO_SLOT)), (*(empty,) * (slots - 1), *(bad,) * len(beyond), goes_on())),
        busy,
        Ask(((5, Op.NEXT, 0),), (goes_on(),)),
        Ask(((vocab, Op.FIRST, NO_SLOT), (6, Op.NEXT, 0)), (Status.BAD_TOKEN, goes_on())),
        busy,  # a refused first token has not freed it
        Ask(((1, Op.FIRST, 0), (1, Op.FIRST, 0)), (ok, ok)),  # the same slot again, KV anew
        Ask(((1, Op.CLOSE, 0), (1, Op.CLOSE, 0)), (ok, Status.NO_SEQUENCE)),
        Beside(  # while it is loaded
            draw.stalled(draw.load(draw.by_size()[-1], 0)),
            60,
            (Ask(((1, Op.FIRST, 0), (1, Op.FIRST, NO_SLOT)), (empty, ok)),),
            outlasts=True,
        ),
        draw.stream(0),
        *_races(draw),
    ]


_STALLS: Final = range(4)
_SAME_EDGE: Final = 1
"""Cycles for which a frame holds its slot back where the chip takes it at once with a request that begins a cycle
later than the frame; with one less the request comes an edge later."""


def _races(draw: Draw) -> Iterator[Act]:
    """A request that takes or leaves a slot, some cycles before and after a frame names it, and at the same edge.

    The frame ends with its slot, so that nothing but the slot's state decides on it. A slot is busy from the edge on at
    which a sequence takes it, and free from that at which one leaves it.
    """
    good = draw.load(draw.by_size()[0], 0)
    opens = Ask(((1, Op.FIRST, 0),), _OK)
    for stall in _STALLS:
        comes_first = stall >= _SAME_EDGE
        names = _names_slot(good, stall, LoadStatus.SLOT_BUSY if comes_first else LoadStatus.PARTIAL)
        taking = opens if comes_first else replace(opens, wanted=(Status.EMPTY_SLOT,))
        yield from (_FREES, good, Beside(names, 1, (taking,)))
    for stall in _STALLS:
        comes_first = stall >= _SAME_EDGE
        names = _names_slot(good, stall, LoadStatus.PARTIAL if comes_first else LoadStatus.SLOT_BUSY)
        yield from (_FREES, good, opens, Beside(names, 1, (_CLOSES,)))


def _names_slot(good: LoadFrame, stall: int, wanted: LoadStatus) -> LoadFrame:
    """A frame of two words, so many cycles between them (``ep_load_bfm``, ``load_stall``)."""
    return LoadFrame(good.words[:2], wanted, stall_seed=1 << 5 | stall << 2)


TESTS: Final[dict[str, Callable[[Draw], Acts]]] = {
    "RandomTokens": _random_tokens,
    "BackToBack": _back_to_back,
    "ResetMidSequence": _reset_mid_sequence,
    "ContextLimit": _context_limit,
    "HostErrors": _host_errors,
    "VocabularySweep": _vocabulary_sweep,
    "DirectedTokens": _directed_tokens,
    "RomReadback": _rom_readback,
    "RomTestPort": _rom_test_port,
    "AdapterSlots": _adapter_slots,
    "AdapterTwice": _adapter_twice,
    "AdapterRanks": _adapter_ranks,
    "AdapterTraffic": _adapter_traffic,
    "LoadWhileGenerating": _load_while_generating,
    "LoadErrors": _load_errors,
    "ResetDuringLoad": _reset_during_load,
    "AdapterStatus": _adapter_status,
}
"""Every test but the one that generates: the engine itself knows what that has to do."""

READS_BACK: Final = "RomReadback"


def acts(test: str, run: PlannedRun) -> Acts:
    """What a test does in a run.

    Raises:
        KeyError: it is none of ``TESTS``.
    """
    return TESTS[test](Draw(run))


def expect(test: str, run: PlannedRun) -> Expectation | None:
    """What a run of a test has to do (``[verif] expect`` of etchproof.toml); None for a test that is not known here."""
    if test not in TESTS:
        return None
    found = script.write(acts(test, run), run.plan, run.frames)
    if test != READS_BACK:
        return found
    units = Draw(run).units
    return replace(found, read_back=tuple(_read_back(unit) for unit in units))


def _read_back(unit: RomUnit) -> ReadBackUnit:
    image = unit.image
    return ReadBackUnit(unit.number, image.layer, image.name, image.sha256, unit.words * unit.slices)
