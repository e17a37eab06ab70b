"""Reads command files of Verilog simulators (``.f``): the part that all of them read alike.

What they read differently is refused, and so is every option that is not known: what a list says and nobody does would
be missing from the chip that is proven.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from etchproof.errors import shown
from etchproof.files.regular import read_text
from etchproof.project.listed import Listed, Place, without_links

_LIMIT_BYTES: Final = 1 << 20
_DEEPEST: Final = 32
_WORD: Final = re.compile(r'"([^"]*)"|([^\s"]+)')
_VARIABLE: Final = re.compile(r"\$[\w({]")
_WITH_VALUE: Final = ("-f", "-F", "-I", "-D")
_PLUS: Final = ("+incdir+", "+define+")
_LIBRARIES: Final = ("-v", "-y", "+libext+")
_TAKEN: Final = "known are paths, +incdir+, -I, +define+, -D, -f and -F"


def read_command_file(
    path: Path, into: Listed, *, own_folder: bool, where: Place, above: tuple[Path, ...] = ()
) -> None:
    """Read a command file, and those that it names.

    Args:
        path: the command file.
        into: takes what is found.
        own_folder: whether paths in it start from its own folder (``-F``), or from the project's (``-f``).
        where: what names the file.
        above: the command files that are being read.

    Raises:
        InputError: it cannot be read, names itself, or says what is not taken.
    """
    real = without_links(path)
    if real in above:
        raise where.refuse(f"{path.name!r} names itself, by itself or by way of other lists")
    if len(above) == _DEEPEST:
        raise where.refuse(f"lists name lists more than {_DEEPEST} levels deep")
    into.begin(path, where)
    text = read_text(path, _LIMIT_BYTES)
    base = path.parent if own_folder else into.root
    for at, option, value in _options(path, text):
        match option:
            case "-f" if base != into.root:
                raise at.refuse(
                    f"-f {shown(value)} stands in a list that -F names: simulators differ on where its paths start",
                    "write -F, and the paths in that list from its own folder",
                )
            case "-f" | "-F":
                nested = into.place_of(base, value)
                read_command_file(nested, into, own_folder=option == "-F", where=at, above=(*above, real))
            case "+incdir+" | "-I":
                into.add_include(base, value, at)
            case "+define+" | "-D":
                name, _, said = value.partition("=")
                into.define(name, said, at)
            case _:
                _add_file(path, value, base, into, at)


def _add_file(path: Path, text: str, base: Path, into: Listed, where: Place) -> None:
    """Take a file that the list ``path`` names."""
    if set("*?'") & set(text):
        raise where.refuse(
            f"{shown(text)} has one of * ? ', which simulators read differently",
            "name each file, and put a path with a space into double quotation marks",
        )
    hint = None
    if base != path.parent and os.path.isfile(path.parent / text):
        hint = f"it lies in the list's own folder: name the list by '-F {os.path.relpath(path, into.root)}'"
    into.add_file(base, text, where, hint)


def _options(path: Path, text: str) -> Iterator[tuple[Place, str, str]]:
    """What a command file says, in order: its place, the option, "" for a path, and the value."""
    words = _words(path, text)
    for where, word in words:
        plus = next((option for option in _PLUS if word.startswith(option)), None)
        if plus is not None:
            values = word.removeprefix(plus).removesuffix("+").split("+")
            if not all(values):
                raise where.refuse(f"{shown(word)} has nothing between two plus signs", "write a value there")
            yield from ((where, plus, value) for value in values)
        elif word in _WITH_VALUE:
            found = next(words, None)
            if found is None:
                raise where.refuse(f"{word} stands without its value", "write the value behind it")
            yield where, word, found[1]
        elif word[:2] in ("-I", "-D"):
            yield where, word[:2], word[2:]
        elif word.startswith(_LIBRARIES[2]) or word in _LIBRARIES:
            raise where.refuse(
                f"{shown(word)} is about a library, of which a simulator takes only what it misses",
                "name each file that the chip needs",
            )
        elif word[:1] in ("+", "-"):
            raise where.refuse(f"{shown(word)} is not understood", _TAKEN)
        else:
            yield where, "", word


def _words(path: Path, text: str) -> Iterator[tuple[Place, str]]:
    """The words of a command file, each with its line. A comment begins with a word; double quotation marks hold one.

    A single one is none, as in Verilator: ``8'hff`` is a value.
    """
    for number, line in enumerate(text.split("\n"), start=1):
        where = Place(path, f"line {number}")
        rest = line.strip()
        while rest and not rest.startswith(("//", "#")):
            found = _WORD.match(rest)
            if found is None or rest[found.end() : found.end() + 1].strip():
                raise where.refuse(
                    f"{shown(rest)} has a quotation mark that does not enclose a whole word",
                    'write "+define+A=x y" or "a path.v"; other values belong under defines of etchproof.toml',
                )
            quoted, bare = found.groups()
            rest = rest[found.end() :].lstrip()
            if bare == "\\" and not rest:
                continue  # the line goes on; words need no mark for that
            _check(bare or quoted, where, quoted=bare is None)
            yield where, bare or quoted


def _check(word: str, where: Place, *, quoted: bool) -> None:
    """Refuse what comes from outside the project, and what simulators read in different ways."""
    if not word:
        raise where.refuse("an empty word stands here", "remove it")
    if _VARIABLE.search(word):
        raise where.refuse(
            f"{shown(word)} reads a variable of the environment, on which no result may depend",
            "write what it stands for",
        )
    if "/*" in word or "*/" in word:
        raise where.refuse(
            f"{shown(word)} has '/*' or '*/': a pattern or a comment of several lines",
            "name each file, and begin each line of a comment with //",
        )
    if "//" in word and not quoted:
        raise where.refuse(
            f"{shown(word)} has '//' inside, which simulators read differently",
            "put a space before a comment, and a single / into a path",
        )
    if "\\" in word:
        raise where.refuse(
            f"{shown(word)} has a backslash, which simulators read differently",
            "put a path with a space into double quotation marks; values with quotation marks belong under "
            "defines of etchproof.toml",
        )
