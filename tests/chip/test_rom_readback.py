"""A bit that only the simulator reads inverted: read-back names it, its ROM's signature differs, and no other's."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from etchproof.compare.readback import READBACK_FILE, Readback
from etchproof.project.declaration import load_project
from etchproof.run import flow
from etchproof.run.testrun import Chip, prepare, run_test
from tests.conftest import ROOT

pytestmark = pytest.mark.sim


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory, tiny_checkpoint: Path) -> Chip:
    project = load_project(ROOT)
    design = flow.plan_design(project, tiny_checkpoint, flow.read_recipe(project, "w6a16"))
    return prepare(design, tmp_path_factory.mktemp("chip"), "fast", flow.cache_folder())


def read(folder: Path) -> Readback:
    return Readback.model_validate_json((folder / READBACK_FILE).read_bytes())


def test_the_chip_holds_its_files(tiny: Chip, tmp_path: Path) -> None:
    run = run_test(tiny, "RomReadback", tmp_path, seed=1)
    assert run.passed, run.reasons
    readback = read(tmp_path)
    assert readback.rom_sha256 == tiny.images.sha256
    assert all(unit.words_hold and unit.signature_holds for unit in readback.units)
    assert {unit.sha256 for unit in readback.units} == {image.sha256 for image in tiny.images.images}
    layers = tiny.design.plan.n_layers
    assert len(readback.units) == len(tiny.images.images) + 2 * (layers - 1)
    by_name = {(image.layer, image.name): image for image in tiny.images.images}
    for unit in readback.units:  # all that the file holds, every word in whole slices
        image = by_name[unit.layer, unit.image]
        assert unit.words == image.shape[0]
        assert unit.read == unit.words * -(-image.size_bytes // unit.words // 4)


SITES = {
    "rom:model.layers.1.mlp.down_proj[17,33]^2": "(layer 1 down_proj.codes) word 3 row 17 input 33 bit 2",
    "rom:model.layers.0.self_attn.k_proj.scales[7,1]^15": "(layer 0 k_proj.scales) word 0 row 7 group 1 bit 15",
    "rom:model.layers.1.input_layernorm[40]^3": "(layer 1 attn_norm.gains) word 2 element 40 bit 3",
    "rom:lm_head[396,47]^5": "(lm_head.codes) word 24 row 396 input 47 bit 5",
    "rom:model.embed_tokens[5,0]^0": "(embed_tokens.codes) word 5 element 0 bit 0",
}


@pytest.mark.parametrize("site", SITES)
def test_an_inverted_bit(tiny: Chip, tmp_path: Path, site: str) -> None:
    design = tiny.design
    injections = flow.locate(design.project, design.plan, [site])
    run = run_test(tiny, "RomReadback", tmp_path, seed=1, injections=injections)
    assert not run.passed
    reasons = {reason.name: reason.message for reason in run.reasons}
    assert SITES[site] in reasons["rom_word"] and "1 of " in reasons["rom_word"]
    unit_name = SITES[site].partition("(")[2].partition(")")[0]
    assert unit_name in reasons["rom_signature"]
    units = read(tmp_path).units
    (wrong,) = [unit for unit in units if not (unit.words_hold and unit.signature_holds)]
    assert wrong.name == unit_name and wrong.wrong == 1 and not wrong.signature_holds
    (bit,) = wrong.bits
    assert SITES[site] in bit and "in the chip" in bit


def test_a_file_changed_behind_the_chip(tiny: Chip, tmp_path: Path) -> None:
    """The words expected are the file's as it is now: one that is not its name's content is no evidence."""
    path = tiny.images.path(tiny.images.find(1, "up_proj.codes"))
    kept = path.read_bytes()
    index = tmp_path / "kept.bin"
    index.write_bytes(kept)
    path.write_bytes(bytes([kept[0] ^ 1]) + kept[1:])
    try:
        run = run_test(tiny, "RomReadback", tmp_path / "run", seed=1)
    finally:
        path.write_bytes(kept)
    assert not run.passed
    assert "does not have the hash of its name" in json.dumps([reason.message for reason in run.reasons])
