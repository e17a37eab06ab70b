"""What a project brings: found, called, and refused in one line whatever its code does."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest

from etchproof.coverage import hooks as coverage_hooks
from etchproof.errors import InputError
from etchproof.project.declaration import Project, load_project
from etchproof.run import hooks
from etchproof.run.design import Design
from models.chip import plan
from tests.conftest import ROOT
from tests.unit.models.conftest import drawn_model

PROJECT = load_project(ROOT)


def test_each_hook_of_the_reference_project() -> None:
    """Called as the engine calls it, each gives what its type says."""
    model = drawn_model()
    config, recipe = model.config, model.recipe
    chip = hooks.plan_llama(PROJECT)(config, recipe)
    assert chip == plan(config, recipe)
    assert {tap.layer for tap in hooks.taps(PROJECT)(chip)} == set(range(-1, config.n_layers))
    assert hooks.golden(PROJECT)(model).session() is not None
    assert {item.output for item in hooks.renderings(PROJECT)(chip)} >= {"ep_chip.sv"}
    assert {image.name for image in hooks.images(PROJECT)(model, chip)} >= {"q_proj.codes"}
    assert hooks.site(PROJECT)("lm_head[0,0]^0", chip)[0] == -1
    assert coverage_hooks.rom(PROJECT)(model, chip)
    assert {group.name for group in coverage_hooks.groups(PROJECT)(chip)} >= {"kv_cache"}
    assert coverage_hooks.sampler(PROJECT)(model, chip) is not None
    assert hooks.corners(PROJECT)(model, chip, 1).config == config
    assert hooks.expect(PROJECT) is not None


def test_what_is_not_declared() -> None:
    without = PROJECT.model_copy(update={"rom": None, "lora": None, "coverage": None})
    assert list(hooks.images(without)(drawn_model(), None)) == []
    for ask, key in (
        (hooks.site, "rom"),
        (hooks.corners, "coverage.corners"),
        (lambda project: hooks.drawn_adapters(project, "@x"), "lora.drawn"),
        (coverage_hooks.rom, "coverage"),
    ):
        with pytest.raises(InputError) as error:
            ask(without)  # type: ignore[operator]
        assert error.value.key == key and error.value.source == PROJECT.file


@pytest.mark.parametrize(
    ("code", "problem"),
    [
        ("def taps(plan):\n    return {}['x']\n", "'mine_taps:taps' failed: KeyError at mine_taps.py:2: 'x'"),
        ("taps = 3\n", "'mine_taps:taps' is 3, expected a function"),
        ("def taps():\n    return ()\n", "'mine_taps:taps' failed: TypeError at hooks.py"),
        ("def taps(plan):\n    return ()\n", "declares no tap"),
        ("def taps(plan):\n    return ['x']\n", "declares 'x', expected a Tap"),
        ("def taps(plan):\n    return 3\n", "'int' object is not iterable"),
    ],
)
def test_a_hook_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, problem: str) -> None:
    (tmp_path / "mine_taps.py").write_text(code)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(__import__("sys").modules, "mine_taps", raising=False)
    update: dict[str, Any] = {"taps": PROJECT.taps.model_copy(update={"plan": "mine_taps:taps"})}
    project: Project = PROJECT.model_copy(update=update)
    with pytest.raises(InputError) as error:
        _ = Design(project, cast(Any, None), None).taps
    assert problem in str(error.value)
    assert (error.value.key, error.value.source) == ("taps.plan", PROJECT.file)
