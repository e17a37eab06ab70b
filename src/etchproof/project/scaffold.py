"""A new project: a copy of the reference chip, or stubs around a team's own RTL (``etchproof init``)."""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from etchproof.errors import InputError
from etchproof.project.declaration import PROJECT_FILE, reference_root
from etchproof.project.ports import FILL_IN, Host, Instance, Port, Stream, elaborate, guess_host

_COPIED: Final = (PROJECT_FILE, "ci", "hw", "models", "templates", "verif")
_PACKAGE: Final = re.compile(r"^\s*package\s", re.MULTILINE)
_RTL: Final = (".v", ".sv", ".vh", ".svh")


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


def write_stubs(folder: Path, rtl: Path, top: str) -> tuple[list[str], list[str]]:
    """Write a project around a team's RTL; no file is overwritten.

    Args:
        folder: of the project; the RTL is copied to ``rtl/`` in it unless it lies there already.
        rtl: the folder of the RTL.
        top: the chip's module.

    Returns:
        The files, and what of ``[host]`` is to be filled in, since the ports' names do not tell it.

    Raises:
        InputError: the RTL cannot be elaborated or has no such module, or a file is there already.
    """
    if not rtl.is_dir():
        raise InputError("is no folder", source=rtl, key="--from")
    inside = rtl.resolve().is_relative_to(folder.resolve())
    place = rtl.resolve().relative_to(folder.resolve()) if inside else Path("rtl")
    sources = sorted(
        path.relative_to(rtl) for path in rtl.rglob("*") if path.suffix in _RTL and path.is_file()
    )
    compiled = [path for path in sources if path.suffix in (".v", ".sv")]
    if not compiled:
        raise InputError("holds no .v and no .sv", source=rtl, key="--from")
    folders = sorted({str((rtl / path).parent) for path in sources} | {str(rtl)})
    options = [word for folder_of in folders for word in ("-I", folder_of)]
    ports, instances = elaborate(
        [rtl / path for path in compiled], top, options=options, source=rtl, key="--top"
    )
    host = guess_host(ports)
    packages = [path for path in compiled if _PACKAGE.search((rtl / path).read_text(errors="replace"))]
    texts = {
        PROJECT_FILE: _toml(folder.resolve().name, place, sources, packages, top, host, ports),
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
    return list(texts), host.unknown


def _ranged(port: Port) -> str:
    return port.name if port.bits <= 1 else f"{port.name}[{port.bits - 1}:0]"


def _toml(
    name: str,
    place: Path,
    sources: Sequence[Path],
    packages: Sequence[Path],
    top: str,
    host: Host,
    ports: Sequence[Port],
) -> str:
    patterns = [str(place / path) for path in sources if path in packages]  # ahead of what imports them
    patterns += sorted(
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
        *(_ports_of(top, ports) if host.unknown else ()),
        f'clock = "{host.clock.name}"',
        f'reset = "{low}{host.reset.name}"',
        f"input = {_pins(host.input)}",
        f"output = {_pins(host.output)}",
        'answer = "answer"',
    ]
    if host.first is not None:
        lines.append(f'first = "{host.first.name}"')
    if host.constants:
        given = (f"{port.name} = {0 if port.bits == 1 else json.dumps(FILL_IN)}" for port in host.constants)
        lines.append(f"constants = {{ {', '.join(given)} }}")
    if host.unused:
        lines.append(f"unused = {_list([port.name for port in host.unused])}")
    return "\n".join(lines) + "\n"


def _ports_of(top: str, ports: Sequence[Port]) -> Iterator[str]:
    yield f"# Not every port's use could be told by its name: fill it in (docs/host.md). {top} has"
    yield from (f"#   {port.direction} {_ranged(port)}" for port in ports)


def _list(words: Sequence[str]) -> str:
    """A list in TOML."""
    return json.dumps(list(words))


def _pins(stream: Stream) -> str:
    pins = {"valid": stream.valid.name}
    pins |= {"ready": stream.ready.name} if stream.ready else {}
    pins |= {"data": _ranged(stream.data)}
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
    taken = " && ".join(f"{top}.{port.name}" for port in (source.valid, source.ready, host.first) if port)
    opens = f" || ({taken})" if host.first is not None else ""
    given = f"{top}.{sink.valid.name}"
    if sink.ready is not None:
        answers = f"  wire answers = {given} && {top}.{sink.ready.name};\n"
    else:  # an answer is where valid rises
        answers = f"""  logic was_valid;
  always_ff @(posedge clk) was_valid <= !in_reset && {given};
  wire answers = {given} && !was_valid;
"""
    return f"""// The taps of {top}, bound to it: its RTL has nothing of them (docs/taps.md).
module taps;
  // The position of an item in its sequence; where a chip has a counter of its own, take that.
  wire clk = {top}.{host.clock.name};
  wire in_reset = {low}{top}.{host.reset.name};
{answers}  logic [31:0] position;
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
    context: int | None = 16  # items of a sequence that the chip holds; None, where vectors go in, for no limit
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
        raise NotImplementedError("what the chip has to answer is to be written")
        return {(-1, "answer"): np.zeros((len(items), 1), np.uint64)}
'''

_TAPS: Final = '''"""What taps.sv observes, in dataflow order."""

from __future__ import annotations

from model import Model

from etchproof.contract.taps import Tap


def plan(model: Model) -> list[Tap]:
    return [Tap("answer", dtype="DTYPE")]
'''
