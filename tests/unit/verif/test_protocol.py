"""The codes of the chip's ports are the same in SystemVerilog, in the reference model and where frames are made."""

from __future__ import annotations

import re
from enum import IntEnum
from pathlib import Path

import pytest

from models import lora
from verif import protocol
from verif.protocol import LoadStatus, Op, Status
from verif.rom_port.units import RomOp, RomStatus


@pytest.mark.parametrize(
    ("codes", "prefix"),
    [
        *((Op, "OP"), (Status, "STATUS"), (LoadStatus, "LOAD")),
        *((RomOp, "ROM_OP"), (RomStatus, "ROM_STATUS")),
    ],
)
def test_codes(repo_root: Path, codes: type[IntEnum], prefix: str) -> None:
    text = (repo_root / "hw" / "ep_pkg.sv").read_text(encoding="utf-8")
    found = {name: int(value) for name, value in re.findall(rf"\b{prefix}_(\w+)\s*=\s*\d'd(\d+)", text)}
    assert found == {code.name: code.value for code in codes}


def test_constants() -> None:
    assert protocol.MAGIC == lora.MAGIC == int.from_bytes(b"LORA", "little")
    assert protocol.NO_SLOT == lora.NO_SLOT
    assert protocol.MAX_A_SHIFT == lora.MAX_A_SHIFT
