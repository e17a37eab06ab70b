"""One copy of what equal layers compute: equal functions in the C++ that Verilator wrote become one.

Verilator schedules each instance of a module by itself, and writes the instance's functions anew. They differ in the
numbers of their variables, in line breaks, in the neighbour that they read and in a constant here and there, which
keeps Verilator's own search for equal functions from finding them. Here, of functions of one class that are equal but
for that, the first stays, with neighbour and constants as parameters, and is called in place of the others. With 32
layers they are most of what g++ would compile, and of what the processor would fetch. Whatever is not understood stays
as it is.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final, NamedTuple

# void Vtop_x___nba_sequent__TOP__u_layer3__0(Vtop_x* vlSelf) {, in the first column, up to } in the first column
_FUNCTION: Final = re.compile(
    r"^(?P<cold>VL_ATTR_COLD )?void (?P<name>\w+)\((?P<self>\w+)\* vlSelf\) \{\n(?P<body>(?:.*\n)*?)\}\n",
    re.MULTILINE,
)
_DECLARATION: Final = re.compile(r"^((?:VL_ATTR_COLD )?void (\w+)\(\w+\* vlSelf)\);$", re.MULTILINE)
_CODE: Final = re.compile(r"^(?!#|//)\S.*\{$", re.MULTILINE)
_INSTANCE: Final = re.compile(r"^    (\w+)\s+(TOP__\w+);$", re.MULTILINE)  # of the symbol table's class

# Searched for in many megabytes: each begins with letters that re finds fast, and looks back behind them.
_DEBUG: Final = re.compile(r'\n    VL_DEBUG_IF\(VL_DBG_MSGF\("[^"]*"\); \);')
_MENTION: Final = re.compile(r"Vtop_\w+")
_CALL: Final = re.compile(r"(Vtop_\w+)\(\(&vlSymsp->(\w+)\)\)")
_STRING: Final = re.compile(r'"(?:\\.|[^"\\])*"')
_NAME: Final = re.compile(r"(__V(?<!\w__V)\w+)")
_LOCAL: Final = re.compile(r" (__V\w+);\n")
# Members that hold a function's temporary values; each instance has its own number.
_SCRATCH: Final = re.compile(r"__V(?<!\w__V)(?:func|task)_\w*__\d+\w*")

_OPERAND: Final = re.compile(r"(\b(?:vlSymsp->TOP__\w+|(?:0x[0-9a-f]+|[0-9]+)U(?:LL)?\b))")
_SPACE: Final = re.compile(r" (?!\w)|(?<!\w) ")  # that parts no words
_RESETS: Final = "___ctor_var_reset"
_MEMBER: Final = re.compile(r"^ +[^;\n]* (__V\w+);\n", re.MULTILINE)
# for (...) {, its lines, }, or one line with its continuation, all at the first level
_RESET: Final = re.compile(r"^    for .*\n(?:     .*\n)*    \}\n|^    vlSelf->[^;]*;\n", re.MULTILINE)

_MOST_PARAMETERS: Final = 4
_PART: Final = re.compile(r"(\w+)__\d+(__Slow)?")
"""The name of one of several files of a class; what is compiled for speed is apart from what is not."""
_LEFTOVER: Final = 1 << 15
"""Characters of a file that is not worth a compiler's run of its own."""


@dataclass(frozen=True, eq=False)
class _Function:
    file: Path
    start: int
    end: int
    name: str
    self_type: str
    cold: bool
    body: str

    @cached_property
    def parts(self) -> list[str]:
        """The texts before, between and after names, which may differ, and the names: a text, a name, a text ..."""
        return _NAME.split(self.body)

    @cached_property
    def names(self) -> list[str]:
        """The names of ``parts``, those of members with a dot before them."""
        texts, names = self.parts[0:-1:2], self.parts[1::2]
        return [
            f".{name}" if text.endswith((".", "->")) else name
            for text, name in zip(texts, names, strict=True)
        ]

    @cached_property
    def shape(self) -> tuple[str, bool, tuple[str, ...], bytes]:
        """What equal functions have in common, whatever their names, constants and line breaks."""
        texts = "".join(self.parts[::2]).encode().translate(None, b"0123456789abcdefx \n")
        return self.self_type, self.cold, tuple(_STRING.findall(self.body)), texts

    @cached_property
    def locals(self) -> frozenset[str]:
        return frozenset(_LOCAL.findall(self.body))

    def operand(self, place: _Place) -> str:
        """A constant or an instance."""
        operand: str = _OPERAND.split(self.parts[place[0]])[place[1]]
        return operand


