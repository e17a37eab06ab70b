"""Faults that the reference project declares in its RTL: each can be planted in every chip that has what it is in."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from etchproof.checkpoint.config import read_config
from etchproof.project.declaration import load_project
from etchproof.quantize.recipe import Lora, load_recipe
from etchproof.render.sources import simulation_names
from etchproof.render.templates import library_files
from etchproof.run import hooks
from etchproof.schemata.sources import draw, make_schemata, read_sources
from models.chip import plan as plan_of
from tests.conftest import ROOT
from tests.render.designs import MIXED, PLAIN, Design, render_whole
from verif.qualify.rtl import faults

SHAPES = ROOT / "hw" / "lint" / "configurations"


def design(model: Path, recipe: str) -> Design:
    return read_config(model), load_recipe(recipe, ROOT / "models" / "recipes")


SHIPPED = design(ROOT / "models" / "tiny", "w6a16")
CHIPS = {
    "shipped": SHIPPED,
    "awkward": design(SHAPES / "awkward", str(SHAPES / "awkward" / "mixed.yaml")),
    "no-lora": design(SHAPES / "stories260k", str(SHAPES / "stories260k" / "no-lora.yaml")),
    "plain": PLAIN,
    "one-slot": (MIXED[0], MIXED[1].model_copy(update={"lora": Lora(slots=1, max_rank=1)})),
}


@pytest.mark.parametrize("chip", CHIPS)
def test_every_fault_is_planted_and_elaborates(chip: str, tmp_path: Path) -> None:
    fabric = render_whole(CHIPS[chip], tmp_path / "fabric")
    apart = {path.name for path in library_files()} | simulation_names(load_project(ROOT))
    sources = read_sources(fabric, apart)
    edits = list(faults(plan_of(*CHIPS[chip])))
    drawn = draw(sources, 1, edits)[: len(edits)]
    assert Counter((fault.file, fault.operator) for fault in drawn) == Counter(
        (edit.file, edit.what) for edit in edits
    ), "a slip of a source that the chip does not have"
    names = Counter(fault.name for fault in drawn)
    assert not [name for name, count in names.items() if count > 1], "every fault has a name of its own"
    made = make_schemata(fabric, sources, drawn, len(drawn), tmp_path / "schemata")
    assert [fault.name for fault in made.refused] == []
    assert list(made.faults.values()) == drawn


def test_the_shipped_chip_has_as_many_as_the_page_says() -> None:
    shipped, without = (len(list(faults(plan_of(*CHIPS[chip])))) for chip in ("shipped", "no-lora"))
    assert shipped >= 80
    page = (ROOT / "docs" / "qualification.md").read_text(encoding="utf-8")
    assert f"declares {shipped} for `models/tiny`" in page
    assert f"the chip without slots has {without}" in page


@pytest.mark.parametrize(
    ("chip", "with_it", "without"),
    [
        ("no-lora", {"tie to even"}, {"checksum not checked", "adapter not shifted", "slot of every token"}),
        ("plain", {"last of equal logits"}, {"head map of keys interleaved", "padding takes part"}),
        ("one-slot", {"checksum not checked"}, {"A of the neighbour slot", "h of the next rank"}),
        ("awkward", {"bias left out", "scale of a row's first group"}, {"head map of keys interleaved"}),
        ("shipped", {"head map of keys interleaved", "padding takes part"}, {"bias left out"}),
    ],
)
def test_what_a_chip_does_not_have_cannot_go_wrong(chip: str, with_it: set[str], without: set[str]) -> None:
    what = {edit.what for edit in faults(plan_of(*CHIPS[chip]))}
    assert with_it <= what
    assert not without & what


def test_the_project_names_them() -> None:
    project = load_project(ROOT)
    assert project.qualify.rtl is not None
    named, plan = hooks.hook(project, "qualify.rtl", project.qualify.rtl), plan_of(*SHIPPED)
    assert list(named(plan)) == list(faults(plan))
