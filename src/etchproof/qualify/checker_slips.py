"""Slips in the checker: in what reads taps, compares them, judges a run and judges the inverted bits of a sign-off."""

# ruff: noqa: E501  # a slip's text stands on one line, as in the code that it is looked for in

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from etchproof.qualify.edits import Edit, place_of


@dataclass(frozen=True)
class CheckerFault:
    """One slip.

    Attributes:
        operator: what kind of blindness it is.
    """

    operator: str
    edit: Edit

    @property
    def place(self) -> str:
        return f"{self.edit.module}.{place_of(self.edit)}"

    @property
    def becomes(self) -> str:
        """In one line."""
        return " ".join(self.edit.becomes.split())

    @property
    def name(self) -> str:
        return f"{self.place}: {self.operator}: {self.becomes}"


_COMPARATOR, _BOARD, _SINK = "etchproof.compare.comparator", "etchproof.uvm.scoreboard", "etchproof.sim.sink"
_ITEMS, _JUDGE, _FED = "etchproof.uvm.items", "etchproof.verdict.judge", "etchproof.verdict.fed"
_TAPS, _RUN, _RESULTS = "etchproof.contract.taps", "etchproof.sim.run", "etchproof.sim.results"
_INJECTION, _TESTRUN = "etchproof.coverage.injection", "etchproof.run.testrun"

