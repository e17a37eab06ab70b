"""Would the checker say so? A run that passed is played to it again, spoiled in one place at a time.

A checker that is blind passes every chip, and nothing in its own verdict tells. So what monitors published of a good
run is given to a scoreboard without a simulator, as it was and with one thing wrong: a bit of a tap, a record that is
missing or too much, an answer, a cycle, a token, a count. Each has to be found, under its own name, and where it is.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from struct import Struct
from typing import Any, Final

import numpy as np

from etchproof.compare.comparator import (
    COMPARISON_FILE,
    Comparison,
    Divergence,
    NamedFailure,
    ResetRecord,
    RomRecord,
)
from etchproof.compare.readback import Readback, UnitReadback
from etchproof.contract.golden import Golden
from etchproof.contract.taps import Array, TapKey, TapPlan, TokenArrays
from etchproof.regress.recorded import Recorded
from etchproof.regress.spec import ItemSpec
from etchproof.render.images import ImageSet
from etchproof.run.design import Design
from etchproof.run.testrun import Chip, run_test
from etchproof.signoff.plan import SignoffRequest
from etchproof.sim.results import Failure, ResultsError, read_results
from etchproof.sim.run import SimOutcome
from etchproof.sim.sink import SinkError, TapBatch
from etchproof.uvm import Expected, ExpectedLoad, LoadResult, LoadStart, Opened, TokenResult
from etchproof.uvm.items import TokenTaps
from etchproof.uvm.scoreboard import BATCH_TOKENS, TapScoreboard
from etchproof.verdict.expect import Expectation, Generation, RomUnit
from etchproof.verdict.judge import check_fabric, check_rom, judge, read_comparison
from etchproof.verdict.result import Reason

_HEADER: Final = Struct("<IiIIIIQ")
"""Of a record in the tap memory: id, layer, position, elements, bytes of one, number, time (``ep_sink.cpp``)."""

Tap = tuple[TapKey, int, Array]
"""A record: layer and name, position, elements."""


@dataclass(frozen=True)
class Token:
    """A token as monitors publish it: what the host port said, and the records that it left."""

    result: TokenResult
    taps: tuple[Tap, ...]
    expected: Expected
    skipped: int = 0  # records that were lost before its first


@dataclass(frozen=True)
class Found:
    """What the checker says of a run."""

    names: frozenset[str]
    first: Divergence | None
    mismatches: int
    comparison: Comparison | None


def known_bad_spec(request: SignoffRequest, design: Design) -> ItemSpec:
    """A run of two sequences of random tokens, the first longer than what is compared at once."""
    context = design.context or BATCH_TOKENS + 4
    lengths = min(BATCH_TOKENS + 4, context), min(3, context)
    rng = np.random.default_rng(1)
    vocabulary = design.inputs.vocab_size
    assert vocabulary is not None
    project = request.project
    return ItemSpec(
        name="known-bad",
        test=project.signoff.directed,
        model=str(request.model_dir.absolute()),
        shape=None,
        recipe=request.recipe or project.default_recipe,
        context=None,
        kind="fast",
        adapters=(),
        seed=1,
        directed=tuple(tuple(rng.integers(vocabulary, size=length).tolist()) for length in lengths),
    )


def check_known_bad(recorded: Recorded, golden: Golden) -> tuple[bool, str]:
    """Whether everything that is spoiled is found; the first that is not, in words."""
    count = 0
    for what, problem in unseen(Player(recorded, golden)):
        if problem is not None:
            return False, f"{what}: {problem}"
        count += 1
    return count > 1, f"{count - 1} runs, each wrong in one place, are found and named; the good one passes"


class Player:
    """Plays one run that passed.

    Args:
        recorded: of tokens alone: no load, no refusal, no reset.
        golden: it was compared with.
    """

    def __init__(self, recorded: Recorded, golden: Golden) -> None:
        self._recorded, self._golden = recorded, golden
        self._known: dict[tuple[int, ...], Mapping[TapKey, TokenArrays]] = {}
        self.tokens = tuple(self._good())
        self.answer = self._answer()

    def _good(self) -> Iterator[Token]:
        taps = self._recorded.chip.design.taps
        records = iter(self._recorded.comparison.tokens)
        requests = iter(self._recorded.comparison.requests)
        for fed in self._recorded.sequences:
            for index, values in enumerate(fed.taps):
                record, request = next(records), next(requests)
                yield Token(
                    TokenResult(
                        token_in=record.token_in,
                        op=request.op,
                        slot=request.slot,
                        token_out=record.token_out,
                        position=record.position,
                        status=record.status,
                        cycles=record.cycles,
                        request_stall=record.request_stall,
                        response_stall=record.response_stall,
                        sha256=request.sha256,
                    ),
                    tuple((key, record.position, array) for key, array in values.items()),
                    Expected(
                        status=0,
                        position=record.position,
                        cycles=record.cycles_model,
                        computes=True,
                        opens=Opened(None, taps.due()) if index == 0 else None,
                    ),
                )

    def _answer(self) -> TapKey | None:
        """The tap outside the layers that holds what the host port answers, as far as the run shows one."""
        for key in self._recorded.chip.design.taps.by_key:
            held = [array for token in self.tokens for found, _, array in token.taps if found == key]
            said = [token.result.token_out for token in self.tokens]
            if key[0] < 0 and [array.tolist() for array in held] == [[word] for word in said]:
                return key
        return None

    def play(self, tokens: Sequence[Token]) -> Found:
        """What scoreboard and judge say where the monitors publish these."""
        board = TapScoreboard("known_bad", None)
        board.reference = _Reference(self, tokens)
        board.start_of_simulation_phase()
        names = sorted({key[1] for token in tokens for key, *_ in token.taps})
        number = 0
        try:
            for token in tokens:
                number += token.skipped
                memory = _written(token, names, number)
                batch = TapBatch(names, number - token.skipped, memory, 0, len(memory))
                number += len(token.taps)
                board.write(TokenTaps(token.result, batch))
            comparison = board.finish(0.0)
        except SinkError as error:
            return Found(frozenset({error.name}), None, 0, None)
        finally:
            board.end()
        return self.judged(comparison)

    def judged(
        self,
        comparison: Comparison | None,
        outcome: SimOutcome | None = None,
        expectation: Expectation | None = None,
        readback: Readback | None = None,
    ) -> Found:
        """What the judge says; the expectation is the run's own where none is given."""
        recorded, nowhere = self._recorded, Path()
        reasons = judge(
            comparison=comparison,
            outcome=outcome or SimOutcome("passed", 0, (recorded.spec.test,), (), 0.0, nowhere, nowhere),
            expectation=expectation or recorded.expectation,
            taps=recorded.chip.design.taps,
            context=recorded.chip.design.context,
            readback=readback,
        )
        return Found(
            frozenset(reason.name for reason in reasons),
            None if comparison is None else comparison.first_divergence,
            0 if comparison is None else comparison.mismatches,
            comparison,
        )

    def predict(self, before: Sequence[int], tokens: Sequence[int]) -> Mapping[TapKey, TokenArrays]:
        """Every tap of tokens that follow others; each is computed once."""
        whole = (*before, *tokens)
        if whole not in self._known:
            self._known[whole] = dict(self._golden.session().predict(list(whole), True))
        start = len(before)
        return {key: arrays[start:] for key, arrays in self._known[whole].items()}


