"""``[rtl] filelist``: lists of RTL as teams keep them for their simulators, command files (``.f``) and EDAM of FuseSoC.

Every way in which a list can say what is not understood is refused: a file that is left out of a chip in silence would
be left out of its proof.
"""

from __future__ import annotations

from collections.abc import Mapping

from etchproof.errors import InputError
from etchproof.files.yaml_file import SUFFIXES
from etchproof.project.command_file import read_command_file
from etchproof.project.declaration import Project
from etchproof.project.edam import read_edam
from etchproof.project.listed import Listed, Place
from etchproof.project.sections import RtlSection


def read_lists(project: Project) -> Listed:
    """Everything that the lists of ``[rtl] filelist`` name.

    Raises:
        InputError: a list or what it names cannot be used.
    """
    found = Listed(project.root.resolve())
    where = Place(project.file, "rtl.filelist")
    for text in project.rtl.filelist:
        option, _, rest = text.partition(" ") if text.startswith("-") else ("-f", "", text)
        if option not in ("-f", "-F") or not rest.strip():
            raise where.refuse(
                f"{text!r} is neither a list, nor one after -f or -F", "write the path of a list"
            )
        path = found.place_of(found.root, rest.strip())
        if path.suffix in SUFFIXES:
            read_edam(path, found, top=project.rtl.top, where=where)
        else:
            read_command_file(path, found, own_folder=option == "-F", where=where)
    return found


def with_lists(project: Project) -> RtlSection:
    """``[rtl]`` with what its lists name ahead of what it names itself.

    Raises:
        InputError: as ``read_lists``; or something is said twice and differently.
    """
    rtl = project.rtl
    if not rtl.filelist:
        return rtl
    found = read_lists(project)
    return rtl.model_copy(
        update={
            "files": (*found.files, *rtl.files),
            "testbench": (*found.testbench, *rtl.testbench),
            "include": tuple(dict.fromkeys((*found.include, *rtl.include))),
            "defines": _merged("defines", found.defines, rtl.defines, project),
            "parameters": _merged("parameters", found.parameters, rtl.parameters, project),
        }
    )


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
