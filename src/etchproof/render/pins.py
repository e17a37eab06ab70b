"""``[host]`` held against the ports that the chip has."""

from __future__ import annotations

from collections.abc import Iterator

from etchproof.project.declaration import Project
from etchproof.project.filelist import with_lists
from etchproof.project.ports import elaborate
from etchproof.project.sections import HostSection, word_bits
from etchproof.render.fabric import Setup
from etchproof.render.sources import matched
from etchproof.render.templates import library_files


def port_problems(project: Project, host: HostSection) -> Iterator[tuple[str, str, str]]:
    """Each port that ``[host]`` names wrongly, and each of the chip's that it does not name: key, value, problem.

    Raises:
        InputError: slang is not installed, or the RTL cannot be elaborated.
    """
    rtl = with_lists(project)
    files = matched(project.root, rtl.files, source=project.file, key="rtl.files")
    folders = {project.root / name for name in rtl.include} | {path.parent for path in files}
    options = [word for folder in sorted(folders) for word in ("-I", str(folder))]
    options += Setup(defines=rtl.defines, parameters=rtl.parameters).flags
    ports, _ = elaborate(
        [*library_files(), *files], rtl.top, options=options, source=project.file, key="rtl.top", whole=False
    )
    there = {port.name: port for port in ports}
    named = dict[str, str]()
    for key, word, direction in _named(host):
        name = word.partition("[")[0]
        named[name] = key
        port = there.get(name)
        if port is None:
            yield key, word, f"{name!r} is no port of {rtl.top}, which has {', '.join(there) or 'none'}"
        elif port.direction != direction:
            yield key, word, f"{name!r} is no {'input' if direction == 'in' else 'output'} of {rtl.top}"
        elif key not in ("host.constants", "host.unused") and port.bits != word_bits(word):
            yield key, word, f"{name!r} has {port.bits} bits in {rtl.top}"
    for name, value in host.constants.items():
        if name in there and value >= 1 << there[name].bits:
            yield "host.constants", name, f"{value} does not fit in the {there[name].bits} bits of {name!r}"
    for name in [name for name in there if name not in named]:
        key = "host.constants" if there[name].direction == "in" else "host.unused"
        yield key, name, f"{rtl.top} has a port {name!r}, which no key of [host] names"


def _named(host: HostSection) -> Iterator[tuple[str, str, str]]:
    """Each port of ``[host]``: its key, how it is declared, its direction at the chip."""
    yield "host.clock", host.clock, "in"
    yield "host.reset", host.reset.removeprefix("!"), "in"
    for key, pins, ahead, back in (("input", host.input, "in", "out"), ("output", host.output, "out", "in")):
        for name in ("valid", "ready", "data", "last", "status"):
            if (word := getattr(pins, name)) is not None:
                yield f"host.{key}.{name}", word, back if name == "ready" else ahead
    if host.first is not None:
        yield "host.first", host.first, "in"
    yield from (("host.constants", name, "in") for name in host.constants)
    yield from (("host.unused", name, "out") for name in host.unused)
