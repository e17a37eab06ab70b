"""Lists become items: names, seeds, placeholders, and what is refused."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from etchproof.errors import InputError
from etchproof.project.declaration import load_project
from etchproof.regress.plan import only
from etchproof.regress.spec import ItemSpec, expand, item_name, item_seed, load_list
from etchproof.signoff.testplan import all_tests
from tests.conftest import ROOT

TESTS = ("Alpha", "Beta")


def items(folder: Path, text: str, **options: object) -> tuple[ItemSpec, ...]:
    path = folder / "listed.yaml"
    path.write_text(text)
    return expand(load_list(str(path), folder), folder, TESTS, **options)  # type: ignore[arg-type]


LISTED = """
entries:
  - tests: [Alpha, Beta]
    models: [a, b]
    recipes: [w6a16]
    builds: [fast, strict]
    contexts: [null, 18]
    seeds: 2
"""


def test_every_combination(tmp_path: Path) -> None:
    found = items(tmp_path, LISTED)
    assert len(found) == 2 * 2 * 1 * 2 * 2 * 2
    assert len({item.name for item in found}) == len(found)
    assert len({item.seed for item in found}) == len(found)
    assert found[0].name == "Alpha-a-w6a16-s1"
    assert "Beta-b-w6a16-c18-strict-s2" in {item.name for item in found}


def test_a_seed_is_of_the_name_and_the_base_seed_alone(tmp_path: Path) -> None:
    before = {item.name: item.seed for item in items(tmp_path, LISTED)}
    more = LISTED.replace("entries:", "entries:\n  - {tests: [Beta], models: [c], recipes: [w8a16]}")
    after = {item.name: item.seed for item in items(tmp_path, more)}
    assert len(after) == len(before) + 1
    assert before.items() <= after.items()
    other = {item.name: item.seed for item in items(tmp_path, LISTED, base_seed=2)}
    assert not set(other.values()) & set(before.values())
    assert item_seed("Alpha-a-w6a16-s1", 1) == before["Alpha-a-w6a16-s1"]
    assert all(1 <= seed < 2**31 for seed in before.values())


def test_placeholders(tmp_path: Path) -> None:
    text = 'entries: [{tests: [Alpha], models: ["@model"]}]'
    found = items(tmp_path, text, model=tmp_path / "given", recipe="w4a16")
    assert (found[0].name, found[0].model) == ("Alpha-given-w4a16-s1", str(tmp_path / "given"))
    with pytest.raises(InputError, match="is @model, and the command line names none"):
        items(tmp_path, text, recipe="w4a16")


def test_adapters(tmp_path: Path) -> None:
    """Folders from the project's root, kinds as they are, and all of the command line's, which may be none."""
    text = 'entries: [{tests: [Alpha], models: [a], recipes: [r], adapters: [[], [x/boy], ["@corners", "@adapters"]]}]'
    given = [tmp_path / "dog", tmp_path / "cat"]
    found = items(tmp_path, text, adapters=given)
    assert {item.name: item.adapters for item in found} == {
        "Alpha-a-r-s1": (),
        "Alpha-a-r-boy-s1": (str(tmp_path / "x" / "boy"),),
        "Alpha-a-r-corners-dog-cat-s1": ("@corners", *map(str, given)),
    }
    assert [item.adapters for item in items(tmp_path, text)][2] == ("@corners",)
    with pytest.raises(InputError, match="--adapter: no entry of listed runs @adapters"):
        items(tmp_path, text.replace("@adapters", "@ranks"), adapters=given)


def test_shapes_and_prompts(tmp_path: Path) -> None:
    text = """
entries:
  - tests: [Alpha]
    shapes: [{shape: odd.yaml, weights: 3, layers: 1}, {shape: llama-3.2-1b, weights: 1, vocab: 128}]
    recipes: [w6a16]
    prompts: [one, two]
