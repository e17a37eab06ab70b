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
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

# void Vtop_x___nba_sequent__TOP__u_layer3__0(Vtop_x* vlSelf) {, in the first column, up to } in the first column
_FUNCTION: Final = re.compile(
    r"^(?P<cold>VL_ATTR_COLD )?void (?P<name>\w+)\((?P<self>\w+)\* vlSelf\) \{\n(?P<body>.*?)^\}\n",
    re.MULTILINE | re.DOTALL,
)
_DECLARATION: Final = re.compile(r"^((?:VL_ATTR_COLD )?void (\w+)\(\w+\* vlSelf)\);$", re.MULTILINE)
_CALL: Final = re.compile(r"\b(\w+)\(\(&vlSymsp->(\w+)\)\)")
_DEBUG: Final = re.compile(r' +VL_DEBUG_IF\(VL_DBG_MSGF\("[^"]*"\); \);\n')
_CODE: Final = re.compile(r"^(?!#|//)\S.*\{$", re.MULTILINE)
_INSTANCE: Final = re.compile(r"^    (\w+)\s+(TOP__\w+);$", re.MULTILINE)  # of the symbol table's class
_TOKEN: Final = re.compile(
    r'"(?:\\.|[^"\\])*"|vlSymsp->TOP__\w+|(?:->|\.)\w+|\w+|<<|>>|\+\+|--|&&|\|\||[<>=!]=|::|\S'
)
_CONSTANT: Final = re.compile(r"(?:0x[0-9a-f]+|[0-9]+)(U|ULL)")
_HEXADECIMAL: Final = re.compile(r"0x[0-9a-f]+")
_RESETS: Final = "___ctor_var_reset"

# Members that hold a function's temporary values; each instance has its own number.
_SCRATCH: Final = re.compile(r"\b__V(?:func|task)_\w*__\d+\w*")
_MEMBER: Final = re.compile(r"^ +[^;\n]* (__V\w+);\n", re.MULTILINE)
# for (...) {, its lines, }, or one line with its continuation, all at the first level
_RESET: Final = re.compile(r"^    for .*\n(?:     .*\n)*    \}\n|^    vlSelf->[^;]*;\n", re.MULTILINE)

_SMALLEST: Final = 200
"""Characters: Verilator finds short equal functions itself, the shortest are in line."""
_MOST_PARAMETERS: Final = 4


@dataclass(frozen=True)
class _Function:
    file: Path
    start: int
    end: int
    name: str
    self_type: str
    cold: bool
    body: str


@dataclass(frozen=True)
class _Pair:
    """A function, and what distinguishes it from the one of its group that stays.

    Attributes:
        scratch: its temporary members, with those of the one that stays.
        operands: by the number of a token, its own instance or constant there.
    """

    function: _Function
    scratch: dict[str, str]
    operands: dict[int, str]


@dataclass(frozen=True)
class _Group:
    """Functions in whose place one is called."""

    kept: _Function
    pairs: tuple[_Pair, ...]


def merge_equal_functions(folder: Path) -> int:
    """Rewrite the C++ in ``folder``; returns how many functions are gone."""
    texts = {file: _DEBUG.sub("", file.read_text(encoding="utf-8")) for file in sorted(folder.glob("*.cpp"))}
    headers = {file: file.read_text(encoding="utf-8") for file in sorted(folder.glob("*.h"))}
    types = {name: of for text in headers.values() for of, name in _INSTANCE.findall(text)}
    functions = [function for file, text in texts.items() for function in _functions(file, text)]
    instances = _instances(functions, texts)
    shapes: dict[tuple[str, bool, bytes], list[_Function]] = defaultdict(list)
    for function in functions:
        if function.name in instances and len(function.body) >= _SMALLEST:
            body = _HEXADECIMAL.sub("", function.body).encode()
            shape = body.translate(None, b"0123456789 \n")
            shapes[function.self_type, function.cold, shape].append(function)
    groups = [group for alike in shapes.values() for group in _groups(alike, types)]
    names = _names(groups, functions, texts, instances)
    groups = [
        _Group(group.kept, pairs)
        for group in groups
        if (pairs := tuple(pair for pair in group.pairs if pair.scratch.keys() <= names.keys()))
    ]
    _rewrite(groups, texts, types)
    _rename(names, texts, headers)
    for file, text in (*texts.items(), *headers.items()):
        file.write_text(text, encoding="utf-8")
    _drop_empty(folder, texts)
    return sum(len(group.pairs) for group in groups)


def _functions(file: Path, text: str) -> Iterator[_Function]:
    """The functions of a file that take an instance and nothing else."""
    for match in _FUNCTION.finditer(text):
        name, cold = match["name"], match["cold"] is not None
        yield _Function(file, match.start(), match.end(), name, match["self"], cold, match["body"])


