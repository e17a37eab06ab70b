"""Every hardware unit equals its golden op, bit for bit, and takes the cycles that its header says."""

from __future__ import annotations

import pytest

from tests.rtl.cases import BENCHES
from tests.rtl.conftest import RunCase
from tests.rtl.harness import check

pytestmark = pytest.mark.sim

ALL = [(name, number) for name, bench in BENCHES.items() for number in range(len(bench.cases))]


@pytest.mark.parametrize(
    ("name", "number"), ALL, ids=[BENCHES[name].cases[number].id for name, number in ALL]
)
def test_unit_equals_golden(run_case: RunCase, name: str, number: int) -> None:
    assert check(BENCHES[name], number, run_case(name, number)) > 0