class _Reference:
    """An ``etchproof.uvm.Reference`` that expects what the good run did."""

    answer_bits = 32

    def __init__(self, player: Player, tokens: Sequence[Token]) -> None:
        self.taps: TapPlan = player._recorded.chip.design.taps
        self.answer = player.answer
        self._player, self._left, self._fed = player, iter(tokens), list[int]()

    def wait_ready(self) -> None:
        """It is."""

    def respond(self, request: TokenResult) -> Expected:
        return next(self._left).expected

    def start_load(self, load: LoadStart) -> None:
        raise AssertionError("no load is played")

    def end_load(self, load: LoadResult) -> ExpectedLoad:
        raise AssertionError("no load is played")

    def predict(
        self, tokens: Sequence[int], first: bool, adapter: int | None
    ) -> Mapping[TapKey, TokenArrays]:
        before = [] if first else self._fed
        self._fed = [*before, *tokens]
        return self._player.predict(before, tokens)

    def reset(self) -> None:
        raise AssertionError("no reset is played")


def _written(token: Token, names: Sequence[str], number: int) -> Array:
    """A token's records as C++ leaves them in the tap memory."""
    parts = []
    for index, ((layer, name), position, array) in enumerate(token.taps):
        data = array.tobytes()
        tap = names.index(name)
        header = (tap, layer, position, array.size, array.itemsize, (number + index) & 0xFFFFFFFF, 0)
        parts.append(_HEADER.pack(*header) + data + bytes(-len(data) % 8))
    return np.frombuffer(b"".join(parts), np.uint8)


