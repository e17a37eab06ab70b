"""The tensors that a project declares are those that it observes, and those whose sums it samples."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from etchproof.contract.mask import MaskSite
from etchproof.coverage import hooks
from etchproof.errors import InputError
from etchproof.project.declaration import Project, load_project
from etchproof.signoff.capabilities import ABSENT, COVERAGE, OBSERVABILITY, capabilities, without
from etchproof.signoff.covered import _accumulators
from etchproof.signoff.observed import Mask, check_sites, draw_faults
from models import chip
from models.rom.writer import images
from tests.conftest import ROOT
from tests.unit.models.conftest import drawn_model

PROJECT = load_project(ROOT)
ONE = (MaskSite("up", 0, "up", sums=True), MaskSite("norm", 0, "norm", sums=False))
Declared = Callable[[str], Project]


@pytest.fixture
def declared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Declared:
    """The reference project with ``sites`` of one's own."""

    def make(code: str) -> Project:
        (tmp_path / "mine_sites.py").write_text(f"from etchproof.contract.mask import MaskSite\n{code}\n")
        monkeypatch.syspath_prepend(str(tmp_path))
        monkeypatch.delitem(__import__("sys").modules, "mine_sites", raising=False)
        assert PROJECT.coverage is not None
        coverage = PROJECT.coverage.model_copy(update={"sites": "mine_sites:sites"})
        return PROJECT.model_copy(update={"coverage": coverage})

    return make


def test_the_reference_chip_declares_what_it_observes() -> None:
    model = drawn_model()
    plan = chip.plan(model.config, model.recipe)
    found = hooks.sites(PROJECT, ((image.layer, image.name) for image in images(model, plan)))
    units = hooks.rom(PROJECT)(model, plan)
    assert {one.site for one in found} == {unit.site for unit in units}
    check_sites(PROJECT, units, found)
    sampled = hooks.sampler(PROJECT)(model, plan).accumulators()
    assert {one.site for one in found if one.sums} == sampled.keys()


def test_other_tensors_than_declared_are_refused() -> None:
    model = drawn_model()
    plan = chip.plan(model.config, model.recipe)
    units = hooks.rom(PROJECT)(model, plan)
    found = hooks.sites(PROJECT, ((image.layer, image.name) for image in images(model, plan)))
    for observed, sites, problem in (
        (units[1:], found, "coverage.sites: declares, and rom gives no unit of 'model.embed_tokens'"),
        (units, found[1:], "coverage.sites: does not declare, and rom gives 'model.embed_tokens'"),
        ((*units, units[0]), found, "declares 1 units, and rom gives 2, of 'model.embed_tokens'"),
    ):
        with pytest.raises(InputError, match=problem):
            check_sites(PROJECT, observed, sites)


@pytest.mark.parametrize(
    ("code", "problem"),
    [
        ("def sites(images):\n    return ['up']", "gives 'up', expected a MaskSite"),
        (
            "def sites(images):\n    return [MaskSite('up', n, 'up', sums=True) for n in (0, 1)]",
            "names 'up' twice",
        ),
        (
            "def sites(images):\n    return [MaskSite(n, 0, 'up', sums=True) for n in ('a', 'b')]",
            r"names \(0, 'up'\) twice",
        ),
        ("def sites(images):\n    return images[9]", "'mine_sites:sites' failed: IndexError"),
    ],
)
def test_what_names_no_tensors(declared: Declared, code: str, problem: str) -> None:
    with pytest.raises(InputError, match=problem) as error:
        hooks.sites(declared(code), [(0, "up.codes")])
    assert error.value.key == "coverage.sites"


def test_a_project_that_is_not_observed() -> None:
    """Said as not measured; its covergroups are measured as before."""
    assert PROJECT.coverage is not None
    coverage = PROJECT.coverage.model_copy(update={"rom": None, "sites": None})
    blind = PROJECT.model_copy(update={"coverage": coverage})
    assert hooks.sites(blind, [(0, "up.codes")]) == () and hooks.rom(blind)(drawn_model(), None) == ()
    held = capabilities(blind)
    assert COVERAGE in held and OBSERVABILITY not in held
    for gate in ("rom_observability", "rom_words", "accumulators"):
        assert without(gate, held) == ABSENT[OBSERVABILITY] == "the project declares no [coverage] rom"
        assert without(gate, capabilities(PROJECT)) is None
    assert without("injected_faults", held) is not None and without("covergroup", held) is None


def test_no_bit_is_drawn_where_no_run_fed_anything() -> None:
    """Of a chip that is observed; it ended in a traceback, looking for memories that the RTL fills."""
    chip_of = cast(Any, SimpleNamespace(design=SimpleNamespace(project=PROJECT)))
    assert draw_faults(chip_of, Mask(), 5, seed=1) == ((), 0, ())


@pytest.mark.parametrize("missing", ["rom", "sites"])
def test_one_key_without_the_other(missing: str, tmp_path: Path) -> None:
    lines = (ROOT / "etchproof.toml").read_text().splitlines()
    start = lines.index("[coverage]")
    kept = [line for at, line in enumerate(lines) if at < start or not line.startswith(f"{missing} =")]
    assert len(kept) == len(lines) - 1
    (tmp_path / "etchproof.toml").write_text("\n".join(kept))
    with pytest.raises(InputError, match=r"coverage: .*needs both rom and sites, or neither"):
        load_project(tmp_path)


def test_sums_that_were_not_sampled_are_never_seen() -> None:
    def found(*seen: dict[str, Any]) -> dict[str, tuple[int, int]]:
        return {one.site: (one.largest, one.bound) for one in _accumulators(seen, ONE, PROJECT)}

    assert found({"up": (3, 9)}, {"up": (5, 9)}) == {"up": (5, 9)}
    two = (*ONE, MaskSite("down", 0, "down", sums=True))
    assert [(one.site, one.largest) for one in _accumulators([{"up": (3, 9)}], two, PROJECT)] == [
        ("up", 3),
        ("down", 0),
    ]
    assert found() == {}
    with pytest.raises(
        InputError, match=r"coverage.sampler: samples sums of 'norm', for which sites declares none"
    ):
        found({"up": (3, 9), "norm": (1, 2)})