_Place = tuple[int, int]
"""Of an operand: the number of its text in ``parts``, its number in the text."""


@dataclass(frozen=True)
class _Pair:
    """A function, and what distinguishes it from the one of its group that stays.

    Attributes:
        scratch: its temporary members, with those of the one that stays.
        operands: its own instances or constants where they differ.
    """

    function: _Function
    scratch: dict[str, str]
    operands: dict[_Place, str]


@dataclass(frozen=True)
class _Group:
    """Functions in whose place one is called."""

    kept: _Function
    pairs: tuple[_Pair, ...]


class Merged(NamedTuple):
    """What merging left out.

    Attributes:
        functions: an equal one is called in their place.
        members: for temporary values; another's is used in their place.
        files: compiled as a part of another, or left empty.
    """

    functions: int
    members: int
    files: int


def merge_equal_functions(folder: Path) -> Merged:
    """Rewrite the C++ in ``folder``; returns how much is gone."""
    texts = {file: _DEBUG.sub("", file.read_text(encoding="utf-8")) for file in sorted(folder.glob("*.cpp"))}
    headers = {file: file.read_text(encoding="utf-8") for file in sorted(folder.glob("*.h"))}
    types = {name: of for text in headers.values() for of, name in _INSTANCE.findall(text)}
    functions = [function for file, text in texts.items() for function in _functions(file, text)]
    outside = [_FUNCTION.sub("", text) for text in texts.values()]
    instances = _instances(functions, texts.values(), outside)
    shapes: dict[object, list[_Function]] = defaultdict(list)
    for function in functions:
        if function.name in instances:
            shapes[function.shape].append(function)
    groups = [group for alike in shapes.values() for group in _groups(alike, types)]
    names = _names(groups, functions, outside, instances)
    groups = [
        _Group(group.kept, pairs)
        for group in groups
        if (pairs := tuple(pair for pair in group.pairs if pair.scratch.keys() <= names.keys()))
    ]
    _rewrite(groups, texts, types)
    _rename(names, texts, headers)
    gone = _gather(texts)
    for file, text in (*texts.items(), *headers.items()):
        file.write_text(text, encoding="utf-8")
    _leave_out(folder, gone)
    return Merged(
        functions=sum(len(group.pairs) for group in groups),
        members=sum(name != new for name, new in names.items()),
        files=len(gone),
    )


def _functions(file: Path, text: str) -> Iterator[_Function]:
    """The functions of a file that take an instance and nothing else."""
    for match in _FUNCTION.finditer(text):
        name, cold = match["name"], match["cold"] is not None
        yield _Function(file, match.start(), match.end(), name, match["self"], cold, match["body"])


def _instances(
    functions: Sequence[_Function], texts: Iterable[str], outside: Iterable[str]
) -> dict[str, str]:
    """The instance on which a function is called, of each of which every mention is understood and names one."""
    known = Counter(function.name for function in functions)
    known.update(name for text in outside for _, name in _DECLARATION.findall(text))
    mentions: Counter[str] = Counter()
    called: dict[str, set[str]] = defaultdict(set)
    for text in texts:
        mentions.update(_MENTION.findall(text))
        for name, instance in _CALL.findall(text):
            known[name] += 1
            called[name].add(instance)
    return {
        function.name: min(called[function.name])
        for function in functions
        if len(called[function.name]) == 1 and mentions[function.name] == known[function.name]
    }


def _groups(alike: Sequence[_Function], types: Mapping[str, str]) -> Iterator[_Group]:
    """Split functions of one shape into those that are equal."""
    left = list(alike)
    while len(left) > 1:
        kept, *others = left
        found = [_compare(kept, other, types) for other in others]
        pairs = [pair for pair in found if pair is not None]
        if len(_parameters(kept, pairs)) > _MOST_PARAMETERS:
            pairs = [pair for pair in pairs if not pair.operands]
        if pairs:
            yield _Group(kept, tuple(pairs))
        gone = {pair.function.name for pair in pairs}
        left = [other for other in others if other.name not in gone]


