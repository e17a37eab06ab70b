"""The proof of docs/coverage.md in simulation: proven bits are caught where it says, unproven ones by no tap at all."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from etchproof.coverage.corpus import Corpus, Segment
from etchproof.coverage.injection import Drawn, draw, inject_all
from etchproof.project.declaration import load_project
from etchproof.run import flow
from etchproof.run.testrun import Chip, prepare, run_test
from etchproof.signoff.observed import Observed, Weights, observe_all
from models.golden import Golden
from models.rom.mask import RomRows
from tests.conftest import ROOT
from verif.coverage.rom import rom as roms_of

pytestmark = pytest.mark.sim

SEQUENCES = ((1, 30, 77, 5, 120), (9, 200, 31), (300, 2))

Measured = tuple[Chip, Corpus, tuple[Observed, ...]]


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory, tiny_checkpoint: Path) -> Measured:
    """The shipped checkpoint, and what ten tokens prove of it: not everything."""
    project = load_project(ROOT)
    design = flow.plan_design(project, tiny_checkpoint, flow.read_recipe(project, "w6a16"))
    chip = prepare(design, tmp_path_factory.mktemp("chip"), "fast", flow.cache_folder())
    golden = Golden(chip.model)
    roms = roms_of(chip.model, design.plan)
    own = Weights(roms, [Segment("tokens", SEQUENCES)], lambda tokens: golden.session().predict(tokens, True))
    mask = observe_all(own)
    assert mask.corpus is not None
    return chip, mask.corpus, mask.rom


def test_proven_bits_are_caught(measured: Measured, tmp_path: Path) -> None:
    chip, corpus, units = measured
    drawn = draw(units, corpus, 16, seed=3)
    found = inject_all(chip, drawn, tmp_path, jobs=2)
    assert len(found) == 16
    assert [bit for bit in found if not (bit.caught and bit.located)] == []
    assert not list(tmp_path.iterdir())  # folders of caught bits are removed


def test_unproven_bits_are_not(measured: Measured, tmp_path: Path) -> None:
    """The converse: with each of them inverted the chip passes every sequence."""
    chip, _, units = measured
    rng = np.random.default_rng(4)
    names = []
    for one in units:
        for proven in one.found:
            left = np.argwhere(~proven.bits)
            if len(left) and proven.copies == 1 and not isinstance(one.units[0], RomRows):
                names += [proven.name(index) for index in rng.permutation(left)[:1].tolist()]
    names = rng.permutation(names)[:8].tolist()
    assert len(names) == 8
    for number, name in enumerate(names):
        injections = flow.locate(chip.design.project, chip.design.plan, [name])
        config = {"directed": [list(tokens) for tokens in SEQUENCES]}
        run = run_test(
            chip, "DirectedTokens", tmp_path / str(number), seed=1, config=config, injections=injections
        )
        assert run.passed, (name, run.reasons)


def test_a_bit_that_is_not_proven_is_reported_as_missed(measured: Measured, tmp_path: Path) -> None:
    """The experiment can fail: an unproven bit in the place of a proven one is no catch."""
    chip, corpus, units = measured
    (good,) = draw(units, corpus, 1, seed=3)
    (rom,), parts = units[3].units, units[3].found
    left = np.argwhere(~parts[1].bits)
    bad = Drawn(parts[1].name(left[0].tolist()), rom.results[0], ((1,), (30,)))
    assert isinstance(good, Drawn)
    (found,) = inject_all(chip, [bad], tmp_path, jobs=1)
    assert not found.caught and not found.located and found.found is None
    assert list(tmp_path.iterdir())  # its folder is kept


def test_every_kind_of_image_is_drawn_from(measured: Measured, tmp_path: Path) -> None:
    """RoPE's tables, of which each layer holds a copy, and shifts are caught where the proof says, like weights."""
    chip, corpus, units = measured
    drawn = [
        bit
        for one in units
        if one.units[0].site in ("rope", "params", "model.layers.1.params")
        for bit in draw([one], corpus, 4, seed=2)
    ]
    assert len(drawn) == 12 and {bit.site.partition("[")[0] for bit in drawn} == {
        *("rom:rope.cos", "rom:rope.sin", "rom:params", "rom:model.layers.1.params")
    }
    found = inject_all(chip, drawn, tmp_path, jobs=2)
    assert [bit for bit in found if not (bit.caught and bit.located)] == []
