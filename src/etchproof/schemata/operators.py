"""Operators of mutation: what a fault in RTL may look like, from the syntax alone.

Each takes a node of slang's syntax tree and says what its text may become. They are the generic ones of the field
(after the classes of Jia and Harman, "An Analysis and Survey of the Development of Mutation Testing", IEEE TSE 2011,
and those for RTL of Serrestou et al., "Functional Verification of RTL Designs driven by Mutation Testing metrics", DSD
2007): operator, constant, condition, width, sign, dropped assignment, state, index.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

Node = Any  # slang is untyped
Text = Callable[[Node], str]
"""The source of a node."""

_BINARY: Final[Mapping[str, tuple[str, ...]]] = {
    "AddExpression": ("-",),
    "SubtractExpression": ("+",),
    "MultiplyExpression": ("+",),
    "LogicalShiftLeftExpression": (">>",),
    "LogicalShiftRightExpression": ("<<",),
    "ArithmeticShiftRightExpression": (">>",),
    "LessThanExpression": ("<=", ">="),
    "LessThanEqualExpression": ("<", ">"),
    "GreaterThanExpression": (">=", "<="),
    "GreaterThanEqualExpression": (">", "<"),
    "EqualityExpression": ("!=",),
    "InequalityExpression": ("==",),
    "LogicalAndExpression": ("||",),
    "LogicalOrExpression": ("&&",),
    "BinaryAndExpression": ("|",),
    "BinaryOrExpression": ("&",),
    "BinaryXorExpression": ("|",),
}
_SHIFTS: Final = frozenset(
    {"LogicalShiftLeftExpression", "LogicalShiftRightExpression", "ArithmeticShiftRightExpression"}
)
_UNARY: Final = frozenset({"UnaryMinusExpression", "UnaryLogicalNotExpression", "UnaryBitwiseNotExpression"})
_VECTOR: Final = re.compile(
    r"(?P<size>\d*)\s*'(?P<sign>s?)(?P<base>[dhb])\s*(?P<digits>[0-9a-fA-F_]+)", re.IGNORECASE
)
_BASES: Final = {"d": 10, "h": 16, "b": 2}
_INTEGER: Final = re.compile(r"[\d_]+")


def kind(node: Node) -> str:
    """The name of a node's kind."""
    return str(node.kind).rpartition(".")[2]


def expressions(
    node: Node, text: Text, *, operand_bits: int | None = None, chosen_from: int | None = None
) -> Iterator[tuple[str, str]]:
    """Operator and new text, for each way in which an expression may be wrong.

    Args:
        operand_bits: of a cast, the bits of what is cast; None where they are not known.
        chosen_from: of an index, how many elements it chooses from.
    """
    what = kind(node)
    if what in _BINARY:
        left, right = text(node.left), text(node.right)
        for sign in _BINARY[what]:
            yield "operator", f"{left} {sign} {right}"
        if what in _SHIFTS:
            sign = text(node)[len(left) :].strip()[: 3 if what.startswith("Arith") else 2]
            yield "shift", f"{left} {sign} ({right} + 1)"
        if what == "SubtractExpression":
            yield "operand", f"{right} - {left}"
    elif what in _UNARY:
        yield "sign" if what == "UnaryMinusExpression" else "condition", text(node.operand)
    elif what == "ConditionalExpression":
        yield "condition", text(node.left)
        yield "condition", text(node.right)
    elif what in ("IntegerLiteralExpression", "IntegerVectorExpression"):
        yield from (("constant", value) for value in _neighbours(text(node)))
    elif what == "UnbasedUnsizedLiteralExpression":
        yield "constant", "'1" if text(node) == "'0" else "'0"
    elif what == "CastExpression":
        yield from _narrower(node, text, operand_bits)
    elif what == "SignedCastExpression":
        whole = text(node)
        yield "sign", f"unsigned{whole[6:]}" if whole.startswith("signed") else f"signed{whole[8:]}"
    elif what == "BitSelect" and chosen_from != 1:
        yield "index", f"(({text(node)}) ^ 1)"


def _neighbours(literal: str) -> Iterator[str]:
    """A literal one larger and one smaller, where its size holds them."""
    if _INTEGER.fullmatch(literal):
        value = int(literal.replace("_", ""))
        yield str(value + 1)
        if value:
            yield str(value - 1)
        return
    match = _VECTOR.fullmatch(literal)
    if match is None:
        return
    value = int(match["digits"].replace("_", ""), _BASES[match["base"].lower()])
    bits = int(match["size"] or 32) - bool(match["sign"])
    for other in (value + 1, value - 1):
        if 0 <= other < 1 << bits:
            yield f"{match['size']}'{match['sign']}d{other}"


def _narrower(node: Node, text: Text, operand_bits: int | None) -> Iterator[tuple[str, str]]:
    """A cast that loses the highest bit of what it is given."""
    size, inner = text(node.left), text(node.right)
    if kind(node.left) == "IntegerLiteralExpression":
        bits = min(int(size), operand_bits or int(size))
        if bits > 1:
            yield "width", f"{size}'({bits - 1}'{inner})"
    elif kind(node.left) == "IdentifierName" and not size.endswith("_t"):
        bits_of = size if operand_bits is None else f"({size} < {operand_bits} ? {size} : {operand_bits})"
        yield "width", f"{size}'(({bits_of} - 1)'{inner})"


def statements(node: Node, text: Text, states: Mapping[str, str]) -> Iterator[tuple[str, str, Node]]:
    """Operator, new text and the node that it replaces, for each way in which a statement may be wrong.

    Args:
        states: of each name of an enumeration, the next one.
    """
    what = kind(node)
    if what == "ConditionalStatement":
        for stuck in ("1'b1", "1'b0"):
            yield "condition", stuck, node.predicate
    elif what == "ExpressionStatement":
        inner = node.expr
        if kind(inner).endswith("AssignmentExpression"):
            yield "dropped", ";", node
            if (value := text(inner.right)) in states:
                yield "state", states[value], inner.right
    elif what == "ForLoopStatement" and kind(node.stopExpr) in (
        "LessThanExpression",
        "LessThanEqualExpression",
    ):
        yield "bound", f"{text(node.stopExpr)} - 1", node.stopExpr
