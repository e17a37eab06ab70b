"""The comparator: a plan for each sequence, counts by tap and by sequence, the first difference."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from etchproof.checkpoint.linears import LINEARS, LORA_PRODUCTS
from etchproof.compare.comparator import Comparator
from etchproof.contract.taps import Tap, TapKey, TapPlan
from models.taps import ADAPTED_LAYER_TAPS, LAYER_TAPS
from tests.taps import TAP_NAMES, declared, tap_plan

ADAPTED = frozenset({(1, "v_proj")})
ALL = frozenset((layer, name) for layer in range(2) for name in LINEARS)
Taps = dict[TapKey, Any]


def taps(plan: tuple[TapKey, ...], tokens: int, start: int = 0) -> Taps:
    """Three elements of each tap of each token."""
    return {
        key: np.arange(3 * tokens, dtype=np.int64).reshape(tokens, 3) + 100 * TAP_NAMES.index(key[1]) + start
        for key in plan
    }


def got(expected: Taps, tokens: int) -> list[Taps]:
    return [{key: array[token].copy() for key, array in expected.items()} for token in range(tokens)]


class TestPlan:
    def test_an_adapters_products_stand_before_their_linear(self) -> None:
        plan = tap_plan(2, ADAPTED)
        at = plan.index((1, "v_proj"))
        assert plan[at - 2 : at] == ((1, "v_proj.lora_a"), (1, "v_proj.lora_b"))
        assert [key for key in plan if key not in plan[at - 2 : at]] == list(tap_plan(2))

    def test_all_linears(self) -> None:
        plan = tap_plan(2, ALL)
        assert [tap for layer, tap in plan if layer == 1] == list(ADAPTED_LAYER_TAPS)
        assert len(plan) == 4 + 2 * (len(LAYER_TAPS) + 14)
        assert [tap for _, tap in plan if tap in TAP_NAMES] == [tap for _, tap in plan]


class TestSequences:
    def run(self, drop: TapKey | None = None, more: TapKey | None = None) -> Comparator:
        """Two tokens of the base, then one with an adapter; a tap of the latter dropped, or one more of the former."""
        comparator = Comparator(declared(2))
        comparator.begin(0, None)
        expected = taps(tap_plan(2), 2)
        found = got(expected, 2)
        if more is not None:
            found[1][more] = np.zeros(3, np.int64)
        comparator.compare(0, tap_plan(2), [0, 1], expected, found)
        comparator.begin(1, 0)
        expected = taps(tap_plan(2, ADAPTED), 1, 7)
        found = got(expected, 1)
        if drop is not None:
            del found[0][drop]
        comparator.compare(1, tap_plan(2, ADAPTED), [0], expected, found)
        return comparator

    def test_counts(self) -> None:
        comparator = self.run()
        assert (comparator.failures, comparator.first_divergence) == ([], None)
        counts = {(count.layer, count.tap): count for count in comparator.counts()}
        assert list(counts) == list(tap_plan(2, ADAPTED))  # not those of linears that nothing adapted
        assert counts[1, "v_proj"].vectors == 3
        assert counts[1, "v_proj.lora_a"].vectors == counts[1, "v_proj.lora_b"].vectors == 1
        base, adapted = comparator.sequences()
        assert (base.adapter, base.vectors, base.elements) == (None, 2 * 38, 6 * 38)
        assert (adapted.adapter, adapted.vectors, adapted.elements) == (0, 40, 120)

    @pytest.mark.parametrize("tap", LORA_PRODUCTS["v_proj"])
    def test_an_adapters_tap_that_does_not_come(self, tap: str) -> None:
        (failure,) = self.run(drop=(1, tap)).failures
        assert (failure.name, failure.message) == ("missing_tap", f"layer 1 {tap} of sequence 1 position 0")

    @pytest.mark.parametrize("key", [(1, "v_proj.lora_a"), (0, "q_proj.lora_b"), (5, "q_proj"), (0, "token")])
    def test_a_tap_that_the_sequence_does_not_have(self, key: TapKey) -> None:
        (failure,) = self.run(more=key).failures
        assert failure.name == "unknown_tap"
        assert failure.message == f"layer {key[0]} {key[1]} of sequence 0 position 1 is not of its plan"

    def test_the_first_difference_is_that_of_the_earliest_token(self) -> None:
        comparator = Comparator(declared(2))
        comparator.begin(0, 0)
        plan = tap_plan(2, ADAPTED)
        expected = taps(plan, 3)
        found = got(expected, 3)
        found[2][-1, "embedding"][0] += 1
        found[1][1, "v_proj"][2] += 1
        found[1][1, "v_proj.lora_b"][1] -= 5
        comparator.compare(0, plan, [4, 5, 6], expected, found)
        first = comparator.first_divergence
        assert first is not None
        assert (first.token, first.layer, first.tap, first.element) == (5, 1, "v_proj.lora_b", 1)
        assert first.expected - first.got == 5
        assert comparator.sequences()[0].mismatches == 3


KEYS: tuple[TapKey, ...] = ((-1, "embedding"), (0, "scores"), (-1, "token"))


@st.composite
def batches(draw: st.DrawFn) -> tuple[dict[TapKey, Any], list[Taps]]:
    """Golden and chip's taps of some tokens: equal, or with elements moved, changed, more, fewer, or a tap missing."""
    tokens = draw(st.integers(1, 4))
    expected: dict[TapKey, Any] = {}
    found: list[Taps] = [{} for _ in range(tokens)]
    for key in KEYS:
        golden = draw(
            st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=3), min_size=tokens, max_size=tokens)
        )
        whole = len({len(values) for values in golden}) == 1
        expected[key] = np.array(golden) if whole else [np.array(values) for values in golden]
        chip = [list(values) for values in golden]
        kind = draw(st.sampled_from(["equal", "equal", "change", "move", "size", "missing"]))
        at = draw(st.integers(0, tokens - 1))
        if kind == "change":
            chip[at][draw(st.integers(0, len(chip[at]) - 1))] += 1
        elif kind == "move" and at > 0 and len(chip[at]) > 1:
            chip[at - 1].append(chip[at].pop(0))  # the same elements in the same order, at other tokens
        elif kind == "size":
            chip[at].append(0)
        for token, values in enumerate(chip):
            if kind != "missing" or token != at:
                found[token][key] = np.array(values, np.int16)
    return expected, found


