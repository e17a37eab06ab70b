"""The pins of ``ep_sim_top`` that Python drives and reads, each with its type: the one place that knows their names.

``templates/build.vlt.j2`` makes the same names visible to Python.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cache
from typing import get_origin, get_type_hints

import cocotb
from cocotb.handle import HierarchyObject, LogicObject, PackedObject

Vector = PackedObject[LogicObject]
"""A packed vector of logic."""


class PinError(AssertionError):
    """The simulated top module lacks a pin, or has one of another kind."""


@dataclass(frozen=True, slots=True)
class Pins:
    """Handles of the pins; see ``hw/sim/ep_sim_top.sv`` for what each one means.

    Requests and ends of loads, bursts and read-backs are toggles: a change of the value is the event.
    """

    rst_n: LogicObject
    play: LogicObject
    load_req: LogicObject
    load_words: Vector
    load_seed: Vector
    load_rsp_stall: Vector
    rom_req: LogicObject
    ack: LogicObject
    answered: LogicObject
    done: LogicObject
    ack_cycle: Vector
    cycle: Vector
    busy_cycles: Vector
    load_checked: LogicObject
    load_answered: LogicObject
    load_done: LogicObject
    load_cycles: Vector
    load_status: Vector
    load_slot: Vector
    rom_done: LogicObject


@cache
def find_pins() -> Pins:
    """The pins of the running simulation.

    Raises:
        PinError: a pin is missing, or is of another kind than ``Pins`` says.
    """
    top, kinds = cocotb.top, get_type_hints(Pins)
    assert isinstance(top, HierarchyObject)
    found = {}
    for field in fields(Pins):
        try:
            handle = top[field.name]
        except KeyError:
            raise PinError(f"pin_missing: {top._path} has no pin {field.name}") from None
        kind = get_origin(kinds[field.name]) or kinds[field.name]
        if not isinstance(handle, kind):
            raise PinError(
                f"pin_missing: {handle._path} is a {type(handle).__name__}, expected a {kind.__name__}"
            )
        found[field.name] = handle
    return Pins(**found)
