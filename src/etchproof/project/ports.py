"""The ports of RTL that a team brings, and what their names tell of them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from etchproof.errors import InputError
from etchproof.tools import slang_driver

_CLOCK: Final = re.compile(r"(.*_)?a?(clk|clock)(_i)?", re.IGNORECASE)
_RESET: Final = re.compile(r"(.*_)?a?(rst|reset)(?P<low>_?n)?(_?i)?", re.IGNORECASE)
_VALID: Final = re.compile(r"(?P<stem>.*?)(valid|vld)(_[io])?", re.IGNORECASE)

_BESIDE_DATA: Final = ("last", "status", "user", "keep", "strb", "first", "pos")
"""Ends of the names of a stream's ports that carry no data."""


@dataclass(frozen=True)
class Port:
    """A port of a module; ``bits`` of its type."""

    name: str
    direction: Literal["in", "out", "other"]
    bits: int


@dataclass(frozen=True)
class Instance:
    """An instance within the top module."""

    name: str
    module: str
    ports: tuple[Port, ...]


def elaborate(rtl: Path, sources: Sequence[Path], top: str) -> tuple[tuple[Port, ...], tuple[Instance, ...]]:
    """The ports of a module, and the instances within it, as slang finds them.

    Raises:
        InputError: slang is not installed, or the sources cannot be elaborated.
    """
    if not sources:
        raise InputError("holds no .v and no .sv", source=rtl, key="--from")
    driver = slang_driver()
    folders = sorted({str((rtl / path).parent) for path in sources} | {str(rtl)})
    words = ["slang", "--top", top, *(word for folder in folders for word in ("-I", folder))]
    command = shlex.join([*words, *(str(rtl / path) for path in sources)])
    if not driver.parseCommandLine(command) or not driver.processOptions() or not driver.parseAllSources():
        raise InputError("cannot be read by slang", source=rtl, key="--from")
    compilation = driver.createCompilation()
    errors = [found for found in compilation.getAllDiagnostics() if found.isError()]
    found = [one for one in compilation.getRoot().topInstances if one.name == top]
    if errors or not found:
        said = driver.diagEngine.formatMessage(errors[0]) if errors else f"there is no module {top!r}"
        raise InputError(f"cannot be elaborated: {said}", source=rtl, key="--top")
    body = found[0].body
    return _ports(body), tuple(
        Instance(member.name, member.definition.name, _ports(member.body))
        for member in body
        if member.kind.name == "Instance"
    )


def _ports(body: object) -> tuple[Port, ...]:
    directions: dict[str, Literal["in", "out"]] = {"In": "in", "Out": "out"}
    return tuple(
        Port(port.name, directions.get(port.direction.name, "other"), int(port.type.bitWidth))
        for port in getattr(body, "portList")  # noqa: B009  # slang is untyped
    )


@dataclass(frozen=True)
class Stream:
    stem: str
    valid: Port
    ready: Port
    data: Port
    last: Port | None
    status: Port | None

    @property
    def named(self) -> set[str]:
        return {port.name for port in (self.valid, self.ready, self.data, self.last, self.status) if port}


@dataclass(frozen=True)
class Host:
    """What ``[host]`` says of a chip, as its ports suggest."""

    clock: Port
    reset: Port
    is_low: bool
    input: Stream
    output: Stream
    first: Port | None
    constants: tuple[Port, ...]
    unused: tuple[Port, ...]


def guess_host(ports: Sequence[Port], rtl: Path, top: str) -> Host:
    """Clock, reset and streams by the names of ports.

    Raises:
        InputError: there is none of one of them.
    """
    ones = [port for port in ports if port.direction == "in" and port.bits == 1]
    clock = next((port for port in ones if _CLOCK.fullmatch(port.name)), None)
    reset = next(((port, match) for port in ones if (match := _RESET.fullmatch(port.name))), None)
    source, sink = _stream(ports, "in"), _stream(ports, "out")
    there = {"clock": clock, "reset": reset, "input stream": source, "output stream": sink}
    for what, found in there.items():
        if found is None:
            raise InputError(
                f"{top} has no {what} that its ports' names tell",
                source=rtl,
                key="--top",
                hint="streams have ports *valid and *ready with data beside them; another host: docs/testbench.md",
            )
    assert clock and reset and source and sink
    named = {clock.name, reset[0].name} | source.named | sink.named
    firsts = (f"{source.stem}user", f"{source.stem}first")
    first = next((port for port in ones if port.name not in named and port.name in firsts), None)
    left = [port for port in ports if port.name not in named and port != first]
    return Host(
        *(clock, reset[0], reset[1]["low"] is not None, source, sink, first),
        constants=tuple(port for port in left if port.direction == "in"),
        unused=tuple(port for port in left if port.direction == "out"),
    )


def _stream(ports: Sequence[Port], direction: Literal["in", "out"]) -> Stream | None:
    """The first pair of valid and ready with data; its data goes in the direction of valid."""
    back = "out" if direction == "in" else "in"
    for valid in ports:
        match = _VALID.fullmatch(valid.name)
        if match is None or (valid.direction, valid.bits) != (direction, 1):
            continue
        stem = match["stem"].lower()
        mine = [port for port in ports if port.name.lower().startswith(stem) and port != valid]
        ready = next(
            (
                port
                for port in mine
                if port.direction == back and port.bits == 1 and _is(port, "ready", "rdy")
            ),
            None,
        )
        data = [port for port in mine if port.direction == direction and not _is(port, *_BESIDE_DATA)]
        if ready is not None and data:
            widest = max(data, key=lambda port: port.bits)
            kinds = {
                kind: next((port for port in mine if port.direction == direction and _is(port, kind)), None)
                for kind in ("last", "status")
            }
            status = kinds["status"] if direction == "out" else None
            return Stream(match["stem"], valid, ready, widest, kinds["last"], status)
    return None


def _is(port: Port, *words: str) -> bool:
    return re.sub(r"_[io]$", "", port.name.lower()).endswith(words)
