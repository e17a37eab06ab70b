"""Reading ``results.xml`` as cocotb leaves it, and as it should not be."""

from __future__ import annotations

from pathlib import Path

import pytest

from etchproof.sim.results import ResultsError, read_results

SUITE = '<testsuites name="cocotb tests"><testsuite name="bench">{}</testsuite></testsuites>'
PASS = '<testcase classname="bench" name="a" time="0.1"><properties/></testcase>'
FAIL = '<testcase classname="bench" name="b"><failure message="seven">trace</failure></testcase>'
ERROR = '<testcase classname="bench" name="b"><error message="init"/></testcase>'
SKIP = '<testcase classname="bench" name="b"><skipped message="later"/></testcase>'


def results(folder: Path, cases: str) -> Path:
    file = folder / "results.xml"
    file.write_text(SUITE.format(cases))
    return file


def test_a_pass(tmp_path: Path) -> None:
    assert read_results(results(tmp_path, PASS), "a") == (("bench.a",), ())


@pytest.mark.parametrize(
    ("case", "name", "message"),
    [(FAIL, "test_failed", "seven\ntrace"), (ERROR, "test_failed", "init"), (SKIP, "test_skipped", "later")],
)
def test_anything_else_is_a_failure(tmp_path: Path, case: str, name: str, message: str) -> None:
    passed, failures = read_results(results(tmp_path, PASS + case), "a")
    assert passed == ("bench.a",)
    assert [(failure.name, failure.test, failure.message) for failure in failures] == [
        (name, "bench.b", message)
    ]


@pytest.mark.parametrize("cases", ["", PASS])
def test_the_test_that_had_to_run_did_not(tmp_path: Path, cases: str) -> None:
    assert [failure.name for failure in read_results(results(tmp_path, cases), "z")[1]] == ["no_test_run"]


@pytest.mark.parametrize(
    ("text", "name"),
    [
        (None, "results_missing"),
        ("", "results_broken"),
        ("<testsuites>", "results_broken"),
        (b"\xff", "results_broken"),
    ],
)
def test_no_usable_file(tmp_path: Path, text: str | bytes | None, name: str) -> None:
    file = tmp_path / "results.xml"
    if text is not None:
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ResultsError) as caught:
        read_results(file, "a")
    assert caught.value.failure.name == name


def test_a_long_message_keeps_its_end(tmp_path: Path) -> None:
    case = (
        f'<testcase classname="bench" name="b"><failure message="{"x" * 9000}">the end</failure></testcase>'
    )
    message = read_results(results(tmp_path, case), "b")[1][0].message
    assert len(message) < 5000
    assert message.endswith("the end")