Case = tuple[str, str, Callable[[], Found]]
"""What is wrong, the name under which it has to be found, and what plays it."""


def unseen(player: Player) -> Iterator[tuple[str, str | None]]:
    """Each case, and what the checker failed to say of it; None where it said it."""
    before = sys.getswitchinterval()
    try:
        yield from _unseen(player)
    finally:
        sys.setswitchinterval(before)  # which a scoreboard makes short


def _unseen(player: Player) -> Iterator[tuple[str, str | None]]:
    good = player.play(player.tokens)
    wanted = player._recorded.comparison
    same = good.comparison is not None and (
        (good.comparison.taps, good.comparison.sequences, good.comparison.tokens)
        == (wanted.taps, wanted.sequences, wanted.tokens)
    )
    yield "the run as it was", None if same and not good.names else f"gives {_listed(good.names)}"
    for what, token, at, element, bit in _bits(player.tokens):
        spoiled, where = _flipped(player.tokens, token, at, element, bit)
        found = player.play(spoiled)
        place = None if found.first is None else _place(found.first)
        if found.mismatches != 1 or place != where or "mismatch" not in found.names:
            yield what, f"gives {found.mismatches} differences, the first at {place}, expected {where}"
        else:
            yield what, None
    for what, spoiled, where, count in _several(player.tokens):
        found = player.play(spoiled)
        place = None if found.first is None else _place(found.first)
        right = found.mismatches == count and place == where and "mismatch" in found.names
        said = f"gives {found.mismatches} differences, the first at {place}, expected {count} and {where}"
        yield what, None if right else said
    with tempfile.TemporaryDirectory(prefix="etchproof-") as folder:
        files = _files(player, good.comparison, Path(folder))
        simulated = _simulated(player, Path(folder))
        for what, name, play in (
            *(*_tokens(player), *_records(player, good.comparison)),
            *(*files, *simulated),
        ):
            found = play()
            yield what, None if name in found.names else f"gives {_listed(found.names)}, expected {name}"
    yield from _twice(player)


def _twice(player: Player) -> Iterator[tuple[str, str | None]]:
    """Latency is judged by the scoreboard, and by the judge from the records: neither may lean on the other."""
    token = player.tokens[-1]
    if token.expected.cycles is None:
        return
    late = replace(token, result=token.result._replace(cycles=token.result.cycles + 1))
    comparison = player.play(_put(player.tokens, len(player.tokens) - 1, late)).comparison
    reported = set() if comparison is None else {failure.name for failure in comparison.failures}
    yield "a cycle more, by the scoreboard", None if "cycles" in reported else "is not reported"
    alone = None if comparison is None else comparison.model_copy(update={"failures": ()})
    names = player.judged(alone).names
    yield "a cycle more, by the judge", None if "cycles" in names else f"gives {_listed(names)}"


def _listed(names: frozenset[str]) -> str:
    return ", ".join(sorted(names)) or "no reason"