@given(batches())
def test_against_element_by_element(batch: tuple[dict[TapKey, Any], list[Taps]]) -> None:
    expected, found = batch
    comparator = Comparator(TapPlan(tuple(Tap(name, layer, "i16") for layer, name in KEYS)))
    comparator.begin(0, None)
    positions = range(5, 5 + len(found))
    comparator.compare(0, KEYS, positions, expected, found)
    failures, first = [], None
    for key, count in zip(KEYS, comparator.counts(), strict=True):
        vectors = elements = mismatches = 0
        for position, wanted, mine in zip(
            positions, expected[key], (token.get(key) for token in found), strict=True
        ):
            if mine is None or len(mine) != len(wanted):
                failures.append("missing_tap" if mine is None else "tap_size")
                continue
            vectors += 1
            for element, (ours, theirs) in enumerate(zip(mine, wanted, strict=True)):
                elements += 1
                mismatches += ours != theirs
                if ours != theirs:
                    place = (position, KEYS.index(key), element, theirs, ours)
                    first = min(first or place, place)
        assert (count.vectors, count.elements, count.mismatches) == (vectors, elements, mismatches)
    assert [failure.name for failure in comparator.failures] == failures
    told = comparator.first_divergence
    assert first == (
        told and (told.token, KEYS.index((told.layer, told.tap)), told.element, told.expected, told.got)
    )
