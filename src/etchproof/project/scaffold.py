"""A new project: a copy of the reference chip, or stubs around a team's own RTL (``etchproof init``)."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from etchproof.errors import InputError
from etchproof.project.declaration import PROJECT_FILE, reference_root
from etchproof.tools import slang_driver

_COPIED: Final = (PROJECT_FILE, "ci", "hw", "models", "templates", "verif")
_RTL: Final = (".v", ".sv", ".vh", ".svh")
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


def copy_reference(folder: Path) -> list[str]:
    """Copy the reference project into a folder, new or empty; returns what lies in it.

    Raises:
        InputError: the folder is not empty, or there is no reference project.
    """
    root = reference_root()
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError("is not a new or empty folder", source=folder, key="DIR")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".etchproof-", dir=folder.parent) as temporary:
        whole = Path(temporary) / "project"
        for name in _COPIED:
            if (root / name).is_dir():
                left_out = shutil.ignore_patterns("__pycache__", "sim_build", "obj_dir")
                shutil.copytree(root / name, whole / name, ignore=left_out)
            else:
                whole.mkdir(exist_ok=True)
                shutil.copyfile(root / name, whole / name)
        if folder.exists():
            folder.rmdir()
        os.replace(whole, folder)
    return list(_COPIED)


def write_stubs(folder: Path, rtl: Path, top: str) -> list[str]:
    """Write a project around a team's RTL; no file is overwritten. Returns the files.

    Args:
        folder: of the project; the RTL is copied to ``rtl/`` in it unless it lies there already.
        rtl: the folder of the RTL.
        top: the chip's module.

    Raises:
        InputError: the RTL cannot be elaborated, has no such module, or no pair of ports with valid and ready; or a
            file is there already.
    """
    if not rtl.is_dir():
        raise InputError("is no folder", source=rtl, key="--from")
    inside = rtl.resolve().is_relative_to(folder.resolve())
    place = rtl.resolve().relative_to(folder.resolve()) if inside else Path("rtl")
    sources = sorted(
        path.relative_to(rtl) for path in rtl.rglob("*") if path.suffix in _RTL and path.is_file()
    )
    ports, instances = elaborate(rtl, [path for path in sources if path.suffix in (".v", ".sv")], top)
    host = guess_host(ports, rtl, top)
    texts = {
        PROJECT_FILE: _toml(folder.resolve().name, place, sources, top, host),
        "model.py": _MODEL,
        "golden.py": _GOLDEN,
        "taps.py": _TAPS.replace("DTYPE", f"u{_width(host.output.data.bits)}"),
        "taps.sv": _taps_sv(top, host, instances),
        "test_units.py": _unit_test(place, sources, instances),
    }
    for name in (*texts, *(() if inside else ("rtl",))):
        if (folder / name).exists():
            raise InputError(
                "is there already", source=folder / name, key="DIR", hint="no file is overwritten"
            )
    folder.mkdir(parents=True, exist_ok=True)
    if not inside:
        shutil.copytree(rtl, folder / "rtl")
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    return list(texts)


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
class _Stream:
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
    input: _Stream
    output: _Stream
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


def _stream(ports: Sequence[Port], direction: Literal["in", "out"]) -> _Stream | None:
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
            return _Stream(match["stem"], valid, ready, widest, kinds["last"], status)
    return None


def _is(port: Port, *words: str) -> bool:
    return re.sub(r"_[io]$", "", port.name.lower()).endswith(words)


def _ranged(port: Port) -> str:
    return port.name if port.bits == 1 else f"{port.name}[{port.bits - 1}:0]"


def _toml(name: str, place: Path, sources: Sequence[Path], top: str, host: Host) -> str:
    patterns = sorted(
        {str(place / path.parent / f"*{path.suffix}") for path in sources if path.suffix in (".v", ".sv")}
    )
    include = sorted({str(place / path.parent) for path in sources if path.suffix in (".vh", ".svh")})
    low = "!" if host.is_low else ""
    lines = [
        "# Written by `etchproof init`; docs/project.md and docs/host.md say what each key means.",
        f'name = "{name}"',
        "",
        "[model]",
        'load = "model:load"',
        "",
        "[golden]",
        'session = "golden:Session"',
        "",
        "[rtl]",
        f'top = "{top}"',
        f"files = {_list([*patterns, 'taps.sv'])}",
        *([f"include = {_list(include)}"] if include else []),
        "",
        "[rom]",
        'memories = "model:memories"',
        "",
        "[taps]",
        'plan = "taps:plan"',
        "",
        "[host]",
        f'clock = "{host.clock.name}"',
        f'reset = "{low}{host.reset.name}"',
        f"input = {_pins(host.input)}",
        f"output = {_pins(host.output)}",
        'answer = "answer"',
    ]
    if host.first is not None:
        lines.append(f'first = "{host.first.name}"')
    if host.constants:
        lines.append(f"constants = {{ {', '.join(f'{port.name} = 0' for port in host.constants)} }}")
    if host.unused:
        lines.append(f"unused = {_list([port.name for port in host.unused])}")
    return "\n".join(lines) + "\n"


def _list(words: Sequence[str]) -> str:
    """A list in TOML."""
    return json.dumps(list(words))


def _pins(stream: _Stream) -> str:
    pins = {"valid": stream.valid.name, "ready": stream.ready.name, "data": _ranged(stream.data)}
    pins |= {"last": stream.last.name} if stream.last else {}
    pins |= {"status": _ranged(stream.status)} if stream.status else {}
    return "{ " + ", ".join(f"{key} = {json.dumps(value)}" for key, value in pins.items()) + " }"


def _width(bits: int) -> int:
    return next((width for width in (8, 16, 32, 64) if bits <= width), 64)


def _taps_sv(top: str, host: Host, instances: Sequence[Instance]) -> str:
    sink, source = host.output, host.input
    width = _width(sink.data.bits)
    ends = f" && {top}.{sink.last.name}" if sink.last else ""
    low = "!" if host.is_low else ""
    opens = ""
    if host.first is not None:
        opens = f" || ({top}.{source.valid.name} && {top}.{source.ready.name} && {top}.{host.first.name})"
    return f"""// The taps of {top}, bound to it: its RTL has nothing of them (docs/taps.md).