def _instances(functions: Sequence[_Function], texts: Mapping[Path, str]) -> dict[str, str]:
    """The instance on which a function is called, of each of which every mention is understood and names one."""
    known = Counter(function.name for function in functions)
    mentions: Counter[str] = Counter()
    called: dict[str, set[str]] = defaultdict(set)
    mention = re.compile(r"\bVtop_\w+")
    for text in texts.values():
        mentions.update(mention.findall(text))
        known.update(name for _, name in _DECLARATION.findall(text))
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
    left = [(function, _tokens(function)) for function in alike] if len(alike) > 1 else []
    while len(left) > 1:
        (kept, tokens), *others = left
        found = [_compare((kept, tokens), other, types) for other in others]
        pairs = [pair for pair in found if pair is not None]
        if len(_parameters(tokens, pairs)) > _MOST_PARAMETERS:
            pairs = [pair for pair in pairs if not pair.operands]
        if pairs:
            yield _Group(kept, tuple(pairs))
        gone = {pair.function.name for pair in pairs}
        left = [other for other in others if other[0].name not in gone]


def _tokens(function: _Function) -> list[str]:
    tokens: list[str] = _TOKEN.findall(function.body)
    return tokens


def _compare(
    first: tuple[_Function, list[str]], second: tuple[_Function, list[str]], types: Mapping[str, str]
) -> _Pair | None:
    """What distinguishes the second function from the first; None when it is more than may."""
    (kept, theirs), (function, ours) = first, second
    if len(ours) != len(theirs):
        return None
    renamed: dict[str, str] = {}
    operands: dict[int, str] = {}
    for number, (our, their) in enumerate(zip(ours, theirs, strict=True)):
        if our == their:
            continue
        if (_is_local(our, function) and _is_local(their, kept)) or (_is_scratch(our) and _is_scratch(their)):
            renamed[our] = their
        elif _type(our, types) and _type(our, types) == _type(their, types):
            operands[number] = our
        else:
            return None
    scratch = {our.lstrip("->."): their.lstrip("->.") for our, their in renamed.items() if _is_scratch(our)}
    renamed |= {f"{dot}{our}": f"{dot}{their}" for our, their in scratch.items() for dot in (".", "->")}
    now = list(map(renamed.get, ours, ours))
    for number in operands:
        now[number] = theirs[number]
    distinct = len(set(renamed.values())) == len(renamed)
    if now != theirs or not distinct or not set(renamed.values()).isdisjoint(set(ours) - renamed.keys()):
        return None
    return _Pair(function, scratch, operands)


def _is_local(token: str, function: _Function) -> bool:
    return token.startswith("__V") and f" {token};\n" in function.body


def _is_scratch(token: str) -> bool:
    return token[0] in ".-" and _SCRATCH.search(token) is not None


def _type(token: str, types: Mapping[str, str]) -> str | None:
    """The C++ type of what may become a parameter."""
    if token.startswith("vlSymsp->"):
        found = types.get(token.removeprefix("vlSymsp->"))
        return f"{found}&" if found else None
    constant = _CONSTANT.fullmatch(token)
    return {"U": "IData", "ULL": "QData"}[constant[1]] if constant else None


def _parameters(tokens: Sequence[str], pairs: Sequence[_Pair]) -> tuple[tuple[int, ...], ...]:
    """Numbers of tokens that are a parameter; of those that differ in the same way, together."""
    columns: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for number in sorted({number for pair in pairs for number in pair.operands}):
        columns[tokens[number], *(pair.operands.get(number, tokens[number]) for pair in pairs)].append(number)
    return tuple(map(tuple, columns.values()))


def _names(
    groups: Sequence[_Group],
    functions: Sequence[_Function],
    texts: Mapping[Path, str],
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
    for text in texts.values():
        for name in place.keys() & set(_SCRATCH.findall(_FUNCTION.sub("", text))):
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
        kept, tokens = group.kept, _tokens(group.kept)
        parameters = _parameters(tokens, group.pairs)
        declared = "".join(
            f", {_type(tokens[numbers[0]], types)} __Vp{index}" for index, numbers in enumerate(parameters)
        )
        for function, operands in ((kept, {}), *((pair.function, pair.operands) for pair in group.pairs)):
            values = (operands.get(numbers[0], tokens[numbers[0]]) for numbers in parameters)
            calls[function.name] = kept.name, declared, "".join(f", {value}" for value in values)
        if parameters:
            named = {number: f"__Vp{index}" for index, numbers in enumerate(parameters) for number in numbers}
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


def _parametrized(function: _Function, declared: str, named: Mapping[int, str]) -> str:
    """A function with its parameters in place of tokens."""
    parts, at = [], 0
    for number, match in enumerate(_TOKEN.finditer(function.body)):
        if number in named:
            parts += [function.body[at : match.start()], named[number]]
            at = match.end()
    cold = "VL_ATTR_COLD " if function.cold else ""
    head = f"{cold}void {function.name}({function.self_type}* vlSelf{declared}) {{\n"
    return f"{head}{''.join(parts)}{function.body[at:]}}}\n"


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


def _drop_empty(folder: Path, texts: Mapping[Path, str]) -> None:
    """Take the files out of the makefile in which no function is left."""
    empty = {file.stem for file, text in texts.items() if not _CODE.search(text)}
    for makefile in folder.glob("*_classes.mk"):
        lines = makefile.read_text(encoding="utf-8").splitlines(keepends=True)
        kept = [line for line in lines if line.strip(" \\\n\t") not in empty]
        makefile.write_text("".join(kept), encoding="utf-8")
