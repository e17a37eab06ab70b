"""A unit alone: ``pytest`` in this folder simulates rmsnorm.v and compares every element that it writes."""

import math
from pathlib import Path

import numpy as np
import pytest

from etchproof.unit import PortTap, Stream, Unit

HERE = Path(__file__).parent
N = 16


def rmsnorm(x: np.ndarray, gain: np.ndarray) -> np.ndarray:
    """The module's arithmetic on (vectors, N) integers; // rounds down, the module towards zero."""
    x = x.astype(np.int64)
    root = np.array([math.isqrt(int(mean)) + 1 for mean in (x * x).sum(1) // N])[:, None]
    product = x * gain
    return np.clip(np.sign(product) * (abs(product) // root), -32768, 32767)


@pytest.mark.parametrize("seed", range(2))
def test_rmsnorm(unit: Unit, seed: int) -> None:
    draw = np.random.default_rng(seed)
    bits = draw.integers(1, 16, (64, 1))  # small vectors and large ones
    x = draw.integers(-(1 << bits - 1), 1 << bits - 1, (64, N))
    x[0], x[1], x[2] = 0, -32768, 32767
    x[3:19], x[19:35] = 32767 * np.eye(N, dtype=int), -32768 * np.eye(N, dtype=int)  # what saturates
    gain = np.array([int(word, 16) for word in (HERE / "gains.hex").read_text().split()], np.uint16)
    unit.run(
        files=["rmsnorm.v"],
        data=["gains.hex"],
        top="rmsnorm",
        clock="clk",
        reset="!rst_n",
        inputs=Stream({"x": x.reshape(-1)}, valid="in_valid", ready="in_ready"),
        taps=[PortTap("y", "i16", write="we", address="addr", data="y", done="we && addr == 15", size=N)],
        expected={"y": rmsnorm(x, gain.view(np.int16))},
    )