def _compare(kept: _Function, function: _Function, types: Mapping[str, str]) -> _Pair | None:
    """What distinguishes the second function from the first; None when it is more than may."""
    ours, theirs = function.names, kept.names
    operands = _operands(kept, function, types)
    if len(ours) != len(theirs) or operands is None:
        return None
    renamed: dict[str, str] = {}
    for our, their in {pair for pair in zip(ours, theirs, strict=True) if pair[0] != pair[1]}:
        both_local = our in function.locals and their in kept.locals
        if not both_local and not (_is_scratch(our) and _is_scratch(their)):
            return None
        renamed[our] = their
    distinct = len(set(renamed.values())) == len(renamed)
    if list(map(renamed.get, ours, ours)) != theirs or not distinct:
        return None
    if not set(renamed.values()).isdisjoint(set(ours) - renamed.keys()):
        return None
    return _Pair(function, {our[1:]: their[1:] for our, their in renamed.items() if our[0] == "."}, operands)


def _operands(kept: _Function, function: _Function, types: Mapping[str, str]) -> dict[_Place, str] | None:
    """The second function's operands that differ; None when the texts differ in more than these and line breaks."""
    operands = {}
    for number, (text, other) in enumerate(zip(function.parts, kept.parts, strict=False)):
        if number % 2 or text == other:
            continue
        ours, theirs = _OPERAND.split(_bare(text)), _OPERAND.split(_bare(other))
        if len(ours) != len(theirs):
            return None
        for place, (our, their) in enumerate(zip(ours, theirs, strict=True)):
            if our != their:
                if place % 2 == 0 or _type(our, types) is None or _type(our, types) != _type(their, types):
                    return None
                operands[number, place] = our
    return operands


def _bare(text: str) -> str:
    """Without line breaks, and spaces that make no difference."""
    return _SPACE.sub("", " ".join(text.split()))


def _is_scratch(name: str) -> bool:
    return name[0] == "." and _SCRATCH.fullmatch(name, 1) is not None


def _type(operand: str, types: Mapping[str, str]) -> str | None:
    """Its C++ type as a parameter."""
    if operand.startswith("vlSymsp->"):
        found = types.get(operand.removeprefix("vlSymsp->"))
        return f"{found}&" if found else None
    return "QData" if operand.endswith("ULL") else "IData"


def _parameters(kept: _Function, pairs: Sequence[_Pair]) -> tuple[tuple[_Place, ...], ...]:
    """The places of each parameter: of operands that differ in the same way, together."""
    columns: dict[tuple[str, ...], list[_Place]] = defaultdict(list)
    for place in sorted({place for pair in pairs for place in pair.operands}):
        theirs = kept.operand(place)
        columns[theirs, *(pair.operands.get(place, theirs) for pair in pairs)].append(place)
    return tuple(map(tuple, columns.values()))


def _names(
    groups: Sequence[_Group],
    functions: Sequence[_Function],
    outside: Iterable[str],
    instances: Mapping[str, str],
) -> dict[str, str]:
    """New names of temporary members: one for all that stand in each other's place.

    That is a mere renaming, as long as all who touch such a member are known, each of them is called on one instance,
    and no instance has two members of one new name.
    """
    place: dict[str, set[str]] = {}  # of each name: all that stand in its place
    for group in groups:
        for pair in group.pairs:
            for our, their in pair.scratch.items():
                first, second = place.setdefault(our, {our}), place.setdefault(their, {their})
                if first is not second:
                    first |= second
                    place.update(dict.fromkeys(second, first))
    used: dict[str, set[str]] = defaultdict(set)  # by name: on which instances; "" for what is not understood
    for function in functions:
        if not function.name.endswith(_RESETS):
            for name in place.keys() & set(_SCRATCH.findall(function.body)):
                used[name].add(instances.get(function.name, ""))
    for text in outside:
        for name in place.keys() & set(_SCRATCH.findall(text)):
            used[name].add("")
    names = {}
    for name, alike in place.items():
        owners = [instance for each in alike for instance in used[each]]
        if "" not in owners and len(set(owners)) == len(owners):
            names[name] = min(alike, key=lambda each: (len(each), each))
    return names


