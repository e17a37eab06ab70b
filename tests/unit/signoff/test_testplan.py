"""The testplan is held against what exists: every promise that nobody keeps is refused by name."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from etchproof.errors import InputError
from etchproof.project.declaration import load_project
from etchproof.signoff.testplan import CHECKS, all_tests, load_testplan, uvm_tests
from tests.conftest import ROOT

TESTS = ("Alpha", "Beta")
POINT = """{{
  name: {name}
  stage: {stage}
  desc: '''A description that is long enough to be signed.'''
  tests: [{tests}]
}}"""


def point(name: str = "first", stage: str = "V1", tests: tuple[str, ...] = ("Alpha", "Beta", *CHECKS)) -> str:
    return POINT.format(name=name, stage=stage, tests=", ".join(f'"{test}"' for test in tests))


def write(folder: Path, *points: str, head: str = "name: plan", covergroups: str = "") -> Path:
    path = folder / "testplan.hjson"
    body = "\n".join(points)
    path.write_text(
        f"{{\n  # a comment\n  {head}\n  testpoints: [\n{body}\n]\n  covergroups: [{covergroups}]\n}}\n"
    )
    return path


def refused(path: Path, **options: object) -> str:
    with pytest.raises(InputError) as caught:
        load_testplan(path, TESTS, **options)  # type: ignore[arg-type]
    assert str(path) in str(caught.value)
    return str(caught.value)


def test_a_good_plan(tmp_path: Path) -> None:
    path = write(tmp_path, point(), point("second", "V2", ("Beta",)))
    plan = load_testplan(path, TESTS)
    assert [p.name for p in plan.testpoints] == ["first", "second"]
    assert [p.name for p in plan.stage_points("V1")] == ["first"]
    assert [p.name for p in plan.stage_points("V3")] == ["first", "second"]


@pytest.mark.parametrize(
    ("points", "said"),
    [
        (
            (point(tests=("Alpha", "Beta", "Gamma", *CHECKS)),),
            "testpoint 'first' names 'Gamma', which is no test",
        ),
        ((point(), point("empty", tests=())), "testpoint 'empty' has no tests"),
        ((point(tests=("Alpha", *CHECKS)),), "no testpoint claims test 'Beta'"),
        ((point(tests=("Alpha", "Beta")),), "no testpoint claims test 'signoff.lint'"),
        ((point(), point()), "testpoint 'first' stands twice"),
        ((point(stage="V4"),), "testpoints[first].stage: is 'V4'"),
        ((point(name="Not Snake"),), "testpoints[Not Snake].name: is 'Not Snake'"),
        ((point().replace("desc:", "description:"),), "testpoints[first].desc"),
        ((point().replace("stage: V1", "stage: V1\n  stage: V2"),), "stage: stands twice in one object"),
        (("{",), "is not valid Hjson"),
        ((), "has no testpoints"),
    ],
)
def test_what_is_refused(tmp_path: Path, points: tuple[str, ...], said: str) -> None:
    assert said in refused(write(tmp_path, *points))


def test_every_finding_is_named(tmp_path: Path) -> None:
    said = refused(write(tmp_path, point(tests=("Gamma",))))
    assert "'Gamma'" in said and "'Alpha'" in said and "'Beta'" in said


def test_covergroups(tmp_path: Path) -> None:
    group = "{ name: 'kv', desc: 'a covergroup of the key/value cache' }"
    path = write(tmp_path, point(), covergroups=group)
    assert load_testplan(path, TESTS, ["kv"]).covergroups[0].name == "kv"
    assert "covergroup 'kv' is not in the coverage model" in refused(path, covergroups=[])
    assert "covergroup 'control' is not planned" in refused(path, covergroups=["kv", "control"])


def test_what_takes_slots_for_adapters(tmp_path: Path) -> None:
    """It is left out of the plan of a chip without them, by name; its tests must exist all the same."""
    group = "{ name: 'ranks', desc: 'a covergroup of the adapters', tags: ['lora'] }"
    tagged = point("second").replace("stage: V1", "stage: V1\n  tags: ['lora']")
    path = write(tmp_path, point(), tagged, covergroups=group)
    plan = load_testplan(path, TESTS, ["ranks"])
    assert [entry.name for entry in plan.tagged("lora")] == ["second", "ranks"]
    rest = plan.without("lora")
    assert ([p.name for p in rest.testpoints], rest.covergroups) == (["first"], ())
    assert load_testplan(path, TESTS, [], lora=False) == plan
    assert "covergroup 'ranks' is not in the coverage model" in refused(path, covergroups=[])
    assert "'Gamma'" in refused(write(tmp_path, point(), tagged.replace("Alpha", "Gamma")))


def test_imports(tmp_path: Path) -> None:
    more = tmp_path / "more.hjson"
    more.write_text("{ name: 'more', testpoints: [" + point("imported", tests=("Beta",)) + "] }")
    path = write(tmp_path, point(), head="name: plan\n  import_testplans: ['more.hjson']")
    assert [p.name for p in load_testplan(path, TESTS).testpoints] == ["first", "imported"]
    more.write_text("{ name: 'more', import_testplans: ['testplan.hjson'] }")
    with pytest.raises(InputError, match="imported twice, or imports itself"):
        load_testplan(path, TESTS)
    more.unlink()
    with pytest.raises(InputError, match=r"more\.hjson: file not found"):
        load_testplan(path, TESTS)


def test_the_tests_of_a_testbench() -> None:
    module = importlib.import_module("verif.tests")
    found = uvm_tests(module)
    assert {"GreedyGeneration", "HostErrors"} <= set(found)
    assert "ChipTest" not in found  # the base has no stimulus


def test_the_plan_that_ships() -> None:
    """It names every test of the testbench, and only such."""
    plan = load_testplan(ROOT / "verif" / "signoff" / "testplan.hjson", all_tests(load_project(ROOT)))
    assert {p.stage for p in plan.testpoints} == {"V1", "V2", "V3"}
    assert len(plan.testpoints) >= 20
    assert len(plan.without("lora").testpoints) == len(plan.testpoints) - 6