def _place(first: Divergence) -> tuple[int, int, str, int]:
    return first.token, first.layer, first.tap, first.element


def _bits(tokens: Sequence[Token]) -> Iterator[tuple[str, int, int, int, int]]:
    """One bit of each tap: of its last element at the last token, and of its first one at the first."""
    last = len(tokens) - 1
    for at, ((layer, name), _, array) in enumerate(tokens[last].taps):
        yield f"layer {layer} {name}, the last bit", last, at, array.size - 1, 0
    for at, ((layer, name), _, array) in enumerate(tokens[0].taps):
        yield f"layer {layer} {name}, the first bit", 0, at, 0, 8 * array.itemsize - 1


def _flipped(
    tokens: Sequence[Token], token: int, at: int, element: int, bit: int
) -> tuple[list[Token], tuple[int, int, str, int]]:
    spoiled, ((layer, name), position, array) = list(tokens), tokens[token].taps[at]
    other = array.copy()
    other.view(f"u{array.itemsize}")[element] ^= other.view(f"u{array.itemsize}").dtype.type(1 << bit)
    taps = list(tokens[token].taps)
    taps[at] = ((layer, name), position, other)
    spoiled[token] = replace(tokens[token], taps=tuple(taps))
    return spoiled, (tokens[token].result.position, layer, name, element)


def _several(
    tokens: Sequence[Token],
) -> Iterator[tuple[str, list[Token], tuple[int, int, str, int], int]]:
    """What a comparison by less than the value would not see, and differences of which the earliest has to be named."""
    for at, ((layer, name), position, array) in enumerate(tokens[0].taps):
        nonzero = np.flatnonzero((array != 0) & (array != -array))
        if len(nonzero):
            element = int(nonzero[0])
            other = array.copy()
            other[element] = -other[element]
            taps = [*tokens[0].taps]
            taps[at] = ((layer, name), position, other)
            spoiled = _put(tokens, 0, replace(tokens[0], taps=tuple(taps)))
            yield f"layer {layer} {name}, a sign", spoiled, (position, layer, name, element), 1
    last, middle = len(tokens) - 1, len(tokens) // 2
    end = len(tokens[0].taps) - 1
    both, _ = _flipped(tokens, middle, end, 0, 0)
    both, _ = _flipped(both, middle, 1, 1, 0)
    both, first = _flipped(both, middle, 1, 0, 0)
    both, _ = _flipped(both, last, 0, 0, 0)
    yield "four differences", both, first, 4
    both, _ = _flipped(tokens, last, 0, 0, 0)
    both, first = _flipped(both, 0, end, 0, 0)
    yield "an earlier token, a later tap", both, first, 2


