"""What each bit of a C++ expression is, of those that Verilator writes to find the edges of clocks."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

_TOKEN: Final = re.compile(
    r"\s*(?P<token>vlSelfRef\.\w+(?:\.awaitingCurrentTime\(\))?|vlSymsp->\w+\.\w+|\w+|<<|>>|[()~&|])"
)
_CONSTANT: Final = re.compile(r"(0x[0-9a-f]+|\d+)(?:U|ULL)")
_WIDTHS: Final = {"CData": 8, "SData": 16, "IData": 32, "QData": 64}
_BINARY: Final = ("|", "&", "<<")  # from the loosest to the tightest; shifts bind alike


class NotUnderstoodError(Exception):
    """An expression has something in it that is not known here."""


@dataclass(frozen=True, slots=True)
class Literal:
    """A bit of a variable, or its inverse."""

    name: str
    bit: int
    inverted: bool = False


Conjunction = frozenset[Literal]
"""All of these; the empty one is true."""

Bits = list[Conjunction | None]
"""Of a value, the lowest first; None is zero."""


def bits_of(expression: str, widths: Mapping[str, int]) -> Bits:
    """The bits of an expression of ``|``, ``&``, ``~``, shifts by constants, and casts.

    Args:
        expression: C++.
        widths: of variables, in bits, by their last name; what is above is zero.

    Raises:
        NotUnderstoodError: anything else, or a bit that is no conjunction.
    """
    tokens, at = [], 0
    text = expression.strip()
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise NotUnderstoodError(text[at : at + 20])
        tokens.append(match["token"])
        at = match.end()
    parser = _Parser(tokens, widths)
    found = parser.binary(0)
    if parser.tokens:
        raise NotUnderstoodError(parser.tokens[0])
    return found


def last_name(variable: str) -> str:
    """Of ``vlSymsp->X.y``: y."""
    return re.split(r"\W+", variable)[-1]


class _Parser:
    def __init__(self, tokens: list[str], widths: Mapping[str, int]) -> None:
        self.tokens, self._widths = tokens, widths

    def _take(self, *wanted: str) -> str | None:
        if self.tokens and (not wanted or self.tokens[0] in wanted):
            return self.tokens.pop(0)
        return None

    def binary(self, level: int) -> Bits:
        if level == len(_BINARY):
            return self._unary()
        found = self.binary(level + 1)
        operators = ("<<", ">>") if _BINARY[level] == "<<" else (_BINARY[level],)
        while operator := self._take(*operators):
            other = self.binary(level + 1)
            if operator in ("<<", ">>"):
                found = _shifted(found, _number(other) * (1 if operator == "<<" else -1))
            else:
                size = max(len(found), len(other))
                pairs = zip(_extended(found, size), _extended(other, size), strict=True)
                found = [_or(*pair) if operator == "|" else _and(*pair) for pair in pairs]
        return found

    def _unary(self) -> Bits:
        token = self._take()
        if token is None or token in "&|)<<>>":
            raise NotUnderstoodError(str(token))
        if token == "~":
            return [_not(bit) for bit in self._unary()]
        if token == "(":
            if self.tokens[1:2] == [")"] and self.tokens[0] in ("IData", "QData"):
                size = _WIDTHS[self.tokens[0]]
                del self.tokens[:2]
                return _extended(self._unary(), size)[:size]
            found = self.binary(0)
            if not self._take(")"):
                raise NotUnderstoodError("no )")
            return found
        if constant := _CONSTANT.fullmatch(token):
            size, value = 64 if token.endswith("LL") else 32, int(constant[1], 0)
            return [frozenset() if value >> bit & 1 else None for bit in range(size)]
        width = 1 if token.endswith("()") else self._widths.get(last_name(token))
        if width is None:
            raise NotUnderstoodError(token)
        return _extended([frozenset([Literal(token, bit)]) for bit in range(width)], 64 if width > 32 else 32)


def _number(bits: Bits) -> int:
    if any(bits_ for bits_ in bits):
        raise NotUnderstoodError("a shift by a variable")
    return sum(1 << index for index, bit in enumerate(bits) if bit is not None)


def _extended(bits: Bits, size: int) -> Bits:
    return bits + [None] * (size - len(bits))


def _shifted(bits: Bits, places: int) -> Bits:
    size = len(bits)
    return ([None] * places + bits)[:size] if places >= 0 else _extended(bits[-places:], size)


def _not(bit: Conjunction | None) -> Conjunction | None:
    if bit is None:
        return frozenset()
    if len(bit) > 1:
        raise NotUnderstoodError("a negated conjunction")
    for literal in bit:
        return frozenset([Literal(literal.name, literal.bit, not literal.inverted)])
    return None


def _and(first: Conjunction | None, second: Conjunction | None) -> Conjunction | None:
    return None if first is None or second is None else first | second


def _or(first: Conjunction | None, second: Conjunction | None) -> Conjunction | None:
    if first is None or second is None or first == second:
        return second if first is None else first
    raise NotUnderstoodError("a disjunction")
