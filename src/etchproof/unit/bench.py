"""The testbench of a unit, inside the simulator: it drives the pins, and keeps what the taps saw."""

from __future__ import annotations

import importlib.util
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any, Final

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.handle import ArrayObject
from cocotb.triggers import ClockCycles, FallingEdge, ReadOnly

from etchproof.sim.child import run_config, run_dir
from etchproof.sim.sink import TapSink
from etchproof.unit.spec import RECORDS, VECTORS

_AFTER: Final = 64  # cycles in which a record too many shows
_STEP: Final = 16  # cycles between two looks


@cocotb.test()
async def vectors(dut: Any) -> None:
    """Leaves the records of each tap, one after the other, and their lengths."""
    config = run_config()
    sink = TapSink(config["taps"])
    records: dict[str, list[Any]] = defaultdict(list)

    def take() -> None:
        for record in sink.take().records():
            records[record.name].append(record.data)

    clock = getattr(dut, config["clock"])
    Clock(clock, 2, "ns").start()
    sink.enable(False)  # before its reset, a module may make any record
    await _begin(dut, clock, config)
    sink.enable()
    if config["drive"] is not None:
        await _load(config["drive"])(dut)
    else:
        with np.load(run_dir() / VECTORS) as stored:
            given = {name: stored[name] for name in stored.files}
        await _feed(dut, clock, config["inputs"], given, take)
    wanted, waited = config["records"], 0
    while sink.records_written < wanted and waited < config["timeout_cycles"]:
        await ClockCycles(clock, _STEP)
        waited += _STEP
        take()
    await ClockCycles(clock, _AFTER)
    take()
    arrays = {}
    for name, found in records.items():
        arrays[f"{name}.data"] = np.concatenate(found)
        arrays[f"{name}.sizes"] = np.array([len(data) for data in found])
    np.savez(run_dir() / RECORDS, allow_pickle=False, **arrays)


async def _begin(dut: Any, clock: Any, config: dict[str, Any]) -> None:
    """Constant pins, then four cycles of reset."""
    for name, value in config["constants"].items():
        getattr(dut, name).value = value
    stream = config["inputs"] or {}
    if stream.get("valid"):
        getattr(dut, stream["valid"]).value = 0
    reset = config["reset"]
    if reset is None:
        return
    name, active = reset.removeprefix("!"), int(not reset.startswith("!"))
    getattr(dut, name).value = active
    await ClockCycles(clock, 4)
    await FallingEdge(clock)
    getattr(dut, name).value = 1 - active
    await ClockCycles(clock, 1)


async def _feed(dut: Any, clock: Any, stream: dict[str, Any], given: dict[str, Any], take: Any) -> None:
    """Pins change at falling edges, so that no rising edge races with them."""
    count = len(next(iter(given.values())))
    ports = {name: _Port(getattr(dut, name), array) for name, array in given.items()}
    valid = getattr(dut, stream["valid"]) if stream["valid"] else None
    ready = getattr(dut, stream["ready"]) if stream["ready"] else None
    until = getattr(dut, stream["until"]) if stream["until"] else None
    await FallingEdge(clock)
    for number in range(count):
        for port in ports.values():
            port.drive(number)
        if valid is not None:
            valid.value = 1
        await ReadOnly()  # what is combinational has followed
        while ready is not None and not _high(ready):
            await FallingEdge(clock)
            await ReadOnly()
        await FallingEdge(clock)  # taken at the rising edge between
        if until is not None:
            if valid is not None:
                valid.value = 0
            await ReadOnly()
            while not _high(until):
                await FallingEdge(clock)
                await ReadOnly()
            await FallingEdge(clock)
        if number % _STEP == 0:
            take()
    if valid is not None:
        valid.value = 0


def _high(pin: Any) -> bool:
    return str(pin.value) == "1"


class _Port:
    """A port of data; every element of every vector has to fit into its bits."""

    def __init__(self, handle: Any, array: Any) -> None:
        self._handle, self._array = handle, array.reshape(len(array), -1)
        elements = self._array.shape[1]
        self._unpacked = isinstance(handle, ArrayObject)
        bits = len(handle[handle.left]) if self._unpacked else len(handle)
        name = handle._name
        if self._unpacked and len(handle) != elements:
            raise ValueError(f"port {name} has {len(handle)} elements, a vector has {elements}")
        if not self._unpacked and bits % elements:
            raise ValueError(f"port {name} has {bits} bits, which {elements} elements cannot share")
        self._bits = bits if self._unpacked else bits // elements
        if self._array.size:
            least, most = int(self._array.min()), int(self._array.max())
            if not (least >= 0 and most < 1 << self._bits) and not (
                -(1 << self._bits - 1) <= least and most < 1 << self._bits - 1
            ):
                raise ValueError(f"port {name}: {least} .. {most} do not fit in {self._bits} bits")

    def drive(self, number: int) -> None:
        mask = (1 << self._bits) - 1
        words = [int(value) & mask for value in self._array[number].tolist()]
        if self._unpacked:
            left, right = self._handle.left, self._handle.right
            for word, index in zip(words, range(min(left, right), max(left, right) + 1), strict=True):
                self._handle[index].value = word
        else:
            self._handle.value = sum(word << self._bits * at for at, word in enumerate(words))


def _load(drive: dict[str, str]) -> Any:
    """A coroutine of the test's own file, which pytest has imported outside."""
    path = Path(drive["file"])
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    found: Any = module
    for part in drive["name"].split("."):
        found = getattr(found, part)
    return found