_SLIPS: Final[tuple[tuple[str, str, str, str], ...]] = (
    # What is compared
    (
        "compared with itself",
        _COMPARATOR,
        "mine, kind = [taps.get(key) for taps in got], self._kinds[key]",
        "mine, kind = list(golden), self._kinds[key]",
    ),
    (
        "a tap left out",
        _COMPARATOR,
        "for order, key in enumerate(plan):",
        "for order, key in enumerate(plan[:-1]):",
    ),
    (
        "a tap left out",
        _COMPARATOR,
        "for order, key in enumerate(plan):",
        "for order, key in enumerate(plan[1:]):",
    ),
    (
        "a tap not judged",
        _COMPARATOR,
        "wrong = np.flatnonzero(array != wanted)",
        'wrong = np.flatnonzero(array != wanted)[: 0 if key[1].endswith("_proj") else None]',
    ),
    (
        "an element left out",
        _COMPARATOR,
        "wrong = np.flatnonzero(array != wanted)",
        "wrong = np.flatnonzero(array[:-1] != wanted[:-1])",
    ),
    (
        "an element left out",
        _COMPARATOR,
        "wrong = np.flatnonzero(array != wanted)",
        "wrong = np.flatnonzero(array[1:] != wanted[1:])",
    ),
    (
        "low bits left out",
        _COMPARATOR,
        "wrong = np.flatnonzero(array != wanted)",
        "wrong = np.flatnonzero(array >> 1 != wanted >> 1)",
    ),
    (
        "sign left out",
        _COMPARATOR,
        "wrong = np.flatnonzero(array != wanted)",
        "wrong = np.flatnonzero(abs(array) != abs(wanted))",
    ),
    (
        "a tolerance",
        _COMPARATOR,
        "wrong = np.flatnonzero(array != wanted)",
        "wrong = np.flatnonzero(abs(array - wanted) > 1)",
    ),
    (
        "any for all",
        _COMPARATOR,
        "return together.size if (together == wanted).all() else 0",
        "return together.size if (together == wanted).any() else 0",
    ),
    (
        "mask and value exchanged",
        _COMPARATOR,
        "return together.size if (together == wanted).all() else 0",
        "return together.size if (together & wanted == together).all() else 0",
    ),
    (
        "never unequal",
        _COMPARATOR,
        "return together.size if (together == wanted).all() else 0",
        "return together.size",
    ),
    (
        "a token left out",
        _COMPARATOR,
        "in enumerate(zip(positions, mine, golden, strict=True)):",
        "in list(enumerate(zip(positions, mine, golden, strict=True)))[:-1]:",
    ),
    ("differences not counted", _COMPARATOR, "            mismatches += len(wrong)\n", ""),
    ("differences not placed", _COMPARATOR, "if found and self.first_divergence is None:", "if False:"),
    (
        "the last difference",
        _COMPARATOR,
        "self.first_divergence = min(found, key=lambda each: each[:2])[2]",
        "self.first_divergence = max(found, key=lambda each: each[:2])[2]",
    ),
    ("a missing tap passes", _COMPARATOR, '                self.fail("missing_tap", where)\n', ""),
    (
        "an unknown tap passes",
        _COMPARATOR,
        "for key in taps.keys() - planned:",
        "for key in planned - planned:",
    ),
    ("a short tap passes", _COMPARATOR, "if array.shape != wanted.shape:", "if array.shape < wanted.shape:"),
    (
        "a failure is not kept",
        _COMPARATOR,
        "            self.failures.append(NamedFailure(name=name, message=message))\n",
        "            pass\n",
    ),
    (
        "counted without comparing",
        _COMPARATOR,
        "planned = set(plan)\n",
        "planned = set(plan)\n        self.first_divergence = None\n",
    ),
    # What is gathered
    (
        "the expectation from the chip",
        _BOARD,
        "self.comparator.compare(self._sequence, plan, positions, expected, got)",
        "expected = {key: [taps[key] for taps in got] for key in plan}\n        self.comparator.compare(self._sequence, plan, positions, expected, got)",
    ),
    (
        "a sequence not judged",
        _BOARD,
        "        if not pending:\n            return\n        results",
        "        if not pending or self._sequence == 1:\n            return\n        results",
    ),
    (
        "a batch dropped",
        _BOARD,
        "            if len(self._pending) >= BATCH_TOKENS or self._pending_bytes > MAX_PENDING_BYTES:\n                self._flush()\n",
        "            if len(self._pending) >= BATCH_TOKENS or self._pending_bytes > MAX_PENDING_BYTES:\n                self._pending.clear()\n",
    ),
    (
        "the end not compared",
        _BOARD,
        '        """No token that came before a deferred load is answered any more."""\n        self._flush()\n',
        "",
    ),
    ("an answer not judged", _BOARD, "        self._check_answer(result, expected)\n", ""),
    ("an answer not judged", _BOARD, "        self._check_responses(results, got)\n", ""),
    (
        "cycles not judged",
        _BOARD,
        "if expected.cycles is not None and result.cycles != expected.cycles:",
        "if expected.cycles is not None and result.cycles > 2 * expected.cycles:",
    ),
    (
        "cycles from the chip",
        _BOARD,
        "                    cycles_model=expected.cycles,\n                    request_stall",
        "                    cycles_model=result.cycles,\n                    request_stall",
    ),
    ("taps of a refused token pass", _BOARD, "        elif tt.taps:\n", "        elif False:\n"),
    (
        "problems of records pass",
        _BOARD,
        "        for problem in tt.problems:\n            self.comparator.fail(*problem)\n",
        "",
    ),
    ("failures not reported", _BOARD, "failures=tuple(comparator.failures)", "failures=()"),
    ("a tap twice passes", _ITEMS, "            elif key in taps:\n", "            elif False:\n"),
    (
        "a stray tap passes",
        _ITEMS,
        "            if record.pos != position:\n",
        "            if record.pos < position:\n",
    ),
    (
        "a lost record passes",
        _SINK,
        "if number != sequence & _SEQUENCE_MASK:",
        "if number < sequence & _SEQUENCE_MASK:",
    ),
    (
        "an earlier record's data",
        _SINK,
        "data = frombuffer(memory, dtypes[element_bytes], count, at + _HEADER_BYTES)",
        "data = frombuffer(memory, dtypes[element_bytes], count, self._start + _HEADER_BYTES if count * element_bytes <= 64 else at + _HEADER_BYTES)",
    ),
    # What is judged
    (
        "taps of an adapter not due",
        _TAPS,
        "if tap.adapted is None or tap.adapted in adapted)",
        "if tap.adapted is None)",
    ),
    (
        "differences pass",
        _JUDGE,
        "if comparison.mismatches == 0 and first is None:",
        "if comparison.mismatches == 0 or first is None:",
    ),
    (
        "failures pass",
        _JUDGE,
        "return [*_differences(comparison), *failures]",
        "return _differences(comparison)",
    ),
    ("differences pass", _JUDGE, "return [*_differences(comparison), *failures]", "return failures"),
    (
        "what is fed is not judged",
        _JUDGE,
        "            reasons += check_fed(comparison, expectation, context)\n",
        "",
    ),
    (
        "what is compared is not judged",
        _JUDGE,
        "            reasons += _coverage(comparison, expectation.adapted, taps)\n",
        "",
    ),
    (
        "what is read back is not judged",
        _JUDGE,
        "            reasons += _read_back(readback, expectation)\n",
        "",
    ),
    (
        "the simulator's end is not judged",
        _JUDGE,
        "return reasons + ended(outcome, reasons)",
        "return reasons",
    ),
    (
        "nothing compared passes",
        _JUDGE,
        "    if comparison.elements == 0:\n",
        "    if comparison.elements < 0:\n",
    ),
    (
        "short taps pass",
        _JUDGE,
        "if count.vectors != wanted[key] or count.elements < count.vectors",
        "if count.vectors < wanted[key] // 2",
    ),
    (
        "a missing record passes",
        _JUDGE,
        'return None, [Reason(name="comparison_missing", message=f"the testbench wrote no {COMPARISON_FILE}")]',
        "return None, []",
    ),
    ("a changed ROM passes", _JUDGE, "        if now != image.sha256:\n", "        if not now:\n"),
    ("a changed fabric passes", _JUDGE, "    if built != fabric.sha256:\n", "    if not built:\n"),
    ("tokens not judged", _FED, "    tokens = _texts(comparison, expectation, context)", "    tokens = None"),
    (
        "requests not judged",
        _FED,
        "        tokens = replay.run(expectation.steps)",
        "        tokens = replay.run(expectation.steps) and None",
    ),
    (
        "cycles not judged",
        _FED,
        "            if answer.cycles != answer.cycles_model:",
        "            if answer.cycles < 0:",
    ),
    (
        "ROM reads not judged",
        _FED,
        '        "rom_reads": _roms(comparison, expectation),',
        '        "rom_reads": None,',
    ),
    (
        "a failed test passes",
        _RESULTS,
        "            failures.append(Failure(name, test, _message(child)))\n",
        "            pass\n",
    ),
    ("a timeout passes", _RUN, "    if timed_out:\n        status", "    if False:\n        status"),
    ("a killed simulator passes", _RUN, "    elif exit_code < 0:\n", "    elif exit_code < -99:\n"),
    ("ROMs not held", _TESTRUN, "reasons += check_rom(chip.images)", "pass"),
    ("a judge not asked", _TESTRUN, "reasons += judge(", "_ = judge("),
    # The bits that a sign-off inverts
    ("bits are not inverted", _INJECTION, "            injections=injections,\n", ""),
    (
        "inverted bits count as caught",
        _INJECTION,
        'caught = first is not None and {reason.name for reason in outcome.reasons} == {"mismatch"}',
        "caught = True",
    ),
)


def faults() -> Iterator[CheckerFault]:
    """All of them, in the order of the code."""
    for operator, module, was, becomes in _SLIPS:
        yield CheckerFault(operator, Edit(module, was, becomes))
