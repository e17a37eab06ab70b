"""The ports of RTL that a team brings, and what their names tell of them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, TypeVar

from etchproof.errors import InputError
from etchproof.project.sections import MAX_WORD_BITS
from etchproof.tools import slang_driver

_CLOCK: Final = re.compile(r"(.*_)?a?(clk|clock)(_i)?", re.IGNORECASE)
_RESET: Final = re.compile(r"(?P<low_first>n_)?(.*_)?a?(rst|reset)(?P<low>_?n|_b)?(_?i)?", re.IGNORECASE)
_VALID: Final = re.compile(r"(?P<stem>.*?)(valid|vld)(_[io])?", re.IGNORECASE)
_START: Final = re.compile(r"(.*_)?(start|go|begin|req|strobe|en|enable)(_i)?", re.IGNORECASE)
_DONE: Final = re.compile(r"(.*_)?(done|finish|finished|ack|complete|completed)(_o)?", re.IGNORECASE)
_FIRST: Final = re.compile(r"(.*_)?(first|sof)(_i)?", re.IGNORECASE)

_One = TypeVar("_One")

FILL_IN: Final = "FILL_IN_"
"""Begins what stands for a port that no name told of."""

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


def elaborate(
    files: Sequence[Path],
    top: str,
    *,
    options: Sequence[str] = (),
    source: Path,
    key: str,
    whole: bool = True,
) -> tuple[tuple[Port, ...], tuple[Instance, ...]]:
    """The ports of a module, and the instances within it, as slang finds them.

    Args:
        files: of the RTL, in the order of compilation.
        top: the module.
        options: further words of slang's command line.
        source: what an error names; ``key`` likewise.
        whole: whether an error anywhere is one; otherwise it is enough that the module is found.

    Raises:
        InputError: slang is not installed, or the files cannot be elaborated.
    """
    driver = slang_driver()
    command = shlex.join(["slang", "--top", top, *options, *map(str, files)])
    if not driver.parseCommandLine(command) or not driver.processOptions() or not driver.parseAllSources():
        raise InputError("cannot be read by slang", source=source, key=key)
    compilation = driver.createCompilation()
    errors = [found for found in compilation.getAllDiagnostics() if found.isError()]
    found = [one for one in compilation.getRoot().topInstances if one.name == top]
    if (errors and whole) or not found:
        said = driver.diagEngine.formatMessage(errors[0]) if errors else f"there is no module {top!r}"
        raise InputError(f"cannot be elaborated: {said}", source=source, key=key)
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
    """Ports with a handshake, as ``etchproof.project.sections.StreamPins``."""

    stem: str
    valid: Port
    ready: Port | None
    data: Port
    last: Port | None = None
    status: Port | None = None

    @property
    def named(self) -> set[str]:
        return {port.name for port in (self.valid, self.ready, self.data, self.last, self.status) if port}


@dataclass(frozen=True)
class Host:
    """What ``[host]`` says of a chip, as its ports suggest; ``FILL_IN_...`` where they suggest nothing."""

    clock: Port
    reset: Port
    is_low: bool
    input: Stream
    output: Stream
    first: Port | None
    constants: tuple[Port, ...]
    unused: tuple[Port, ...]

    @property
    def unknown(self) -> list[str]:
        """What has to be filled in."""
        ports = [self.clock, self.reset]
        ports += [port for stream in (self.input, self.output) for port in (stream.valid, stream.data)]
        named = [port.name for port in ports if port.name.startswith(FILL_IN)]
        return named + [f"{port.name} of constants" for port in self.constants if port.bits != 1]


def guess_host(ports: Sequence[Port]) -> Host:
    """Clock, reset and streams by the names of ports: valid and ready, valid alone, or a start and a done.

    Where two could be meant, none is taken.
    """
    ones = [port for port in ports if port.direction == "in" and port.bits == 1]
    clock = _only([port for port in ones if _CLOCK.fullmatch(port.name)], _unknown("clock", "in"))
    reset = _only([port for port in ones if _RESET.fullmatch(port.name)], _unknown("reset", "in"))
    match = _RESET.fullmatch(reset.name)
    is_low = match is not None and (match["low"] or match["low_first"]) is not None
    rest = [port for port in ports if port not in (clock, reset)]
    source, sink = _stream(rest, "in"), _stream(rest, "out")
    named = {clock.name, reset.name} | source.named | sink.named
    firsts = [port for port in ones if port.name not in named]
    stems = (f"{source.stem}user", f"{source.stem}first")
    first = next((port for port in firsts if port.name in stems or _FIRST.fullmatch(port.name)), None)
    left = [port for port in ports if port.name not in named and port != first]
    return Host(
        *(clock, reset, is_low, source, sink, first),
        constants=tuple(port for port in left if port.direction == "in"),
        unused=tuple(port for port in left if port.direction == "out"),
    )


def _only(found: Sequence[_One], otherwise: _One) -> _One:
    return found[0] if len(found) == 1 else otherwise


def _unknown(what: str, direction: Literal["in", "out"], bits: int = 1) -> Port:
    return Port(f"{FILL_IN}{what}", direction, bits)


def _stream(ports: Sequence[Port], direction: Literal["in", "out"]) -> Stream:
    """The first pair of valid and ready with data, which goes in valid's direction; else valid or a pulse alone."""
    pairs = [
        _pair(valid, ports, direction) for valid in ports if valid.direction == direction and valid.bits == 1
    ]
    found = [pair for pair in pairs if pair is not None]
    whole = [pair for pair in found if pair.ready is not None]
    what, pulse = ("input", _START) if direction == "in" else ("output", _DONE)
    no_valid, no_data = _unknown(f"{what}_valid", direction), _unknown(f"{what}_data", direction, 8)
    if whole or found:
        return _only(whole or found, Stream("", no_valid, None, no_data))
    mine = [port for port in ports if port.direction == direction]
    ones = [port for port in mine if port.bits == 1 and pulse.fullmatch(port.name)]
    valid = ones[0] if ones else no_valid
    data = [port for port in mine if port != valid and port.bits > 1 and not _is(port, *_BESIDE_DATA)]
    return Stream("", valid, None, _only([port for port in data if port.bits <= MAX_WORD_BITS], no_data))