def _rewrite(groups: Sequence[_Group], texts: dict[Path, str], types: Mapping[str, str]) -> None:
    """Take the functions out that are not needed, and call those that stay."""
    edits: dict[Path, list[tuple[_Function, str]]] = defaultdict(list)
    calls: dict[str, tuple[str, str, str]] = {}  # what is called now, its further parameters, their arguments
    for group in groups:
        kept = group.kept
        parameters = _parameters(kept, group.pairs)
        own = [kept.operand(places[0]) for places in parameters]
        declared = "".join(f", {_type(operand, types)} __Vp{index}" for index, operand in enumerate(own))
        calls[kept.name] = kept.name, declared, "".join(f", {operand}" for operand in own)
        for pair in group.pairs:
            values = (
                pair.operands.get(places[0], operand) for places, operand in zip(parameters, own, strict=True)
            )
            calls[pair.function.name] = kept.name, declared, "".join(f", {value}" for value in values)
        if parameters:
            named = {place: f"__Vp{index}" for index, places in enumerate(parameters) for place in places}
            edits[kept.file].append((kept, _parametrized(kept, declared, named)))
        for pair in group.pairs:
            edits[pair.function.file].append((pair.function, ""))

    def declaration(match: re.Match[str]) -> str:
        if match[2] not in calls:
            return match[0]
        name, declared, _ = calls[match[2]]
        return f"{match[1].replace(match[2], name)}{declared});"

    def call(match: re.Match[str]) -> str:
        if match[1] not in calls:
            return match[0]
        name, _, arguments = calls[match[1]]
        return f"{name}((&vlSymsp->{match[2]}){arguments})"

    for file, text in texts.items():
        parts, at = [], 0
        for function, new in sorted(edits[file], key=lambda edit: edit[0].start):
            parts += [text[at : function.start], new]
            at = function.end
        texts[file] = _CALL.sub(call, _DECLARATION.sub(declaration, "".join([*parts, text[at:]])))


def _parametrized(function: _Function, declared: str, named: Mapping[_Place, str]) -> str:
    """A function with its parameters in place of operands."""
    parts = list(function.parts)
    for number in {number for number, _ in named}:
        operands = _OPERAND.split(parts[number])
        parts[number] = "".join(named.get((number, place), operand) for place, operand in enumerate(operands))
    cold = "VL_ATTR_COLD " if function.cold else ""
    return f"{cold}void {function.name}({function.self_type}* vlSelf{declared}) {{\n{''.join(parts)}}}\n"


def _rename(names: Mapping[str, str], texts: dict[Path, str], headers: dict[Path, str]) -> None:
    """Give temporary members their new names, and take out those that are left without use."""

    def is_left(name: str) -> bool:
        return names.get(name, name) == name

    def reset(match: re.Match[str]) -> str:
        name = _SCRATCH.search(match[0])
        return match[0] if name is None or is_left(name[0]) else ""

    def resets(match: re.Match[str]) -> str:
        return _RESET.sub(reset, match[0]) if match["name"].endswith(_RESETS) else match[0]

    for file, text in texts.items():
        texts[file] = _SCRATCH.sub(lambda match: names.get(match[0], match[0]), _FUNCTION.sub(resets, text))
    for file, text in headers.items():
        headers[file] = _MEMBER.sub(lambda match: match[0] if is_left(match[1]) else "", text)


def _gather(texts: dict[Path, str]) -> set[str]:
    """Put what is left of a class's files together, since each costs g++ the headers; the stems of those left empty."""
    gone: set[str] = set()
    first: dict[tuple[str, str | None], Path] = {}
    for file in sorted(texts, key=lambda file: (len(file.stem), file.stem)):
        part = _PART.fullmatch(file.stem)
        if not _CODE.search(texts[file]):
            gone.add(file.stem)
        elif part is not None:
            whole = first.setdefault((part[1], part[2]), file)
            if whole != file and len(texts[file]) < _LEFTOVER:
                texts[whole] += texts[file]
                texts[file] = ""
                gone.add(file.stem)
    return gone


def _leave_out(folder: Path, stems: set[str]) -> None:
    """Take files out of the makefile."""
    for makefile in folder.glob("*_classes.mk"):
        lines = makefile.read_text(encoding="utf-8").splitlines(keepends=True)
        kept = [line for line in lines if line.strip(" \\\n\t") not in stems]
        makefile.write_text("".join(kept), encoding="utf-8")