def _tokens(player: Player) -> Iterator[Case]:
    """What monitors may publish wrongly."""
    tokens = player.tokens
    last = len(tokens) - 1
    middle = len(tokens) // 2

    def case(what: str, name: str, spoiled: Sequence[Token]) -> Case:
        return what, name, lambda: player.play(spoiled)

    def taps(change: Callable[[list[Tap]], object], at: int = middle, **more: Any) -> list[Token]:
        changed = list(tokens[at].taps)
        change(changed)
        return _put(tokens, at, replace(tokens[at], taps=tuple(changed), **more))

    def result(at: int = middle, **changes: Any) -> list[Token]:
        return _put(tokens, at, replace(tokens[at], result=tokens[at].result._replace(**changes)))

    for at in (0, middle, last):
        for which in (0, len(tokens[at].taps) - 1):
            layer, name = tokens[at].taps[which][0]
            said = f"layer {layer} {name} of token {at}"
            yield case(f"{said} missing", "missing_tap", taps(lambda t, w=which: t.pop(w), at))  # type: ignore[misc]
            yield case(f"{said} twice", "duplicate_tap", taps(lambda t, w=which: t.append(t[w]), at))  # type: ignore[misc]
    key, position, array = tokens[middle].taps[0]
    longer = np.append(array, array[:1])
    wider = array.astype("<i8" if array.itemsize < 8 else "<i4")
    yield case("a tap too short", "tap_size", taps(lambda t: t.__setitem__(0, (key, position, array[:-1]))))
    yield case("a tap too long", "tap_size", taps(lambda t: t.__setitem__(0, (key, position, longer))))
    yield case("a tap of another width", "tap_type", taps(lambda t: t.__setitem__(0, (key, position, wider))))
    stray = (key, position + 1, array)
    yield case("a tap of another position", "stray_tap", taps(lambda t: t.__setitem__(0, stray)))
    foreign = ((key[0] + 1000, key[1]), position, array)
    yield case("a tap of no layer", "unknown_tap", taps(lambda t: t.append(foreign)))
    yield case("a record lost", "lost_record", taps(lambda t: None, skipped=1))
    yield case("another status", "status", result(status=1))
    yield case("another position", "status", result(position=tokens[middle].result.position + 1))
    if tokens[middle].expected.cycles is not None:
        yield case("a cycle more", "cycles", result(cycles=tokens[middle].result.cycles + 1))
        yield case("a cycle less", "cycles", result(cycles=tokens[middle].result.cycles - 1))
    if player.answer is not None:
        for at in (0, last):
            other = tokens[at].result.token_out ^ 1
            yield case(f"another answer to token {at}", "response_token", result(at, token_out=other))
    yield case("a token stalled", "tokens", result(request_stall=tokens[middle].result.request_stall + 1))
    refused = replace(tokens[middle].expected, status=1, computes=False)
    refusal = tokens[middle].result._replace(status=1)
    changed = replace(tokens[middle], expected=refused, result=refusal)
    yield case("taps of a refused token", "unexpected_tap", _put(tokens, middle, changed))
    yield case("the last token missing", "tokens", tokens[:-1])
    if len(player._recorded.sequences) > 1:
        whole = len(player._recorded.sequences[-1].tokens)
        yield case("the last sequence missing", "tokens", tokens[:-whole])
    yield case("nothing at all", "nothing_compared", ())


def _put(tokens: Sequence[Token], at: int, token: Token) -> list[Token]:
    return [*tokens[:at], token, *tokens[at + 1 :]]


