"""What a failed run keeps: every vector that differs, and nothing of a run that passes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from etchproof.compare import differing
from etchproof.compare.comparator import Comparator
from etchproof.compare.differing import KEPT_FILE, Keeper, read_kept
from etchproof.contract.taps import Tap, TapPlan
from etchproof.errors import InputError

PLAN = TapPlan((Tap("a", dtype="i16"), Tap("b", 0, "i32")))
KEYS = tuple(PLAN.by_key)


def vectors(tokens: int) -> dict[Any, Any]:
    return {key: np.arange(3 * tokens).reshape(tokens, 3) + 10 * number for number, key in enumerate(KEYS)}


def given(expected: dict[Any, Any], token: int) -> dict[Any, Any]:
    return {
        key: array[token].astype("i2" if key == KEYS[0] else "i4").view("u2" if key == KEYS[0] else "u4")
        for key, array in expected.items()
    }


def test_only_what_differs_is_kept(tmp_path: Path) -> None:
    keeper = Keeper()
    comparator = Comparator(PLAN, keeper)
    comparator.begin(0, None)
    comparator.begin(1, 2)
    expected = vectors(2)
    got = [given(expected, token) for token in range(2)]
    comparator.compare(0, KEYS, [0, 1], expected, got)
    got[1][KEYS[0]] = np.array([7, 65535, 1], "u2")
    del got[0][KEYS[1]]
    comparator.compare(1, KEYS, [0, 1], expected, got)
    asked = [([5, 6], True, None), ([8, 9], True, 2)]
    keeper.save(tmp_path / KEPT_FILE, asked)
    found = read_kept(tmp_path / KEPT_FILE)
    assert found.whole
    assert [(call.sequence, call.first, call.adapter, call.items.tolist()) for call in found.calls] == [
        (0, True, None, [5, 6]),
        (1, True, 2, [8, 9]),
    ]
    assert found.vectors.keys() == {(1, 1, KEYS[0]), (1, 0, KEYS[1])}
    chip = found.vectors[1, 1, KEYS[0]]
    assert chip is not None and chip.view("i2").tolist() == [7, -1, 1]
    assert found.vectors[1, 0, KEYS[1]] is None


def test_a_run_that_passes_keeps_nothing(tmp_path: Path) -> None:
    keeper = Keeper()
    comparator = Comparator(PLAN, keeper)
    comparator.begin(0, None)
    expected = vectors(1)
    comparator.compare(0, KEYS, [0], expected, [given(expected, 0)])
    keeper.save(tmp_path / KEPT_FILE, [([5], True, None)])
    assert not (tmp_path / KEPT_FILE).exists()


def test_a_prediction_that_failed_is_left_out(tmp_path: Path) -> None:
    """The golden model was asked once more than was compared."""
    keeper = Keeper()
    keeper.begin(0)
    keeper.keep(KEYS[0], 0, np.zeros(3, "u2"))
    keeper.save(tmp_path / KEPT_FILE, [(np.zeros((2, 4)), True, None), (np.zeros((1, 4)), False, None)])
    (call,) = read_kept(tmp_path / KEPT_FILE).calls
    assert call.items.shape == (2, 4)


def test_what_is_too_much_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(differing, "_MAX_BYTES", 10)
    keeper = Keeper()
    keeper.begin(0)
    for item in range(3):
        keeper.keep(KEYS[0], item, np.zeros(3, "u2"))
    keeper.save(tmp_path / KEPT_FILE, [([1, 2, 3], True, None)])
    found = read_kept(tmp_path / KEPT_FILE)
    assert not found.whole and len(found.vectors) == 1


def test_what_is_no_such_file_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="file not found"):
        read_kept(tmp_path / KEPT_FILE)
    (tmp_path / KEPT_FILE).write_bytes(b"PK\x03\x04 no archive")
    with pytest.raises(InputError, match="holds no taps of a run"):
        read_kept(tmp_path / KEPT_FILE)
    np.savez(tmp_path / KEPT_FILE, facts=np.array([1, 1]), data=np.zeros(3, np.uint8))
    with pytest.raises(InputError, match="holds no taps of a run"):
        read_kept(tmp_path / KEPT_FILE)