module taps;
  // The position of an item in its sequence; where a chip has a counter of its own, take that.
  wire clk = {top}.{host.clock.name};
  wire in_reset = {low}{top}.{host.reset.name};
  wire answers = {top}.{sink.valid.name} && {top}.{sink.ready.name};
  logic [31:0] position;
  always_ff @(posedge clk)
    if (in_reset{opens}) position <= '0;
    else if (answers{ends}) position <= position + 1;

  ep_tap_packed #(.Name("answer"), .Size(1), .Width({width})) u_answer (
    .clk_i(clk), .valid_i(!in_reset && answers), .layer_i('1), .pos_i(position), .count_i(1),
    .data_i({width}'({top}.{sink.data.name}))
  );

  // What slang finds within {top}, to be tapped one by one:
{"".join(_candidates(top, instances))}endmodule
bind {top} taps u_taps ();
"""


def _candidates(top: str, instances: Sequence[Instance]) -> Iterator[str]:
    for instance in instances:
        for port in instance.ports:
            if port.direction == "out" and port.bits > 1:
                yield f"  //   {top}.{instance.name}.{_ranged(port)}  ({instance.module})\n"


def _unit_test(place: Path, sources: Sequence[Path], instances: Sequence[Instance]) -> str:
    files = [str(place / path) for path in sources if path.suffix in (".v", ".sv")]
    lines = [
        '"""Units of the chip alone, from plain pytest (docs/unit.md)."""',
        "",
        f"FILES = {files!r}",
        "",
        "# def test_a_unit(unit):",
        "#     unit.run(files=FILES, top=..., clock=..., reset=..., inputs=..., taps=[...], expected={...})",
        "#",
        "# Modules within the chip, and their ports:",
    ]
    seen = {instance.module: instance for instance in instances}
    for module, instance in seen.items():
        ports = ", ".join(f"{port.direction} {_ranged(port)}" for port in instance.ports)
        lines.append(f"#   {module}: {ports}")
    return "\n".join(lines) + "\n"


_MODEL: Final = '''"""The model: how it is read, and what the chip's memories hold."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from etchproof.contract.memory import Memory


@dataclass(frozen=True)
class Model:
    files: tuple[Path, ...]  # every file that it is read from
    vocab_size: int | None = 2  # tokens that the chip takes; None where vectors go in, of `elements` elements
    context: int | None = None  # items of a sequence that the chip holds; None for no limit
    elements: int = 1


def load(path: Path) -> Model:
    """Read a model from a file or folder."""
    files = tuple(sorted(path.rglob("*"))) if path.is_dir() else (path,)
    return Model(tuple(file for file in files if file.is_file()))


def memories(model: Model) -> list[Memory]:
    """What $readmemh reads: Memory("weights/layer0.hex", array of integers, bits)."""
    return []
'''

_GOLDEN: Final = '''"""The golden model: what the chip has to compute, bit for bit."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from model import Model


class Session:
    def __init__(self, model: Model) -> None:
        self._model = model

    def predict(self, items: Sequence[int], first: bool) -> dict[tuple[int, str], np.ndarray]:
        """Every tap of consecutive items, (items, elements) each; `first` where they open a sequence."""
        return {(-1, "answer"): np.zeros((len(items), 1), np.uint64)}  # to be written
'''

_TAPS: Final = '''"""What taps.sv observes, in dataflow order."""

from __future__ import annotations

from model import Model

from etchproof.contract.taps import Tap


def plan(model: Model) -> list[Tap]:
    return [Tap("answer", dtype="DTYPE")]
'''
