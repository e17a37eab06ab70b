"""Every hardware unit equals its golden op, bit for bit, and takes the cycles that its header says."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from models.numerics import tables
from tests.rtl.cases import BENCHES, attention, linear, norm
from tests.rtl.conftest import RunCase
from tests.rtl.harness import CLOCK_PS, SEED, check

pytestmark = pytest.mark.sim

ALL = [(name, number) for name, bench in BENCHES.items() for number in range(len(bench.cases))]


@pytest.mark.parametrize(
    ("name", "number"), ALL, ids=[BENCHES[name].cases[number].id for name, number in ALL]
)
def test_unit_equals_golden(run_case: RunCase, name: str, number: int) -> None:
    assert check(BENCHES[name], number, run_case(name, number)) > 0


class TestStimuli:
    """What the vectors reach, counted without the hardware: the corners that each case is there for."""

    def test_linear_ties_and_both_ends(self) -> None:
        ties, ends = set(), set()
        for number, shape in enumerate(linear.SHAPES):
            draw = np.random.default_rng([SEED, *linear.CASES[number].id.encode()])
            m, x, shift, bias_shift = linear.drawn(shape, draw)
            limit = 1 << (shape.out - 1)
            for acc, s, b in zip(
                linear.accumulator(replace(m, bias=None), x), shift, bias_shift, strict=True
            ):
                total = acc if m.bias is None else acc + (m.bias.astype(np.int64) << b)
                y = (total + (1 << s >> 1)) >> s
                inside = (y >= -limit) & (y < limit)
                tied = inside & (s > 0) & ((total & ((1 << s) - 1)) == 1 << s >> 1)
                ties |= {(shape.name, sign) for sign in set(np.sign(total[tied]).tolist())}
                ends |= {(shape.name, end) for end in (-1, 1) if (end * y > limit).any()}
        assert {sign for _, sign in ties} == {-1, 1}
        assert len({name for name, _ in ties}) >= len(linear.SHAPES) // 2
        assert {sign for _, sign in ends} == {-1, 1}
        assert len({name for name, _ in ends}) >= len(linear.SHAPES) - 2

    def test_rsqrt_every_entry_and_parity(self) -> None:
        entries, lengths = set(), set()
        for case, (size, _, eps, _, _) in zip(norm.CASES, norm.SIZES, strict=True):
            draw = np.random.default_rng([SEED, *case.id.encode()])
            for v in norm.squares(norm.inputs(size, draw), tables.norm_epsilon(size, eps)).tolist():
                n = v.bit_length() + v.bit_length() % 2
                entries.add((v << 64 >> n) * 256 >> 64)
                lengths.add(v.bit_length())
        assert entries == set(range(64, 256))
        assert len(lengths) > 50

    def test_exp2_every_segment_and_recip_every_entry(self) -> None:
        segments, octaves, entries = set(), set(), set()
        for case, shape in zip(attention.CASES, attention.SHAPES, strict=True):
            draw = np.random.default_rng([SEED, *case.id.encode()])
            for token in attention.golden(shape, attention.drawn(shape, draw)):
                near = token.delta[token.delta < 21 << 16]
                segments |= set(((near & 0xFFFF) >> 9).ravel().tolist())
                octaves |= set(np.minimum(token.delta >> 16, 32).ravel().tolist())
                entries |= {(total << 8 >> total.bit_length()) for total in token.total.tolist()}
        assert segments == set(range(128))
        assert octaves >= {*range(21), 32}
        assert entries == set(range(128, 256))


class TestCheck:
    """The comparison itself can fail: a wrong element, a record too few, a cycle too many."""

    NAME, NUMBER = "linear", 0

    def test_a_wrong_element(self, run_case: RunCase) -> None:
        seen = {key: value.copy() for key, value in run_case(self.NAME, self.NUMBER).items()}
        seen["0.y.data"][33 * 3 + 5] += 1
        with pytest.raises(AssertionError, match=r"ep_linear \(fine: .*vector 3, y\[5\]: RTL .*1 of 33"):
            check(BENCHES[self.NAME], self.NUMBER, seen)

    def test_a_record_too_few(self, run_case: RunCase) -> None:
        seen = dict(run_case(self.NAME, self.NUMBER))
        seen["0.y.meta"] = seen["0.y.meta"][:-1]
        with pytest.raises(AssertionError, match="39 records of y"):
            check(BENCHES[self.NAME], self.NUMBER, seen)

    def test_no_tap(self, run_case: RunCase) -> None:
        seen = {k: v for k, v in run_case(self.NAME, self.NUMBER).items() if not k.startswith("0.")}
        with pytest.raises(AssertionError, match="taps"):
            check(BENCHES[self.NAME], self.NUMBER, seen)

    def test_a_cycle_too_many(self, run_case: RunCase) -> None:
        seen = dict(run_case(self.NAME, self.NUMBER))
        seen["0.y.meta"] = seen["0.y.meta"] + np.array([0, 0, CLOCK_PS]) * (np.arange(40) >= 7)[:, None]
        with pytest.raises(AssertionError, match="vector 7 took 10 cycles, its header says 9"):
            check(BENCHES[self.NAME], self.NUMBER, seen)
