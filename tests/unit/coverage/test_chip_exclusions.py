"""What the reference project works out of a chip: signals and lines that the chip has, and what has to stay in."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from etchproof.coverage import hooks
from etchproof.coverage.exclusions import Exclusion, SignalExclusion, apply_exclusions, source_lines
from etchproof.coverage.toggles import signals
from etchproof.coverage.verilator import ModuleCoverage, Point
from etchproof.errors import InputError
from etchproof.project.declaration import Project, load_project
from etchproof.render.images import write_images
from models import chip
from models.chip import ChipPlan
from models.rom.writer import images
from tests.conftest import ROOT
from tests.render.designs import DESIGNS, MIXED, PLAIN, Design, render_design
from tests.unit.models.conftest import drawn_model
from verif.coverage.exclusions import exclusions

Entries = Sequence[Exclusion | SignalExclusion]


def entries_of(design: Design, folder: Path) -> tuple[ChipPlan, Entries]:
    plan = chip.plan(*design)
    stored = write_images(folder / "rom", images(drawn_model(*design), plan))
    return plan, exclusions(plan, stored)


def points_of(file: str, signal: str, *shape: int) -> tuple[Point, ...]:
    """The points of a signal, all of them."""
    return tuple(
        Point(file, 1, 1, "toggle", "ep", f"{signal}{''.join(f'[{at}]' for at in index)}:{edge}", "")
        for index in np.ndindex(*shape)
        for edge in ("0->1", "1->0")
    )


def left_in(entries: Entries, file: str, signal: str, *shape: int) -> list[str]:
    """The rising edges of a signal that still count."""
    points = points_of(file, signal, *shape)
    (found,) = signals(points)
    kept = np.ones(len(points), dtype=bool)
    for entry in entries:
        if isinstance(entry, SignalExclusion) and entry.names(found):
            kept[found.places[entry.matches(found)]] = False
    names = [point.what.removeprefix(signal) for point, counts in zip(points, kept, strict=True) if counts]
    return [name.removesuffix(":0->1") for name in names if name.endswith(":0->1")]


@pytest.mark.parametrize("name", DESIGNS)
def test_all_of_it_is_about_this_chip(name: str, tmp_path: Path) -> None:
    """Every signal and every line that is named stands in the rendered source."""
    design = DESIGNS[name]
    _, entries = entries_of(design, tmp_path)
    render_design(design, tmp_path / "fabric")
    texts = source_lines(tmp_path / "fabric")
    lines = tuple(
        Point(file, number, 1, "branch", "ep", what, "")
        for file, those in texts.items()
        for number in range(1, len(those) + 1)
        for what in ("if", "else", "cond_then", "cond_else")
    )
    coverage = ModuleCoverage(lines, np.zeros(len(lines), dtype=np.int64))
    _, left = apply_exclusions(coverage, (), entries, Path("etchproof.toml"), texts)
    assert len(left) == len(entries)
    assert all(one.points == 1 for one in left if isinstance(one.entry, Exclusion))


def test_only_exclusions_are_taken(tmp_path: Path) -> None:
    """What ``[coverage] exclusions`` names gives nothing else; without it nothing is worked out."""
    project = load_project(ROOT)
    plan = chip.plan(*PLAIN)
    stored = write_images(tmp_path / "rom", images(drawn_model(*PLAIN), plan))
    assert hooks.exclusions(project, plan, stored) == exclusions(plan, stored)
    assert project.coverage is not None

    def with_hook(name: str | None) -> Project:
        coverage = project.coverage
        assert coverage is not None
        return project.model_copy(update={"coverage": coverage.model_copy(update={"exclusions": name})})

    assert hooks.exclusions(with_hook(None), plan, stored) == ()
    with pytest.raises(InputError, match=r"coverage.exclusions: gives .*, expected an exclusion"):
        hooks.exclusions(with_hook("verif.rom_port.units:rom_units"), plan, stored)


def test_padding_of_vectors(tmp_path: Path) -> None:
    """35 inputs in tiles of 16 and lanes of 4: twelve blocks, of which the ninth is three quarters full."""
    plan, entries = entries_of(MIXED, tmp_path)
    assert (plan.intermediate_size, plan.tile_rows, plan.padded_blocks(35)) == (35, 4, 12)
    kept = left_in(entries, "ep_swiglu.sv", "gate_i", 12, 4, 8)
    assert {name.rpartition("[")[0] for name in kept} == {
        f"[{element // 4}][{element % 4}]" for element in range(35)
    }
    kept = left_in(entries, "ep_linear.sv", "y_o", 12, 4, 8)  # the longest of all linears that is counted
    assert {name.rpartition("[")[0] for name in kept} == {
        f"[{element // 4}][{element % 4}]" for element in range(35)
    }


def test_positions_and_tokens(tmp_path: Path) -> None:
    """Five positions and 19 tokens: of 32 bits 3 and 5 are used, and the count of tokens held reaches 5."""
    _, entries = entries_of(MIXED, tmp_path)
    assert left_in(entries, "ep_attention.sv", "pos_i", 32) == ["[0]", "[1]", "[2]"]
    assert left_in(entries, "ep_host_port.sv", "rsp_pos_o", 32) == ["[0]", "[1]", "[2]"]
    assert left_in(entries, "ep_argmax.sv", "token_o", 32) == [f"[{bit}]" for bit in range(5)]
    assert left_in(entries, "ep_host_port.sv", "held_o", 16) == ["[0]", "[1]", "[2]"]
    tag = left_in(entries, "ep_stage_ctrl.sv", "tag_o", 36)
    assert tag == ["[0]", "[1]", "[2]", "[32]", "[33]", "[34]", "[35]"]  # the slot stands above the position


def test_control_stays_in(tmp_path: Path) -> None:
    for number, design in enumerate((PLAIN, MIXED)):
        _, entries = entries_of(design, tmp_path / str(number))
        for file, signal, *shape in (
            ("ep_rom_port.sv", "state_q", 2),
            ("ep_host_port.sv", "tok_id_i", 32),
            ("ep_attention.sv", "state_q", 3),
            ("ep_stage_ctrl.sv", "start_o", 11),
            ("ep_rom_station.sv", "signature_q", 32),
            ("ep_linear.sv", "acc_q", 4, 64),
        ):
            assert len(left_in(entries, file, signal, *shape)) == int(np.prod(shape)), signal


def test_a_chip_without_slots(tmp_path: Path) -> None:
    """Nothing is said of units that it does not have, and its load port is left out as a whole."""
    _, entries = entries_of(PLAIN, tmp_path)
    assert not any(entry.file.startswith("ep_lora") for entry in entries)
    assert left_in(entries, "ep_chip.sv", "ldr_status_o", 4) == []
    _, entries = entries_of(MIXED, tmp_path / "mixed")
    assert left_in(entries, "ep_chip.sv", "ldr_status_o", 4) == ["[0]", "[1]", "[2]"]


def test_biases(tmp_path: Path) -> None:
    """A chip with biases has their memory; one without has not, nor the branches that add one."""

    def of_bias(entries: Entries) -> set[str]:
        return {entry.tag for entry in entries if "bias" in entry.reason or "HasBias" in str(entry)}

    assert of_bias(entries_of(MIXED, tmp_path / "with")[1]) == set()
    assert of_bias(entries_of(PLAIN, tmp_path / "without")[1]) == {"unsupported"}


def test_columns_of_a_table(tmp_path: Path) -> None:
    """In a context of four positions the slow pair's cosine stays near one: its sign never changes, nor its sine's."""
    config, recipe = PLAIN
    short = config.model_copy(update={"context": 4})
    _, entries = entries_of((short, recipe), tmp_path)
    kept = left_in(entries, "ep_rope.sv", "cos_i", 4, 16)
    assert "[0][15]" in kept  # cos(3) is negative
    assert not {"[3][15]", "[2][15]"} & set(kept)
