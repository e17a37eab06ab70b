"""Files written by hand: whatever a format can say beyond plain values is refused in one line, for every loader."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import hjson
import pytest

from etchproof.checkpoint.shape import load_shape
from etchproof.coverage.exclusions import load_exclusions
from etchproof.errors import InputError
from etchproof.files.documents import LIMIT_BYTES, read_document
from etchproof.files.yaml_file import read_yaml_object
from etchproof.project.declaration import load_project
from etchproof.quantize.recipe import load_recipe
from etchproof.regress.spec import MAX_ITEMS, RegressionList, expand, load_list
from etchproof.signoff.gates_file import read_gates
from etchproof.signoff.survivors import load_survivors
from etchproof.signoff.testplan import load_testplan
from etchproof.signoff.waivers import load_waivers
from tests.conftest import ROOT

Load = Callable[[Path], Any]

YAML: dict[str, Load] = {
    "recipe": lambda path: load_recipe(path, path.parent),
    "shape": lambda path: load_shape(path, path.parent),
    "list": lambda path: load_list(str(path), path.parent),
    "gates": lambda path: read_gates(path, "V1"),
    "waivers": load_waivers,
    "survivors": load_survivors,
    "exclusions": load_exclusions,
}
"""Every loader of YAML that the product has; the test below counts them."""

BAD_YAML = {
    "tag of a date": "a: !!timestamp x",
    "tag of a bool": "a: !!bool x",
    "tag of an integer": "a: !!int ''",
    "tag of an object": "!!python/object/apply:os.system [ls]",
    "own tag": "a: !mine 1",
    "alias of itself": "a: &a [*a]",
    "anchor": "a: &a 1",
    "alias": "a: *a",
    "bomb": "a: &a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b]\n" * 6,
    "integer of 5,000 digits": f"a: {'9' * 5000}",
    "integer of 400 digits": f"a: 1{'0' * 400}",
    "infinite": "a: .inf",
    "no number": "a: .nan",
    "10^400": "a: 1e400",
    "nested": f"a: {'[' * 400}{']' * 400}",
    "nested mappings": "a: " + "{a: " * 400 + "}" * 400,
    "never closed": "[" * 20000,
    "NUL": "a: b\0c",
    "escaped NUL": 'a: "b\\0c"',
    "half of a pair": 'a: "\\ud800"',
    "half of a pair as key": '"\\ud800": 1',
    "list as key": "? [a]\n: 1",
    "key twice": "a: 1\na: 1",
    "number as key": "1: 2",
    "no UTF-8": b"a: \xff",
    "two documents": "a: 1\n---\na: 2",
    "other version": "%YAML 9.9\n---\na: 1",
    "nothing": "",
    "list": "- a",
    "large": "a: " + "x" * LIMIT_BYTES,
}


def refused(load: Load, path: Path, content: str | bytes) -> str:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError) as caught:
        load(path)
    line = str(caught.value)
    assert line.startswith(f"{path}: ")
    assert line.isprintable()
    assert len(line) < len(str(path)) + 300
    return line.removeprefix(f"{path}: ")


@pytest.mark.parametrize("text", BAD_YAML.values(), ids=BAD_YAML)
@pytest.mark.parametrize("loader", YAML)
def test_every_loader_of_yaml(tmp_path: Path, loader: str, text: str | bytes) -> None:
    refused(YAML[loader], tmp_path / "mine.yaml", text)


def test_no_loader_of_yaml_is_missing() -> None:
    source = ROOT / "src" / "etchproof"
    users = {
        str(file.relative_to(source))
        for file in source.rglob("*.py")
        if re.search(r"\bread_yaml_(record|object)\(", file.read_text(encoding="utf-8"))
    }
    assert users == {
        *("quantize/recipe.py", "checkpoint/shape.py", "regress/spec.py", "files/yaml_file.py"),
        *("signoff/gates_file.py", "signoff/waivers.py", "coverage/exclusions.py", "signoff/survivors.py"),
    }


def test_words_are_those_of_yaml_1_2(tmp_path: Path) -> None:
    path = tmp_path / "words.yaml"
    path.write_text(
        "text: [yes, no, on, 2026-12-01, '5', 1:30, 0x10, 1_000, =, <<]\n"
        "integer: [0, -3, +3, 010]\nnumber: [1e3, -.5, 2.50, 6.]\nbool: [true, FALSE]\nnull_: [~, null, ]\nempty:\n",
        encoding="utf-8",
    )
    assert read_yaml_object(path) == {
        "name": "words",
        "text": ["yes", "no", "on", "2026-12-01", "5", "1:30", "0x10", "1_000", "=", "<<"],
        "integer": [0, -3, 3, 10],
        "number": [1000.0, -0.5, 2.5, 6.0],
        "bool": [True, False],
        "null_": [None, None],
        "empty": None,
    }


BAD_TOML = {
    "integer of 5,000 digits": f"a = {'9' * 5000}",
    "integer beyond 64 bits": f"a = {2**63}",
    "infinite": "a = inf",
    "no number": "a = nan",
    "10^400": "a = 1e400",
    "nested": f"a = {'[' * 400}{']' * 400}",
    "never closed": f"a = {'[' * 100000}",
    "nested tables": f"[{'.'.join('a' * 40)}]",
    "NUL": 'a = "b\\u0000c"',
    "half of a pair": 'a = "\\ud800"',
    "key twice": "a = 1\na = 1",
    "no date": "a = 1979-13-27",
    "large": "a = '" + "x" * LIMIT_BYTES + "'",
}


@pytest.mark.parametrize("text", BAD_TOML.values(), ids=BAD_TOML)
def test_project_files(tmp_path: Path, text: str) -> None:
    refused(load_project, tmp_path / "etchproof.toml", text)


BAD_HJSON = {
    "integer of 5,000 digits": f"a: {'9' * 5000}",
    "10^400": "a: 1e400",
    "nested": "{a: " * 400,
    "never closed": "[" * 100000,
    "text never closed": "a: '''",
    "NUL": 'a: "b\\u0000c"',
    "half of a pair": 'a: "\\ud800"',
    "key twice": "a: 1\na: 1",
    "empty": "",
    "large": "# " + "x" * LIMIT_BYTES,
}


@pytest.mark.parametrize("text", BAD_HJSON.values(), ids=BAD_HJSON)
def test_testplans(tmp_path: Path, text: str) -> None:
    refused(partial(load_testplan, tests={}), tmp_path / "plan.hjson", text)


def test_plans_that_import_one_another(tmp_path: Path) -> None:
    """Thirty files, each of which imports the next one twice, would be read 2^30 times."""
    for number in range(30):
        text = f"name: p\ntestpoints: []\nimport_testplans: {json.dumps([f'{number + 1}.hjson'] * 2)}"
        (tmp_path / f"{number}.hjson").write_text(text, encoding="utf-8")
    (tmp_path / "30.hjson").write_text("name: p\ntestpoints: []", encoding="utf-8")
    with pytest.raises(InputError, match="is imported twice"):
        load_testplan(tmp_path / "0.hjson", {})


@pytest.mark.parametrize(
    ("kind", "parse", "text"),
    [("TOML", tomllib.loads, 'a = [{b = "\\u0000"}]'), ("Hjson", hjson.loads, '{a: [{b: "\\u0000"}]}')],
)
def test_the_line_names_the_key(tmp_path: Path, kind: str, parse: Callable[[str], Any], text: str) -> None:
    said = refused(partial(read_document, kind=kind, parse=parse), tmp_path / "file", text)
    assert said == r"a[0].b: is '\x00', expected text without NUL"


LIST = "entries:\n  - {tests: [GreedyGeneration], models: [m]}\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"timeout_s: .inf\n{LIST}", "timeout_s: is inf, expected a finite number"),
        (f"timeout_s: 1e9\n{LIST}", "timeout_s: is 1000000000.0, expected at most 2592000"),
        (f"timeout_s: 0\n{LIST}", "timeout_s: is 0, expected more than 0"),
        (f"base_seed: -1\n{LIST}", "base_seed: is -1, expected at least 0"),
        (LIST.replace("[m]", "[m], seeds: 1000000000"), "seeds: is 1000000000, expected at most 100000"),
        (LIST.replace("[m]", "[m], tokens: 10000000000"), "tokens: is 10000000000, expected at most 2147483647"),
        (LIST.replace("[m]", "[m], contexts: [0]"), "contexts[0]: is 0, expected at least 1"),
        (LIST.replace("[m]", '[m], prompts: ["\\udc80"]'), "which holds half of a surrogate pair"),
        (LIST.replace("[m]", "[m], directed: [[-1]]"), "directed[0][0]: is -1, expected at least 0"),
    ],
)  # fmt: skip
def test_limits_of_a_list(tmp_path: Path, text: str, message: str) -> None:
    assert message in refused(YAML["list"], tmp_path / "mine.yaml", text)


def test_a_list_of_too_many_runs(tmp_path: Path) -> None:
    entry = {"tests": ("A",), "models": ["m"], "contexts": [*range(1, 300)], "seeds": 400}
    listed = RegressionList.model_validate({"name": "mine", "entries": [entry]})
    with pytest.raises(InputError, match=f"come to 119,600 runs, expected at most {MAX_ITEMS:,}"):
        expand(listed, tmp_path, ["A"])
