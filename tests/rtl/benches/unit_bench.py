"""The testbench of every unit: the vectors run by themselves, what the taps saw is kept for pytest to compare."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import cocotb
import numpy as np
from cocotb.triggers import RisingEdge

from etchproof.sim.child import run_config, run_dir
from etchproof.sim.sink import TapSink


@cocotb.test()
async def vectors(dut: Any) -> None:
    """Writes taps.npz: for each unit and tap the records one after the other, their lengths, indices and times."""
    config = run_config()
    sink = TapSink(config["taps"])
    if not int(dut.ended.value):
        await RisingEdge(dut.ended)
    kept: dict[str, list[tuple[np.ndarray, int, int]]] = defaultdict(list)
    for record in sink.take().records():
        kept[f"{record.layer}.{record.name}"].append((record.data, record.pos, record.time))
    arrays = {}
    for name, records in kept.items():
        arrays[f"{name}.data"] = np.concatenate([data for data, _, _ in records])
        arrays[f"{name}.meta"] = np.array([(len(data), pos, time) for data, pos, time in records])
    assert sink.check_images() > 0
    np.savez(run_dir() / "taps.npz", **arrays)
