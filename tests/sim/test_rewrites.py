"""The rewritten simulator against the untouched one: equal records, and each rule, once broken, is noticed."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from etchproof.checkpoint import write_synthetic
from etchproof.compare.comparator import COMPARISON_FILE
from etchproof.project.declaration import Project, load_project
from etchproof.run import flow
from etchproof.run.design import Design
from etchproof.run.slots import run_adapters
from etchproof.run.testrun import Chip, prepare, run_test
from etchproof.sim.build import BuildError
from etchproof.sim.rewrite import merge, triggers
from etchproof.sim.rewrite.rewrites import Rewrites
from tests.chip.test_shapes import MIXED, SHAPES, config

pytestmark = pytest.mark.sim

TIMES = {"sim_s", "wait_s", "golden_s", "compare_s"}
RULES = tuple(Rewrites.model_fields)


@pytest.fixture(scope="module")
def project(repo_root: Path) -> Project:
    return load_project(repo_root)


def design_of(project: Project, folder: Path, shape: Any, recipe: str) -> Design:
    """A chip of a shape with drawn weights."""
    write_synthetic(folder / "checkpoint", shape, seed=7)
    (folder / "recipe.yaml").write_text(recipe)
    return flow.plan_design(
        project, folder / "checkpoint", flow.read_recipe(project, str(folder / "recipe.yaml")), None
    )


def record(chip: Chip, test: str, folder: Path, **arguments: Any) -> tuple[str, dict[str, Any]]:
    """How a run ended and its comparison.json without times; empty when there is none."""
    run = run_test(chip, test, folder, seed=5, timeout_s=120, **arguments)
    file = folder / COMPARISON_FILE
    content: dict[str, Any] = json.loads(file.read_text()) if file.is_file() else {}
    assert not content or content.keys() > TIMES
    return run.outcome.status, {key: value for key, value in content.items() if key not in TIMES}


def chips(design: Design, folder: Path) -> tuple[Chip, Chip]:
    """The rewritten one and the untouched one."""
    fast, plain = (prepare(design, folder / kind, kind, flow.cache_folder()) for kind in ("fast", "plain"))
    assert plain.build.rewrites is None
    assert fast.build.rewrites is not None
    assert fast.fabric.sha256 == plain.fabric.sha256
    return fast, plain


def test_the_shipped_model_with_and_without_adapters(
    project: Project, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    design = flow.plan_design(project, tiny_checkpoint, flow.read_recipe(project, "w6a16"), None)
    fast, plain = chips(design, tmp_path)
    for rule in RULES:
        assert getattr(fast.build.rewrites, rule) > 0, f"{rule} is not tried on the shipped model"
    adapters = run_adapters(design, fast.model, ["@corners"], 5, flow.quantized_folder(flow.cache_folder()))
    for test, loaded in (("RandomTokens", ()), ("RomReadback", ()), ("AdapterTraffic", adapters)):
        folder = tmp_path / test
        status, found = record(fast, test, folder / "fast", adapters=loaded)
        assert (status, found) == record(plain, test, folder / "plain", adapters=loaded)
        assert status == "passed"
        assert sum(tap["elements"] for tap in found["taps"]) > 1000
        assert bool(found["loads"]) == bool(loaded)


def test_an_awkward_shape(project: Project, tmp_path: Path) -> None:
    """Layers of three kinds, and odd sizes; its rewritten build is the one of ``tests/chip/test_shapes.py``."""
    shape, recipe = SHAPES["7-layers-of-3-kinds"]
    assert recipe == MIXED
    fast, plain = chips(design_of(project, tmp_path, shape, recipe), tmp_path)
    records = [record(chip, "RandomTokens", tmp_path / chip.build.kind / "run") for chip in (fast, plain)]
    assert records[0] == records[1]
    assert records[0][0] == "passed"


# ---- each rule, broken


def _merge_what_differs(patch: pytest.MonkeyPatch) -> None:
    """Neighbours and constants that differ are taken to be equal."""
    operands = merge._operands

    def broken(*arguments: Any) -> Mapping[Any, str] | None:
        return None if operands(*arguments) is None else {}

    patch.setattr(merge, "_operands", broken)


def _one_member_for_all(patch: pytest.MonkeyPatch) -> None:
    """Temporary values of one type share a member, also those that are needed at one time."""
    rename = merge._rename

    def broken(names: Mapping[str, str], texts: dict[Path, str], headers: dict[Path, str]) -> None:
        declared = re.findall(r"^ +([^;\n]* )(__V\w+);$", "".join(headers.values()), re.MULTILINE)
        types = {name: of for of, name in declared}
        first: dict[str | None, str] = {}
        shared = {
            name: first.setdefault(types.get(new), new) if types.get(new) else new
            for name, new in names.items()
        }
        rename(shared, texts, headers)

    patch.setattr(merge, "_rename", broken)


def _take_code_for_nothing(patch: pytest.MonkeyPatch) -> None:
    """A file with functions in it is left out as if it were empty."""
    gather = merge._gather

    def broken(texts: dict[Path, str]) -> set[str]:
        gone = gather(texts)
        left = [file for file in texts if file.stem not in gone]
        return gone | {min(left, key=lambda file: len(texts[file])).stem}

    patch.setattr(merge, "_gather", broken)


def _take_falling_for_rising(patch: pytest.MonkeyPatch) -> None:
    quickened = triggers._quickened

    def broken(look: Any, body: str) -> str:
        return re.sub(r"\(rose(\d+) &", r"(fell\1 &", quickened(look, body))

    patch.setattr(triggers, "_quickened", broken)


def _forget_a_trigger(patch: pytest.MonkeyPatch) -> None:
    """The common test of several leaves one trigger out."""
    under_one = triggers._under_one

    def broken(tests: Sequence[tuple[dict[int, int], str]]) -> tuple[dict[int, int], str]:
        masks, text = under_one(tests)
        value = masks[min(masks)]
        return masks, text.replace(f"0x{value:x}ULL", f"0x{value & (value - 1):x}ULL", 1)

    patch.setattr(triggers, "_under_one", broken)


BROKEN: dict[str, Callable[[pytest.MonkeyPatch], None]] = {
    "merged_functions": _merge_what_differs,
    "renamed_members": _one_member_for_all,
    "gathered_files": _take_code_for_nothing,
    "clock_signals": _take_falling_for_rising,
    "nested_tests": _forget_a_trigger,
}


@pytest.fixture(scope="module")
def small(project: Project, tmp_path_factory: pytest.TempPathFactory) -> tuple[Design, Chip, dict[str, Any]]:
    """About the smallest chip on which every rule does something; its untouched simulator, and what that finds."""
    folder = tmp_path_factory.mktemp("small")
    shape = config(
        vocab_size=11,
        hidden_size=8,
        intermediate_size=6,
        n_layers=2,
        n_heads=2,
        head_dim=4,
        context=8,
        attention_bias=False,
        mlp_bias=False,
    )
    recipe = "lora: {slots: 1, max_rank: 2}\nmatrices:\n  - {match: '*', bits: 6, group_size: row}\n"
    design = design_of(project, folder, shape, recipe)
    fast, plain = chips(design, folder)
    for rule in RULES:
        assert getattr(fast.build.rewrites, rule) > 0
    status, found = record(plain, "RandomTokens", folder / "run")
    assert status == "passed"
    assert record(fast, "RandomTokens", folder / "run-fast") == (status, found)
    return design, fast, found


def test_every_rule_is_broken() -> None:
    assert tuple(BROKEN) == RULES


@pytest.mark.parametrize(
    "rule",
    [
        pytest.param(rule, marks=() if rule in ("merged_functions", "nested_tests") else pytest.mark.slow)
        for rule in BROKEN
    ],
)
def test_a_broken_rule_is_noticed(
    rule: str,
    small: tuple[Design, Chip, dict[str, Any]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    design, fast, wanted = small
    cache = tmp_path / "cache"  # the key is that of the rule as it should be
    for name in ("runtime", "quantized"):
        shutil.copytree(flow.cache_folder() / name, cache / name)
    BROKEN[rule](monkeypatch)
    try:
        chip = prepare(design, tmp_path / "chip", "fast", cache)
    except BuildError:
        return  # nothing comes out that could be trusted
    assert chip.build.key == fast.build.key
    assert chip.build.executable.read_bytes() != fast.build.executable.read_bytes()
    _, found = record(chip, "RandomTokens", tmp_path / "run", config={"timeout_cycles": 20_000})
    assert found != wanted