def _records(player: Player, good: Comparison | None) -> Iterator[Case]:
    """What a testbench may hand back wrongly, which the judge does not trust."""
    if good is None:
        return
    last = good.tokens[-1]

    def case(what: str, name: str, **changes: Any) -> Case:
        return what, name, lambda: player.judged(good.model_copy(update=changes))

    def of_last(kind: str, **changes: Any) -> dict[str, Any]:
        records = getattr(good, kind)
        return {kind: (*records[:-1], records[-1].model_copy(update=changes))}

    failure = NamedFailure(name="something", message="that the testbench found")
    yield case("a failure that is named", "something", failures=(failure,))
    yield case("differences without a place", "mismatch", **of_last("taps", mismatches=1))
    place = Divergence(sequence=0, token=0, layer=-1, tap=good.taps[0].tap, element=0, expected=0, got=1)
    yield case("a place without differences", "mismatch", first_divergence=place)
    yield case("a token not recorded", "tokens", tokens=good.tokens[:-1])
    yield case("a token recorded twice", "tokens", tokens=(*good.tokens, last))
    for name, value in (("token_in", last.token_in ^ 1), ("position", last.position + 1), ("status", 1)):
        yield case(f"{name} of a token", "tokens", **of_last("tokens", **{name: value}))
    if last.cycles_model is not None:
        yield case("cycles of a token", "cycles", **of_last("tokens", cycles=last.cycles + 1))
        yield case("cycles of no token", "cycles", **of_last("tokens", cycles_model=None))
    yield case("a request not recorded", "tokens", requests=good.requests[:-1])
    yield case("a request too much", "tokens", requests=(*good.requests, good.requests[-1]))
    yield case("a reset", "tokens", resets=(ResetRecord(tokens=1, requests=1, position=None, cycles=0),))
    rom = RomRecord(op=0, unit=0, word=0, words=1, status=0)
    yield case("a ROM read", "rom_reads", roms=(rom,))
    yield case("a sequence not counted", "taps_missing", sequences=good.sequences[:-1])
    yield case("an adapter that is none", "taps_missing", **of_last("sequences", adapter=0))
    yield case("a slot that is none", "tokens", **of_last("sequences", slot=0))
    for kind in ("sequences", "taps"):
        for name in ("vectors", "elements"):
            less = getattr(getattr(good, kind)[-1], name) - 1
            yield case(f"{name} less in {kind}", "taps_missing", **of_last(kind, **{name: less}))
    yield case("a tap not counted", "taps_missing", taps=good.taps[:-1])
    yield case("taps in another order", "taps_missing", taps=good.taps[::-1])
    first, second, *others = good.taps
    first = first.model_copy(update={"vectors": first.vectors - 1})
    second = second.model_copy(update={"vectors": second.vectors + 1})
    yield case("a vector of one tap counted for another", "taps_missing", taps=(first, second, *others))
    empty = tuple(tap.model_copy(update={"elements": 0}) for tap in good.taps)
    yield case("nothing compared", "nothing_compared", taps=empty)
    texts = tuple(Generation(fed.tokens, 1) for fed in player._recorded.sequences)
    longer = replace(texts[-1], new_tokens=2)
    cut = good.model_copy(update={"tokens": good.tokens[:-1]})
    for what, planned, left in (
        ("a text that is not as long as planned", (*texts[:-1], longer), good),
        ("a text without its last token", texts, cut),
        ("a text too much", texts[:-1], good),
    ):
        asked = Expectation(texts=planned)
        yield what, "tokens", lambda asked=asked, left=left: player.judged(left, expectation=asked)  # type: ignore[misc]
    nowhere, test = Path(), player._recorded.spec.test
    for name in ("test_failed", "simulator_killed", "timeout", "golden_failed"):
        outcome = SimOutcome("failed", 1, (test,), (Failure(name, test, "it did"),), 0.0, nowhere, nowhere)
        yield f"a simulator that ended as {name}", name, _of_outcome(player, good, outcome)
    nobody = SimOutcome("passed", 0, (), (), 0.0, nowhere, nowhere)
    yield "no test", "no_test_run", _of_outcome(player, good, nobody)


