"""An answer port against the tap of what the chip computed, whatever their widths."""

from __future__ import annotations

import pytest

from etchproof.uvm.scoreboard import _extensions


@pytest.mark.parametrize(
    ("word", "value", "bits", "tap_bits", "said"),
    [
        (7, 7, 8, 8, True),
        (255, 255, 8, 8, True),
        (255, -1, 8, 8, True),
        (99, 355, 8, 16, False),  # only the low bits agree
        (99, 99, 8, 16, True),
        (0xFFFFFFFF, -1, 32, 8, True),  # extended with the sign
        (0xFF, -1, 32, 8, True),  # and without
        (229, 229, 32, 8, True),  # an unsigned tap
        (0xFFFFFFE5, 229, 32, 8, False),
        (40000, 40000, 32, 16, True),
        (128, -128, 8, 16, True),
        (128, -129, 8, 16, False),
        (1, 0, 1, 32, False),
    ],
)
def test_a_port_says_the_whole_value(word: int, value: int, bits: int, tap_bits: int, said: bool) -> None:
    assert bool(_extensions(word, value, bits, tap_bits)) is said
