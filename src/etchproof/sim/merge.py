"""One copy of what equal layers compute: equal functions in the C++ that Verilator wrote become one.

Verilator schedules each instance of a module by itself, and writes the instance's functions anew; they differ in the
numbers of their local variables and in line breaks, which keeps Verilator's own search for equal functions from finding
them. Here, of functions of one class that are equal but for that, all but the first become a call of the first. With 32
layers that is most of what g++ would compile, and of what the processor would fetch.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

# void Vtop_x___nba_sequent__TOP__u_layer3__0(Vtop_x* vlSelf) {, in the first column, up to } in the first column
_FUNCTION: Final = re.compile(
    r"^(?P<head>(?:VL_ATTR_COLD )?void (?P<name>\w+)\((?P<self>\w+)\* vlSelf\)) \{\n(?P<body>.*?)^\}\n",
    re.MULTILINE | re.DOTALL,
)
_DEBUG: Final = re.compile(r'VL_DEBUG_IF\(VL_DBG_MSGF\("[^"]*"\); \);')
_DECLARED: Final = re.compile(r"^\s+(?:[\w:<>, ]|/\*[^*]*\*/)+?\s(?P<name>__V\w+);$", re.MULTILINE)
_TOKEN: Final = re.compile(r'"(?:\\.|[^"\\])*"|(?:->|\.)\s*\w+|\w+|<<|>>|\+\+|--|&&|\|\||[<>=!]=|::|\S')
_SMALLEST: Final = 2000
"""Characters; a call is no better than a shorter function."""


@dataclass(frozen=True, slots=True)
class _Function:
    file: Path
    start: int
    end: int
    head: str
    name: str
    self_type: str


def merge_equal_functions(folder: Path) -> int:
    """Rewrite the .cpp files in ``folder``; returns how many functions became a call of another.

    A function is taken for another's equal only where the sequence of tokens is the same, after its local variables
    were named by the order in which they appear; whatever is not understood stays as it is.
    """
    first: dict[tuple[str, str], _Function] = {}
    replaced: dict[Path, list[tuple[_Function, _Function]]] = {}
    for file in sorted(folder.glob("*.cpp")):
        for function, canonical in _functions(file):
            kept = first.setdefault((function.self_type, canonical), function)
            if kept is not function:
                replaced.setdefault(file, []).append((function, kept))
    for file, pairs in replaced.items():
        text = file.read_text(encoding="utf-8")
        for function, kept in reversed(pairs):
            declaration = f"{kept.head};\n" if kept.file != file or kept.start > function.start else ""
            call = f"{declaration}{function.head} {{\n    {kept.name}(vlSelf);\n}}\n"
            text = text[: function.start] + call + text[function.end :]
        file.write_text(text, encoding="utf-8")
    return sum(map(len, replaced.values()))


def _functions(file: Path) -> Iterator[tuple[_Function, str]]:
    """The longer functions of a file that take an instance and nothing else, each with its canonical text."""
    text = file.read_text(encoding="utf-8")
    for match in _FUNCTION.finditer(text):
        body = match["body"]
        if len(body) >= _SMALLEST:
            kind = "cold " if match["head"].startswith("VL_ATTR_COLD") else ""
            yield (
                _Function(file, match.start(), match.end(), match["head"], match["name"], match["self"]),
                kind + _canonical(body),
            )


def _canonical(body: str) -> str:
    """The tokens of a body, its local variables numbered by appearance."""
    body = _DEBUG.sub("", body)
    local = {match["name"] for match in _DECLARED.finditer(body)}
    numbers: dict[str, str] = {}

    def canonical(token: str) -> str:
        if token in local:
            return numbers.setdefault(token, f"@{len(numbers)}")
        if token[0] in ".-" and token[-1].isalnum():  # a member: never a local variable
            return "".join(token.split())
        return token

    return " ".join(map(canonical, _TOKEN.findall(body)))