def _pair(valid: Port, ports: Sequence[Port], direction: Literal["in", "out"]) -> Stream | None:
    """The stream of a port that is called valid; None where the port is not, or no data goes with it."""
    match = _VALID.fullmatch(valid.name)
    if match is None:
        return None
    stem = match["stem"].lower()
    if stem.strip("_"):
        names = (stem.rstrip("_"), stem)
        mine = [port for port in ports if port.name.lower() in names or port.name.lower().startswith(stem)]
    else:  # valid_i, data_i and ready_o
        end, back = valid.name.lower()[-2:], "_o" if direction == "in" else "_i"
        mine = [
            port
            for port in ports
            if port.name.lower().endswith(end if port.direction == direction else f"ready{back}")
        ]
        if end not in ("_i", "_o"):
            return None
    mine = [port for port in mine if port != valid]
    ahead = [port for port in mine if port.direction == direction]
    readies = [port for port in mine if port.direction != direction and port.bits == 1]
    data = [port for port in ahead if 1 <= port.bits <= MAX_WORD_BITS and not _is(port, *_BESIDE_DATA)]
    if not data:
        return None
    widest = max(data, key=lambda port: port.bits)
    last, status = (next((port for port in ahead if _is(port, kind)), None) for kind in ("last", "status"))
    ready = next((port for port in readies if _is(port, "ready", "rdy")), None)
    return Stream(match["stem"], valid, ready, widest, last, status if direction == "out" else None)


def _is(port: Port, *words: str) -> bool:
    return re.sub(r"_[io]$", "", port.name.lower()).endswith(words)
