"""Lists of RTL as teams keep them for their simulators: command files (``.f``), and EDAM as FuseSoC writes it.

Every way in which a list can say what is not understood is refused: a file that is left out of a chip in silence would
be left out of its proof.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from etchproof.errors import InputError
from etchproof.files.regular import read_text
from etchproof.files.yaml_file import read_yaml_mapping
from etchproof.project.declaration import Project
from etchproof.project.sections import RtlSection

_LIMIT_BYTES: Final = 1 << 20
_COMMENT: Final = re.compile(r"(?:^|(?<=\s))(?://|#).*$")
_BLOCK: Final = re.compile(r"(?:^|\s)/\*")
_PLUS: Final = re.compile(r"\+(incdir|define)\+(.*)")
_VARIABLE: Final = re.compile(r"\$[\w({]")
_EDAM: Final = (".yml", ".yaml")
_VERILOG: Final = ("verilogSource", "systemVerilogSource", "vlt")
_CPP: Final = ("cSource", "cppSource")
_TAKEN: Final = "paths, +incdir+, -I, +define+, -D, -f and -F are taken"


@dataclass
class Listed:
    """What lists name. Paths are absolute.

    Attributes:
        files: what is compiled, in order.
        include: folders of included files.
        defines: macros.
        parameters: of the top module.
        testbench: C and C++.
        read: the lists.
    """

    files: list[Path] = field(default_factory=list)
    include: list[Path] = field(default_factory=list)
    defines: dict[str, str] = field(default_factory=dict)
    parameters: dict[str, str] = field(default_factory=dict)
    testbench: list[Path] = field(default_factory=list)
    read: list[Path] = field(default_factory=list)


def read_lists(project: Project) -> Listed:
    """Everything that the lists of ``[rtl] filelist`` name.

    Raises:
        InputError: a list or what it names cannot be used.
    """
    found = Listed()
    for text in project.rtl.filelist:
        option, _, rest = text.partition(" ") if text.startswith("-") else ("-f", "", text)
        path = project.root / rest.strip()
        if option not in ("-f", "-F"):
            raise InputError(
                f"{text!r} is neither a list, nor one after -f or -F", source=project.file, key="rtl.filelist"
            )
        if path.suffix in _EDAM:
            _edam(path, found)
        else:
            _command_file(path, path.parent if option == "-F" else project.root, found, ())
    return found


def with_lists(project: Project) -> RtlSection:
    """``[rtl]`` with what its lists name ahead of what it names itself.

    Raises:
        InputError: as ``read_lists``; something lies outside the project, or is said twice and differently.
    """
    rtl = project.rtl
    if not rtl.filelist:
        return rtl
    found = read_lists(project)

    def below(paths: list[Path]) -> tuple[str, ...]:
        return tuple(dict.fromkeys(_below(path, project) for path in paths))

    return rtl.model_copy(
        update={
            "files": (*below(found.files), *rtl.files),
            "testbench": (*below(found.testbench), *rtl.testbench),
            "include": (*below(found.include), *rtl.include),
            "defines": _merged("defines", found.defines, rtl.defines, project),
            "parameters": _merged("parameters", found.parameters, rtl.parameters, project),
        }
    )


def _below(path: Path, project: Project) -> str:
    """A path as ``[rtl]`` names it."""
    root, resolved = project.root.resolve(), path.resolve()
    if not resolved.is_relative_to(root):
        raise InputError(
            f"names {str(resolved)!r}, which lies outside the project",
            source=project.file,
            key="rtl.filelist",
            hint="put etchproof.toml into a folder above it",
        )
    return resolved.relative_to(root).as_posix()


def _merged(key: str, listed: Mapping[str, str], own: Mapping[str, str], project: Project) -> dict[str, str]:
    for name in listed.keys() & own.keys():
        if listed[name] != own[name]:
            raise InputError(
                f"says {name} = {own[name]!r}, and a list says {listed[name]!r}",
                source=project.file,
                key=f"rtl.{key}",
                hint="say it in one place",
            )
    return {**listed, **own}


def _command_file(path: Path, base: Path, into: Listed, above: tuple[Path, ...]) -> None:
    """Read a command file whose paths start from ``base``; as in Verilator, those of a nested ``-f`` do so, too."""
    if path.resolve() in above:
        raise InputError("names itself, by way of other lists", source=path)
    into.read.append(path)
    for number, option, value in _options(path):
        problem = None
        if option in ("-f", "-F"):
            nested = base / value
            inside = nested.parent if option == "-F" else base
            _command_file(nested, inside, into, (*above, path.resolve()))
        elif option == "include":
            problem = None if (base / value).is_dir() else f"{value!r} is no folder"
            into.include.append(base / value)
        elif option == "define":
            name, _, text = value.partition("=")
            if (known := into.defines.setdefault(name, text)) != text:
                problem = f"defines {name} as {text!r}, which is {known!r} already"
        elif (base / value).is_file():
            into.files.append(base / value)
        else:
            problem = f"{value!r} is no file"
        if problem is not None:
            raise InputError(problem, source=path, key=f"line {number}")


def _options(path: Path) -> Iterator[tuple[int, str, str]]:
    """What a command file says, in order: line, kind (-f, -F, include, define or file), value."""
    words = _words(path)
    for number, word in words:
        first, plus = word[:2], _PLUS.fullmatch(word)
        if first in ("-f", "-F", "-I", "-D") and (word == first or first in ("-I", "-D")):
            _, value = (number, word[2:]) if word != first else next(words, (number, ""))
            if not value:
                raise InputError(f"{first} is followed by nothing", source=path, key=f"line {number}")
            yield number, {"-I": "include", "-D": "define"}.get(first, first), value
        elif plus is not None:
            kind = "include" if plus[1] == "incdir" else "define"
            yield from ((number, kind, value) for value in plus[2].split("+") if value)
        elif word[0] in "+-":
            raise InputError(f"{word!r} is not understood: {_TAKEN}", source=path, key=f"line {number}")
        else:
            yield number, "file", word


def _words(path: Path) -> Iterator[tuple[int, str]]:
    """The words of a command file, each with the number of its line."""
    text = read_text(path, _LIMIT_BYTES).replace("\\\n", " \n")
    for number, line in enumerate(text.splitlines(), 1):
        said = _COMMENT.sub("", line)
        if _VARIABLE.search(said):
            raise InputError(
                "reads a variable of the environment, on which no result may depend",
                source=path,
                key=f"line {number}",
                hint="write what it stands for",
            )
        if _BLOCK.search(said):
            raise InputError(
                "'/*' is not understood", source=path, key=f"line {number}", hint="comment with //"
            )
        try:
            yield from ((number, word) for word in shlex.split(said))
        except ValueError as error:
            raise InputError(str(error).lower(), source=path, key=f"line {number}") from error


def _edam(path: Path, into: Listed) -> None:
    """Read EDA metadata (https://edalize.readthedocs.io, "EDA Metadata"); its paths start from its own folder.

    Files of other types than Verilog, SystemVerilog, Verilator's control files, C and C++ are none of a simulation's.
    """
    into.read.append(path)
    document = read_yaml_mapping(path)
    files = document.get("files", [])
    if not isinstance(files, list) or not files:
        raise InputError("lists no files", source=path, key="files")
    for number, entry in enumerate(files):
        key = f"files[{number}]"
        name = entry.get("name") if isinstance(entry, dict) else None
        if not isinstance(name, str) or not isinstance(kind := entry.get("file_type", ""), str):
            raise InputError("has no name and file_type", source=path, key=key)
        file = path.parent / name
        if not kind.startswith((*_VERILOG, *_CPP)):
            continue
        if not file.is_file():
            raise InputError(f"{name!r} is no file", source=path, key=key)
        if entry.get("is_include_file"):
            folder = path.parent / str(entry["include_path"]) if entry.get("include_path") else file.parent
            into.include.append(folder)
        else:
            (into.testbench if kind.startswith(_CPP) else into.files).append(file)
    _edam_parameters(path, document.get("parameters", {}), into)


def _edam_parameters(path: Path, parameters: Any, into: Listed) -> None:
    places = {"vlogdefine": into.defines, "vlogparam": into.parameters}
    for name, entry in parameters.items() if isinstance(parameters, dict) else ():
        key = f"parameters.{name}"
        kind = entry.get("paramtype") if isinstance(entry, dict) else None
        if kind not in places:
            raise InputError(
                f"is a {kind}, and cannot be given: vlogparam and vlogdefine can", source=path, key=key
            )
        if (value := entry.get("default")) is None:
            continue
        quoted = f'"{value}"' if entry.get("datatype") == "str" and kind == "vlogparam" else str(value)
        places[kind][str(name)] = str(int(value)) if isinstance(value, bool) else quoted
