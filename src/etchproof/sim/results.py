"""cocotb's ``results.xml``, read with suspicion: what is not a plain pass is a failure with a name."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from dataclasses import dataclass
from pathlib import Path

from etchproof.errors import InputError
from etchproof.files.regular import read_text

_MESSAGE_CHARACTERS = 4000
_PATIENCE = 2  # how many times as long as a good run a faulty one may simulate
_SLACK_NS = 20_000

UNTIL = "ep_until"
"""Plusarg with the end of a simulation, in picoseconds (``sim/native/ep_main.cpp``)."""


@dataclass(frozen=True, slots=True)
class Failure:
    """One reason why a run is no pass.

    Attributes:
        name: which check, one word: ``test_failed``, ``test_skipped``, ``no_test_run``, ``results_missing``,
            ``results_broken``, ``simulator_exit``, ``simulator_killed``, ``timeout``.
        test: the test, ``module.name``; empty when it is the run's.
        message: what happened.
    """

    name: str
    test: str
    message: str


class ResultsError(Exception):
    """There is no complete ``results.xml``. ``failure`` says why."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


def read_results(file: Path, test_case: str) -> tuple[tuple[str, ...], tuple[Failure, ...]]:
    """The tests that passed, ``module.name``, and every failure; one of the two is not empty.

    Args:
        file: ``results.xml``.
        test_case: the name of the test that had to run.

    Raises:
        ResultsError: the file is missing or is not what cocotb writes when it ends.
    """
    if not file.exists():
        raise ResultsError(Failure("results_missing", "", "the simulator left no results.xml"))
    try:
        text = read_text(file)
    except InputError as error:
        raise ResultsError(Failure("results_broken", "", f"results.xml cannot be read: {error}")) from error
    try:
        root = ET.fromstring(text)
    except ET.ParseError as error:
        raise ResultsError(Failure("results_broken", "", f"results.xml is not XML: {error}")) from error

    passed, failures, ran = [], [], []
    for case in root.iter("testcase"):
        test = f"{case.get('classname', '')}.{case.get('name', '')}".strip(".")
        ran.append(case.get("name", ""))
        bad = [child for child in case if child.tag in ("failure", "error", "skipped")]
        if not bad:
            passed.append(test)
        for child in bad:
            name = "test_skipped" if child.tag == "skipped" else "test_failed"
            failures.append(Failure(name, test, _message(child)))
    if test_case not in ran:
        what = f"only {', '.join(ran)}" if ran else "nothing"
        failures.append(Failure("no_test_run", test_case, f"{test_case} did not run, {what} did"))
    return tuple(passed), tuple(failures)


def limit_ps(file: Path) -> int:
    """Picoseconds of simulated time after which a run like a good one has failed: twice as long, and 20 us.

    Args:
        file: the good run's ``results.xml``, which ``read_results`` has read.
    """
    stops_ns = [
        float(found.get("value", "0"))
        for found in ET.fromstring(read_text(file)).iter("property")
        if found.get("name") == "sim_time_stop"
    ]
    return round(1000 * (_PATIENCE * max(stops_ns, default=0.0) + _SLACK_NS))


def _message(child: ET.Element) -> str:
    """``message`` and the text: the exception, and where it came from."""
    parts = [child.get("message", ""), (child.text or "").strip()]
    message = "\n".join(part for part in parts if part) or child.tag
    return message if len(message) <= _MESSAGE_CHARACTERS else f"... {message[-_MESSAGE_CHARACTERS:]}"