def _files(player: Player, good: Comparison | None, folder: Path) -> Iterator[Case]:
    """What a run may leave wrongly on disk, and a simulator of another fabric."""
    chip, expectation = player._recorded.chip, player._recorded.expectation

    def case(what: str, name: str, find: Callable[[], list[Reason]]) -> Case:
        return what, name, lambda: Found(frozenset(reason.name for reason in find()), None, 0, None)

    yield case("no comparison", "comparison_missing", lambda: read_comparison(folder / "nowhere")[1])
    for number, text in enumerate(("", "{}", '{"taps": []}')):
        broken = folder / str(number)
        broken.mkdir()
        (broken / COMPARISON_FILE).write_text(text, encoding="utf-8")
        what = f"a comparison that is {text!r}"
        yield case(what, "comparison_broken", lambda broken=broken: read_comparison(broken)[1])  # type: ignore[misc]
    image = min(chip.images.images, key=lambda one: one.size_bytes)
    images = ImageSet(folder / "rom", (image,))
    images.folder.mkdir()
    yield case("a ROM file that is gone", "rom_changed", lambda: check_rom(images))

    def changed() -> list[Reason]:
        data = bytearray(chip.images.path(image).read_bytes())
        data[-1] ^= 1
        images.path(image).write_bytes(data)
        return check_rom(images)

    yield case("a ROM file with another bit", "rom_changed", changed)
    other = replace(chip.build, executable=folder / "built" / "simulator")
    other.executable.parent.mkdir()
    built = json.dumps({"inputs": {"fabric": "0" * 64}})
    other.executable.with_name("build.json").write_text(built, encoding="utf-8")
    yield case("a simulator of another fabric", "fabric_changed", lambda: check_fabric(chip.fabric, other))
    results = folder / "results.xml"

    def read(text: str) -> list[Reason]:
        results.write_text(text, encoding="utf-8")
        try:
            _, failures = read_results(results, "Test")
        except ResultsError as error:
            failures = (error.failure,)
        return [Reason(name=failure.name, message=failure.message) for failure in failures]

    for name, inside in (
        ("test_failed", '<testcase name="Test"><failure message="m"/></testcase>'),
        ("test_failed", '<testcase name="Test"><error message="m"/></testcase>'),
        ("test_skipped", '<testcase name="Test"><skipped/></testcase>'),
        ("no_test_run", '<testcase name="Other"/>'),
    ):
        yield case(f"results of {inside}", name, lambda inside=inside: read(f"<s>{inside}</s>"))  # type: ignore[misc]
    yield case("results that are cut", "results_broken", lambda: read("<s><testcase"))
    if good is None or expectation is None:
        return
    planned = RomUnit(unit=0, layer=0, image="a", sha256="0" * 64, slices=1)
    asked = replace(expectation, read_back=(planned,))
    yield "a ROM that was not read back", "readback", lambda: player.judged(good, expectation=asked)
    unit = UnitReadback(
        **{"unit": 0, "name": "a", "layer": 0, "image": "a", "sha256": "0" * 64, "words": 1, "slices": 1},
        **{"read": 1, "wrong": 1, "bits": (), "signature": 0, "expected_signature": 0},
    )
    held = Readback(rom_sha256="0" * 64, units=(unit,))
    yield (
        *("a ROM that was read back wrongly", "readback"),
        lambda: player.judged(good, expectation=asked, readback=held),
    )


def _simulated(player: Player, folder: Path) -> Iterator[Case]:
    """Runs in a simulator that end too late, and that read a ROM file which is not what its name says."""
    recorded = player._recorded
    chip, spec = recorded.chip, recorded.spec

    def run(chip: Chip, name: str, timeout_s: float) -> Found:
        config = {key: value for key, value in recorded.config.items() if key != "dump_taps"}
        made = run_test(chip, spec.test, folder / name, seed=spec.seed, config=config, timeout_s=timeout_s)
        return Found(frozenset(reason.name for reason in made.reasons), None, 0, made.comparison)

    yield "a simulator that does not end in time", "timeout", lambda: run(chip, "late", 0.05)
    results = f'<s><testcase name="{spec.test}"/></s>'
    for name, end in (("simulator_killed", "kill -9 $$"), ("simulator_exit", "exit 3")):
        script = folder / f"{name}.sh"
        script.write_text(
            f"#!/bin/sh\nprintf '%s' '{results}' > \"$COCOTB_RESULTS_FILE\"\n{end}\n", encoding="utf-8"
        )
        script.chmod(0o755)
        ended = replace(chip, build=replace(chip.build, executable=script))
        what = f"a simulator that ends as {name} with good results"
        yield what, name, lambda ended=ended, name=name: run(ended, name, spec.timeout_s)  # type: ignore[misc]
    image = min(chip.images.images, key=lambda one: one.size_bytes)
    images = ImageSet(folder / "changed", chip.images.images)

    def changed() -> Found:
        images.folder.mkdir()
        for one in images.images:
            if one.sha256 != image.sha256 and not images.path(one).exists():
                images.path(one).symlink_to(chip.images.path(one).absolute())
        data = bytearray(chip.images.path(image).read_bytes())
        data[0] ^= 1
        images.path(image).write_bytes(data)
        return run(replace(chip, images=images), "other", spec.timeout_s)

    yield "a run with another ROM file", "rom_changed", changed


def _of_outcome(player: Player, good: Comparison, outcome: SimOutcome) -> Callable[[], Found]:
    return lambda: player.judged(good, outcome)
