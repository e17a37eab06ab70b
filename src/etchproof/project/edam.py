"""Reads EDA metadata (EDAM), the YAML in which FuseSoC writes the resolved files of a core.

The format is described at https://edalize.readthedocs.io/en/latest/edam/api.html. What a simulator would take from it
and Etchproof does not, is refused.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, ValidationError

from etchproof.errors import shown
from etchproof.files.yaml_file import read_yaml_mapping, validation_problem
from etchproof.project.listed import Listed, Place

_LIMIT_BYTES: Final = 1 << 20
_VERILOG: Final = ("verilogSource", "systemVerilogSource", "vlt")
_CPP: Final = ("cppSource", "cSource")
_COMPILED: Final = frozenset(
    {
        *(".v", ".sv", ".vh", ".svh", ".vp", ".svp", ".vhd", ".vhdl"),
        *(".c", ".cc", ".cpp", ".cxx", ".h", ".hpp", ".edif", ".uhdm"),
    }
)
"""Suffixes of files that no type may keep out of a simulation in silence."""

_ALTERS: Final = ("-D", "-G", "-I", "+define+", "+incdir+", "+libext+", "-pvalue+")
_ALTERS_WHOLE: Final = ("-f", "-F", "-v", "-y", "-g")

_VALUES: Final = {"bool": (bool,), "int": (int,), "real": (int, float), "str": (str,)}
"""Of a parameter, by its datatype."""


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class _File(_Model):
    name: str
    file_type: str = ""
    is_include_file: bool = False
    include_path: str | None = None
    logical_name: str | None = None  # a library of VHDL
    core: str | None = None
    tags: list[str] = []


class _Parameter(_Model):
    datatype: str
    paramtype: str
    default: Any = None
    description: str | None = None
    scope: str | None = None


class _Edam(_Model):
    """The keys that EDAM 0.2.1 has; of those with ``Any``, what is said is in ``read_edam``."""

    name: str | None = None
    version: str | None = None
    toplevel: str | list[str] = []
    files: list[_File]
    parameters: dict[str, _Parameter] = {}
    tool_options: dict[str, Any] = {}
    flow_options: dict[str, Any] = {}
    hooks: dict[str, Any] = {}
    vpi: list[Any] = []
    filters: Any = None  # were applied when the file was written
    dependencies: Any = None  # which core needs which
    cores: Any = None  # where each core was found


def read_edam(path: Path, into: Listed, *, top: str, where: Place) -> None:
    """Read an EDAM file. Paths in it start from its own folder.

    Args:
        path: the file.
        into: takes what is found.
        top: the project's top module.
        where: what names the file.

    Raises:
        InputError: it cannot be read, is no EDAM, or says what is not taken.
    """
    data = read_yaml_mapping(path, _LIMIT_BYTES)
    try:
        edam = _Edam.model_validate(data)
    except ValidationError as error:
        raise validation_problem(error, path) from None
    into.begin(path, where)
    for key, value in (("hooks", edam.hooks), ("vpi", edam.vpi)):
        if value:
            raise Place(path, key).refuse(
                "is not empty, and is not carried out here", "choose a target without it"
            )
    for key, options in (("tool_options", edam.tool_options), ("flow_options", edam.flow_options)):
        for word in (word for text in _texts(options) for word in text.split()):
            if word.startswith(_ALTERS) or word in _ALTERS_WHOLE:
                raise Place(path, key).refuse(
                    f"{shown(word)} alters the chip, and options of tools are not taken",
                    "make it a parameter or a file of the core",
                )
    if not edam.files:
        raise Place(path, "files").refuse("names no file")
    for number, file in enumerate(edam.files):
        _take(file, path.parent, into, Place(path, f"files[{number}]"))
    for name, parameter in edam.parameters.items():
        _set(name, parameter, edam, top, into, Place(path, f"parameters.{name}"))


def _take(file: _File, base: Path, into: Listed, where: Place) -> None:
    is_cpp = file.file_type.startswith(_CPP)
    if not is_cpp and not file.file_type.startswith(_VERILOG):
        if file.file_type.startswith("vhdl") or Path(file.name).suffix.lower() in _COMPILED:
            raise where.refuse(
                f"{shown(file.name)} is of the type {shown(file.file_type)}, which is not compiled here",
                "Verilog, SystemVerilog, C++ and Verilator's .vlt are",
            )
        return  # a constraint, a script, data
    if file.is_include_file and not is_cpp:
        if not os.path.isfile(into.place_of(base, file.name)):
            raise where.refuse(f"{shown(file.name)} is no file")
        folder = file.include_path if file.include_path is not None else str(Path(file.name).parent)
        into.add_include(base, folder or ".", where)
    else:
        into.add_file(base, file.name, where)


def _set(name: str, parameter: _Parameter, edam: _Edam, top: str, into: Listed, where: Place) -> None:
    value, kind = parameter.default, parameter.paramtype
    if value is None:
        return  # it may be given, and is not
    if kind not in ("vlogparam", "vlogdefine"):
        raise where.refuse(
            f"is of the type {shown(kind)} and has a value, which is not given here",
            "vlogparam and vlogdefine are",
        )
    if type(value) not in _VALUES.get(parameter.datatype, ()):
        raise where.refuse(
            f"is {shown(value)} of the datatype {shown(parameter.datatype)}, which is not taken",
            f"{', '.join(_VALUES)} are, each with a value of its kind",
        )
    text = str(int(value)) if isinstance(value, bool) else str(value)
    if kind == "vlogdefine":
        into.define(name, text, where)
        return
    tops = [edam.toplevel] if isinstance(edam.toplevel, str) else edam.toplevel
    if tops != [top]:
        raise where.refuse(
            f"is a parameter of {', '.join(map(shown, tops)) or 'no module'}, and [rtl] top is {top!r}",
            "choose a target with that toplevel",
        )
    if isinstance(value, str):
        if '"' in value or "\\" in value:
            raise where.refuse(f"{shown(value)} has a quotation mark or a backslash", "leave it out")
        text = f'"{value}"'
    into.set_parameter(name, text, where)


def _texts(value: object) -> Iterator[str]:
    """Every text in lists and mappings."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from _texts(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _texts(inner)