"""
    found = items(tmp_path, text)
    assert [item.name for item in found] == [
        "Alpha-odd-l1-w3-w6a16-p0-s1",
        "Alpha-odd-l1-w3-w6a16-p1-s1",
        "Alpha-llama-3.2-1b-v128-w1-w6a16-p0-s1",
        "Alpha-llama-3.2-1b-v128-w1-w6a16-p1-s1",
    ]
    assert found[0].shape is not None and found[0].shape.shape == str(tmp_path / "odd.yaml")


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (["Alpha", "tiny", "s1"], "Alpha-tiny-s1"),
        (["Alpha", "größe 2", "s1"], "Alpha-größe 2-s1"),
        (["Alpha", "a\x1b[31m\nb\u202e\ud800\u2028", "s1"], "Alpha-a_[31m_b___-s1"),
        (["Alpha", "a::b/c", "s1"], "Alpha-a__b_c-s1"),
    ],
)
def test_a_name_is_one_that_folders_and_reports_can_have(words: list[str], name: str) -> None:
    assert item_name(words) == name


@pytest.mark.parametrize("sign", ["a", "é", "語", "🦙"])
def test_a_long_name_is_cut_and_stays_unique(tmp_path: Path, sign: str) -> None:
    """Eight adapters make one easily; no file system takes more than 255 bytes."""
    names = {item_name(["Alpha", *[sign * 50] * count, "s1"]) for count in range(1, 40)}
    assert len(names) == 39
    for name in names:
        (tmp_path / name).mkdir()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("entries: [{tests: [Gamma], models: [a]}]", "entries[0].tests: 'Gamma' is no test of the testbench"),
        ("entries: [{tests: [Alpha]}]", "entries[0]: names neither models nor shapes"),
        ("entries: [{tests: [Alpha], models: [a, a], recipes: [w6a16]}]", "'Alpha-a-w6a16-s1' stands twice"),
        ("entries: [{tests: [Alpha], models: [a], seeds: 0}]", "entries[0].seeds: is 0, expected at least 1"),
        ("entries: [{tests: [Alpha], model: [a]}]", "entries[0].model: is"),
        ("entries: [{models: [a]}]", "entries[0].tests: is missing"),
        ("entries: [{tests: [Alpha], models: [a], builds: [slow]}]", "entries[0].builds[0]: is 'slow'"),
        (
            "entries: [{tests: [Alpha], models: [a], directed: [[1], [-1]]}]",
            "entries[0].directed[1][0]: is -1, expected at least 0",
        ),
        (
            "entries: [{tests: [Alpha], models: [a], directed: [[4294967296]]}]",
            "entries[0].directed[0][0]: is 4294967296, expected less than 4294967296",
        ),
        ("description: nothing", "entries: is missing"),
        ("- a", "expected keys and values"),
        ("entries: [", "is not valid YAML"),
    ],
)
def test_a_bad_list(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(InputError, match=re.escape(said)) as caught:
        items(tmp_path, text, recipe="w6a16")
    assert "\n" not in str(caught.value)


def test_an_unknown_list(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="regression 'none' is not known"):
        load_list("none", tmp_path)


def test_only(tmp_path: Path) -> None:
    found = items(tmp_path, LISTED)
    assert only(found, []) == found
    assert [item.name for item in only(found, ["Alpha-a-w6a16-s1"])] == ["Alpha-a-w6a16-s1"]
    with pytest.raises(InputError, match="'Gamma' is no item of this list"):
        only(found, ["Gamma"])


@pytest.mark.parametrize("name", ["smoke", "nightly", "signoff-v1", "signoff-v2"])
@pytest.mark.parametrize("given", [(), (Path("/some/boy"),)])
def test_the_lists_that_ship(name: str, given: tuple[Path, ...]) -> None:
    """With adapters on the command line and without; what verifies the slots runs either way."""
    tests = all_tests(load_project(ROOT))
    if name == "smoke" and given:
        with pytest.raises(InputError, match="no entry of smoke runs @adapters"):
            expand(load_list(name, ROOT), ROOT, tests, adapters=given)
        return
    found = expand(
        load_list(name, ROOT), ROOT, tests, model=Path("/some/model"), recipe="w6a16", adapters=given
    )
    every = {"smoke": set(tests), "signoff-v2": set(tests) - {"DirectedTokens"}}
    assert {item.test for item in found} >= every.get(name, {"ContextLimit", "AdapterTwice"})
    assert all(item.adapters for item in found if item.test.startswith(("Adapter", "Load")))
    assert any("/some/boy" in item.adapters for item in found) == bool(given)
