"""The typed pins of the testbench are those of the simulation top, and Python may see each of them."""

from __future__ import annotations

import re
from dataclasses import fields
from typing import get_type_hints

from cocotb.handle import LogicObject

from tests.conftest import ROOT
from verif.pins import Pins, Vector

TOP = (ROOT / "hw" / "sim" / "ep_sim_top.sv").read_text(encoding="utf-8")
VISIBLE = set(re.findall(r'"(\w+)"', (ROOT / "templates" / "build.vlt.j2").read_text(encoding="utf-8")))
KINDS = {
    name.strip().partition(" ")[0]: Vector if width else LogicObject
    for width, names in re.findall(r"^  logic (\[[^]]+\] )?([^;]+);", TOP, re.MULTILINE)
    for name in names.split(",")
}


def test_every_pin_is_of_the_top_and_of_its_kind() -> None:
    kinds = get_type_hints(Pins)
    assert {field.name: KINDS.get(field.name) for field in fields(Pins)} == kinds


def test_python_may_see_every_pin() -> None:
    missing = {field.name for field in fields(Pins)} - VISIBLE
    assert not missing
