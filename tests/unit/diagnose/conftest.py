"""Failed runs without a simulator: one golden model plays the chip, another judges it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest

from etchproof.checkpoint import load_checkpoint
from etchproof.compare.comparator import Comparator
from etchproof.compare.differing import Keeper, KeptTaps, read_kept
from etchproof.contract.diagnosis import Column, Seen, Unit
from etchproof.contract.element import stored
from etchproof.contract.golden import Golden as AnyGolden
from etchproof.contract.taps import TapPlan
from etchproof.diagnose.evidence import Evidence, gather
from etchproof.quantize import quantize_model
from etchproof.quantize.quantized_model import QuantizedModel
from etchproof.quantize.recipe import load_recipe
from models import chip
from models.chip import ChipPlan
from models.diagnosis.chip import units as units_of
from models.golden import Golden
from models.taps import taps as taps_of

SEQUENCES: Final = ((1, 17, 300, 5, 99, 41, 41, 222, 396, 8, 130, 77), (52, 3, 200, 11, 64), (9, 250, 31))
"""Of tokens; the chip's cache outlasts each."""


@pytest.fixture(scope="session")
def model(tiny_checkpoint: Path, repo_root: Path) -> QuantizedModel:
    """The shipped model under the shipped recipe."""
    recipe = load_recipe("w6a16", repo_root / "models" / "recipes")
    return quantize_model(load_checkpoint(tiny_checkpoint), recipe)


@pytest.fixture(scope="session")
def plan(model: QuantizedModel) -> ChipPlan:
    """Its chip."""
    return chip.plan(model.config, model.recipe)


@pytest.fixture(scope="session")
def units(model: QuantizedModel, plan: ChipPlan) -> dict[str, Unit]:
    """Every unit of it, by name."""
    return {unit.name: unit for unit in units_of(model, plan, ())}


Run = Callable[..., Evidence]


@pytest.fixture(scope="session")
def right(model: QuantizedModel, plan: ChipPlan) -> Seen:
    """The taps of a good chip."""
    taps = TapPlan(tuple(taps_of(plan)))
    session = Golden(model).session()
    parts = [session.predict(tokens, True) for tokens in SEQUENCES]
    count = sum(map(len, SEQUENCES))
    columns = {}
    for key in parts[0]:
        rows = [row for part in parts for row in part[key]]
        values: Any = rows if key[1] in ("scores", "softmax") else np.stack(rows)
        columns[key] = Column(np.arange(count), values)
    return Seen(
        np.concatenate([np.array(tokens) for tokens in SEQUENCES]),
        np.concatenate([np.arange(len(tokens)) for tokens in SEQUENCES]),
        np.repeat(np.arange(len(SEQUENCES)), [len(tokens) for tokens in SEQUENCES]),
        np.full(count, -1),
        {key: columns[key] for key in taps.by_key if key in columns},
    )


def played(
    plan: ChipPlan,
    chip_: AnyGolden,
    golden: AnyGolden,
    file: Path,
    sequences: Sequence[Sequence[int]] = SEQUENCES,
) -> KeptTaps:
    """What a run keeps in which one golden model plays the chip."""
    taps = TapPlan(tuple(taps_of(plan)))
    keeper = Keeper()
    comparator = Comparator(taps, keeper)
    asked = []
    for number, tokens in enumerate(sequences):
        comparator.begin(number, None)
        given = chip_.session().predict(list(tokens), True)
        got = [
            {
                key: np.asarray(rows[token])
                .reshape(-1)
                .astype(stored(taps.by_key[key].dtype))
                .view(f"u{stored(taps.by_key[key].dtype).itemsize}")
                for key, rows in given.items()
            }
            for token in range(len(tokens))
        ]
        expected = golden.session().predict(list(tokens), True)
        comparator.compare(number, taps.due(), range(len(tokens)), expected, got)
        asked.append((list(tokens), True, None))
    keeper.save(file, asked)
    return read_kept(file)


@pytest.fixture
def run(model: QuantizedModel, plan: ChipPlan, tmp_path: Path) -> Run:
    """A failed run: of a chip that a wrong golden model plays, beside the right one or another."""

    def made(wrong: AnyGolden, golden: AnyGolden | None = None) -> Evidence:
        judge = golden or Golden(model)
        return gather(played(plan, wrong, judge, tmp_path / "kept.npz"), TapPlan(tuple(taps_of(plan))), judge)

    return made


def planted(units: dict[str, Unit], right: Seen, wrong: dict[str, Unit]) -> Evidence:
    """A run of a chip in which some units are others: what follows from them follows."""
    seen = right
    for name, unit in units.items():
        column = seen.taps[unit.result]
        seen = seen.having({unit.result: Column(column.at, wrong.get(name, unit).made(seen))})
    return Evidence(seen, right, 1, 0)
