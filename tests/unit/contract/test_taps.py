"""The plan of taps that a project declares: what is due, what is wanted of a run, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etchproof.contract.taps import Tap, TapKey, TapPlan, rows

A, B = (0, "a"), (1, "a")
PLAN = TapPlan(
    (
        Tap("in", dtype="f32"),
        Tap("a.up", 0, adapted=A),
        Tap("a", 0),
        Tap("a.up", 1, adapted=B),
        Tap("a", 1),
        Tap("out"),
    )
)


def test_an_adapters_taps_are_due_where_it_adapts() -> None:
    base = ((-1, "in"), (0, "a"), (1, "a"), (-1, "out"))
    assert PLAN.due() == base
    assert PLAN.due({B}) == ((-1, "in"), (0, "a"), (1, "a.up"), (1, "a"), (-1, "out"))
    assert PLAN.due({A, B}) == tuple(PLAN.by_key)
    assert PLAN.names == {"in", "a", "a.up", "out"}


def test_what_a_run_has_to_leave() -> None:
    wanted = PLAN.wanted([{A}, {B}], [(None, 3), (0, 2), (0, 1), (None, 4)])
    assert wanted == {(-1, "in"): 10, (0, "a.up"): 3, (0, "a"): 10, (1, "a"): 10, (-1, "out"): 10}
    assert list(wanted) == [key for key in PLAN.by_key if key in wanted]
    assert PLAN.wanted([], []) == {}


@pytest.mark.parametrize(
    ("taps", "problem"),
    [
        ((), "declares no tap"),
        ((Tap("a"), Tap("b"), Tap("a")), "declares a of layer -1 twice"),
        ((Tap("a b"),), "a tap of the name 'a b'"),
        ((Tap(""),), "a tap of the name ''"),
        ((Tap("a\n"),), "a tap of the name"),
        ((Tap("a", -2),), "a of layer -2, expected -1 or more"),
        ((Tap("a", dtype="i12"),), "a of type 'i12', expected one of i8"),  # type: ignore[arg-type]
        (("a",), "declares 'a', expected a Tap"),
    ],
)
def test_refused(taps: Any, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        TapPlan(taps)


def test_rows_of_layers_that_differ() -> None:
    keys: list[TapKey] = [
        *((-1, "in"), (0, "norm"), (0, "mlp")),
        *((1, "norm"), (1, "norm_q"), (1, "mlp"), (1, "gate")),
        *((2, "norm"), (2, "mlp"), (-1, "norm"), (-1, "out")),
    ]
    assert rows(keys) == [
        *((False, "in"), (True, "norm"), (True, "norm_q"), (True, "mlp"), (True, "gate")),
        *((False, "norm"), (False, "out")),
    ]


@given(
    st.lists(st.tuples(st.integers(0, 3), st.sampled_from("abcdef")), unique=True).map(
        lambda keys: sorted(keys, key=lambda key: key[0])
    )
)
def test_each_name_has_one_row(keys: list[TapKey]) -> None:
    found = rows(keys)
    assert len(found) == len(set(found))
    assert {name for _, name in found} == {name for _, name in keys}
