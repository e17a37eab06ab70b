"""What a unit test says of its module: how vectors go in, and what is tapped."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy.typing as npt

from etchproof.contract.element import ElementType, stored
from etchproof.errors import InputError

VECTORS: Final = "inputs.npz"
"""In the folder of a run: what goes in, by port."""

RECORDS: Final = "taps.npz"
"""Likewise: what each tap saw, its records one after the other, and their sizes."""

_NAME: Final = re.compile(r"[A-Za-z_]\w*")


@dataclass(frozen=True, slots=True)
class Stream:
    """Vectors that go in one after the other, over pins with a handshake.

    Attributes:
        data: by port, an array of (vectors,) or (vectors, elements). The elements share the port's bits equally,
            element 0 in the lowest; a port that is an unpacked array takes them one by one.
        valid: a pin that is high for a vector, at one rising edge of the clock or until ``ready``; None for none.
        ready: a pin of the module: a vector is taken at an edge with both high. None where each is taken at once.
        until: a pin of the module that ends a vector: the next one waits until it is high. None for no wait.
    """

    data: Mapping[str, npt.NDArray[Any]]
    valid: str | None = None
    ready: str | None = None
    until: str | None = None


@dataclass(frozen=True, slots=True)
class PinTap:
    """A vector that a module holds in one packed signal.

    Attributes:
        name: as in ``expected``.
        dtype: of an element.
        data: Verilog expression within ``scope``: the elements, element 0 in the lowest bits.
        when: Verilog expression: at each rising edge of the clock with it, the vector is one record.
        size: elements.
        scope: the module in which the expressions stand; the top by default.
        clock: its clock; that of the unit by default.
    """

    name: str
    dtype: ElementType
    data: str
    when: str
    size: int = 1
    scope: str | None = None
    clock: str | None = None

    def bind(self, top: str, clock: str) -> str:
        """The ``bind`` of an ``ep_tap_packed``."""
        width = 8 * stored(self.dtype).itemsize
        return _bind(
            self.scope or top,
            "ep_tap_packed",
            self.name,
            {"Size": self.size, "Width": width},
            {
                "clk_i": self.clock or clock,
                "valid_i": self.when,
                "layer_i": "32'd0",
                "pos_i": "32'd0",
                "count_i": f"32'd{self.size}",
                "data_i": self.data,
            },
        )


@dataclass(frozen=True, slots=True)
class PortTap:
    """A vector that a module writes into a memory, one element at a time.

    Attributes:
        name: as in ``expected``; likewise ``dtype``, ``scope`` and ``clock`` as of ``PinTap``.
        write: Verilog expression: an element is written at this edge.
        address: its address.
        data: the element.
        done: the vector is one record at this edge.
        size: elements.
        base: address of element 0.
        address_bits: bits of ``address`` and ``base``.
    """

    name: str
    dtype: ElementType
    write: str
    address: str
    data: str
    done: str
    size: int
    base: str = "0"
    address_bits: int = 32
    scope: str | None = None
    clock: str | None = None

    def bind(self, top: str, clock: str) -> str:
        """The ``bind`` of an ``ep_tap_port``."""
        width, bits = 8 * stored(self.dtype).itemsize, self.address_bits
        return _bind(
            self.scope or top,
            "ep_tap_port",
            self.name,
            {"Size": self.size, "Width": width, "AddrW": bits},
            {
                "clk_i": self.clock or clock,
                "we_i": self.write,
                "addr_i": f"{bits}'({self.address})",
                "data_i": self.data,
                "base_i": f"{bits}'({self.base})",
                "size_i": f"32'd{self.size}",
                "done_i": self.done,
                "layer_i": "32'd0",
                "pos_i": "32'd0",
            },
        )


def _bind(scope: str, module: str, name: str, parameters: Mapping[str, int], ports: Mapping[str, str]) -> str:
    for what, text in (("tap", name), ("scope", scope)):
        if _NAME.fullmatch(text) is None:
            raise InputError(f"{text!r} is no name of Verilog", key=what)
    given = ", ".join([f'.Name("{name}")', *(f".{key}({value})" for key, value in parameters.items())])
    wired = ",\n  ".join(f".{port}({value})" for port, value in ports.items())
    return f"bind {scope} {module} #({given}) u_ep_tap_{name} (\n  {wired}\n);\n"
