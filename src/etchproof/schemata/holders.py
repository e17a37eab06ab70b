"""What a fault in RTL is planted in: a function, a process or an assignment, and how copies of a function are made."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from etchproof.schemata.operators import Node, kind

PACKAGE: Final = "ep_fault_pkg"
ACTIVE: Final = f"{PACKAGE}::active"
"""Which fault is chosen."""
DIFFERS: Final = f"{PACKAGE}::ep_differs"
"""Is told of a fault whether it would have changed a value; 0."""


@dataclass(frozen=True, slots=True)
class Edit:
    """A text in place of another, by offsets in a source."""

    start: int
    end: int
    text: str


@dataclass(frozen=True, slots=True)
class Holder:
    start: int
    end: int
    how: str  # "function" or "process": in copies; "place", a process, or "assign": in place
    function: Function | None = None
    body: tuple[int, int] = (0, 0)


@dataclass(frozen=True, slots=True)
class Function:
    """A function or task, as copies of it are made."""

    name: str
    names: tuple[tuple[int, int], ...]  # where the name stands in the source
    prototype: tuple[int, int]
    arguments: tuple[str, ...]
    is_void: bool
    end: str

    @staticmethod
    def of(node: Node, text: Callable[[Node], str]) -> Function:
        prototype = node.prototype
        name = text(prototype.name)
        names = []
        for inner in (prototype.name, *below(node)):
            if (
                kind(inner) in ("IdentifierName", "IdentifierSelectName")
                and inner.identifier.valueText == name
            ):
                start = inner.sourceRange.start.offset
                names.append((start, start + len(name.encode())))
        ports = [] if prototype.portList is None else [port for port in below(prototype.portList)]
        arguments = tuple(port.declarator.name.valueText for port in ports if kind(port) == "FunctionPort")
        span = prototype.sourceRange
        is_task = kind(node) == "TaskDeclaration"
        is_void = is_task or kind(prototype.returnType) == "VoidType"
        return Function(
            name,
            tuple(sorted(set(names))),
            (span.start.offset, span.end.offset),
            arguments,
            is_void,
            "endtask" if is_task else "endfunction",
        )

    def renamed(self, whole: bytes, start: int, edit: Edit | None, number: int) -> bytes:
        """A copy under the name of a fault, with the fault in it; 0 is the original."""
        edits = [Edit(begin, end, f"{self.name}__f{number}") for begin, end in self.names]
        if edit is not None:
            inside = [one for one in edits if edit.start <= one.start and one.end <= edit.end]
            new = edit.text.replace(self.name, f"{self.name}__f{number}") if inside else edit.text
            edits = [one for one in edits if one not in inside] + [Edit(edit.start, edit.end, new)]
        out, at = bytearray(), start
        for one in sorted(edits, key=lambda one: one.start):
            out += whole[at - start : one.start - start] + one.text.encode()
            at = one.end
        return bytes(out + whole[at - start :])

    def dispatch(self, whole: bytes, start: int, numbers: Sequence[int]) -> bytes:
        """What has the function's name: it calls the copy that is chosen."""
        begin, end = self.prototype
        head = whole[begin - start : end - start].decode()
        given = f"({', '.join(self.arguments)})"
        ahead = "" if self.is_void else f"{self.name} = "
        lines = [f"{head};", f"  case ({ACTIVE})"]
        lines += [f"    {number}: {ahead}{self.name}__f{number}{given};" for number in numbers]
        lines += [f"    default: {ahead}{self.name}__f0{given};", "  endcase", self.end]
        before = whole[: begin - start].decode()
        return f"{before}{chr(10).join(lines)}\n".encode()


def children(node: Node) -> Iterator[Node]:
    """The nodes directly below a node; tokens are none."""
    for index in range(len(node)):
        child = node[index]
        if child is not None and hasattr(child, "sourceRange"):
            yield child


def below(node: Node) -> Iterator[Node]:
    """A node and every node below it."""
    yield node
    for child in children(node):
        yield from below(child)
