"""What the elaborated chip says of an expression in a source: widths and sizes, over every instance of its module."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from etchproof.schemata.operators import Node

Place = tuple[str, int, int]
"""A source, and where in it an expression begins and ends."""


@dataclass(frozen=True)
class Facts:
    """Of the sources of one fabric.

    Attributes:
        operands: of each cast, the least and the most bits of what is cast.
        sizes: of each index, the most elements that it chooses from.
    """

    operands: Mapping[Place, tuple[int, int]]
    sizes: Mapping[Place, int]

    def operand_bits(self, name: str, node: Node) -> tuple[int, int] | None:
        """Of a cast, the least and the most bits of its operand; None where nothing is known."""
        return self.operands.get(_place(name, node.sourceRange))

    def chosen_from(self, name: str, node: Node) -> int | None:
        """Of an index, the most elements that it chooses from."""
        return self.sizes.get(_place(name, node.sourceRange))


def _place(name: str, span: Any) -> Place:
    return name, span.start.offset, span.end.offset


def read_facts(compilation: Any, folder: Path) -> Facts:
    """The facts of a compilation of slang, by names below ``folder``."""
    from pyslang import ast

    manager = compilation.sourceManager
    names: dict[Any, str] = {}
    operands: dict[Place, list[int]] = defaultdict(list)
    sizes: dict[Place, int] = defaultdict(int)

    def name_of(place: Any) -> str:
        if place.buffer not in names:
            file = Path(manager.getFullPath(place.buffer))
            names[place.buffer] = file.relative_to(folder).as_posix() if file.is_relative_to(folder) else ""
        return names[place.buffer]

    def visit(node: Any) -> None:
        if isinstance(node, ast.ConversionExpression) and not node.isImplicit:
            span, operand = node.sourceRange, node.operand
            while isinstance(operand, ast.ConversionExpression) and operand.isImplicit:
                operand = operand.operand  # extended to the width of the cast
            operands[_place(name_of(span.start), span)].append(operand.type.bitWidth)
        elif isinstance(node, ast.ElementSelectExpression):
            span = node.selector.sourceRange
            place, of = _place(name_of(span.start), span), node.value.type
            width = of.fixedRange.width if of.hasFixedRange else 0
            sizes[place] = max(sizes[place], width)

    compilation.getRoot().visit(visit)
    return Facts({place: (min(bits), max(bits)) for place, bits in operands.items()}, dict(sizes))
