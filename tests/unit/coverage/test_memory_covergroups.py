"""The rows and columns of the key/value cache: what a sequence writes, and what later tokens read."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from etchproof.contract.taps import TapKey
from etchproof.coverage.functional import RunSample
from models import chip
from models.golden import Golden
from tests.unit.coverage.conftest import saturating_model
from verif.coverage.memories import memory_groups, sample_memories

MODEL = saturating_model()
PLAN = chip.plan(MODEL.config, MODEL.recipe)
GROUPS = {group.name: group.bins for group in memory_groups(PLAN)}


def taps_of(length: int) -> dict[TapKey, Any]:
    return dict(Golden(MODEL).session().predict(list(range(1, length + 1)), True))


def hit(run: RunSample) -> dict[str, set[str]]:
    counts = sample_memories(run, PLAN)
    assert counts.keys() == GROUPS.keys()
    return {name: {bins[at] for at in np.flatnonzero(counts[name])} for name, bins in GROUPS.items()}


def test_rows_are_read_by_later_tokens() -> None:
    found = hit(RunSample("test", [], [taps_of(3)]))["kv_rows"]
    for layer in range(PLAN.n_layers):
        assert {name for name in found if name.startswith(f"{layer}.k")} == {
            *(f"{layer}.k[{row}].written" for row in range(3)),
            *(f"{layer}.k[{row}].read" for row in range(2)),
        }
    one = hit(RunSample("test", [], [taps_of(1)]))["kv_rows"]
    assert not any(name.endswith("read") for name in one)


def test_the_last_row_is_read_by_its_own_token() -> None:
    found = hit(RunSample("test", [], [taps_of(PLAN.context)]))["kv_rows"]
    assert {f"0.k[{row}].read" for row in range(PLAN.context)} <= found
    short = hit(RunSample("test", [], [taps_of(PLAN.context - 1)]))["kv_rows"]
    assert f"0.k[{PLAN.context - 2}].read" not in short


def test_a_value_of_no_weight_is_not_read() -> None:
    taps = taps_of(3)
    weights = [np.array(each) for each in taps[0, "softmax"]]
    for each in weights:
        each.reshape(-1, PLAN.n_heads)[1:2] = 0  # position 1, in all heads
    taps[0, "softmax"] = weights
    found = hit(RunSample("test", [], [taps]))["kv_rows"]
    assert "0.k[1].read" in found and "0.v[1].read" not in found


@pytest.mark.parametrize("adapted", [False, True])
def test_columns_hold_both_values(*, adapted: bool) -> None:
    taps = taps_of(2)
    words = np.zeros_like(np.asarray(taps[0, "v_proj"]))
    words[1, 1] = 1 << 2
    words[1, 0] = -1
    taps[0, "v_proj"] = words
    run = RunSample("test", [], [], (), [(0, taps)]) if adapted else RunSample("test", [], [taps])
    found = hit(run)["kv_columns"]
    ones = {name for name in found if name.startswith("0.v") and name.endswith(".1")}
    assert ones == {"0.v[0][1][2].1", *(f"0.v[0][0][{bit}].1" for bit in range(PLAN.kv_bits))}
    zeros = {name for name in found if name.startswith("0.v") and name.endswith(".0")}
    assert len(zeros) == PLAN.kv_size * PLAN.kv_bits  # the first token wrote zeros
