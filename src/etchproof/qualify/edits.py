"""Faults of Python code: another text in one function, put into the running process or into a copy for another one.

A fault of the quantizer, of the golden model or of the checker is a slip in somebody's code, so it is planted there. An
edit names a module, a text that stands in it exactly once, inside a function, and what stands there instead. A text
that is not there any more is an error: a fault that nobody planted would be called survived.
"""

from __future__ import annotations

import ast
import inspect
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

from etchproof.errors import InputError


@dataclass(frozen=True, slots=True)
class Edit:
    """One slip.

    Attributes:
        module: its name, "etchproof.verdict.judge".
        was: a text that stands in its source exactly once, inside a function.
        becomes: what stands there instead.
    """

    module: str
    was: str
    becomes: str


def source_of(module: str) -> Path:
    """The file of a module.

    Raises:
        InputError: there is none.
    """
    try:
        found = find_spec(module)
    except ImportError:
        found = None
    if found is None or found.origin is None:
        raise InputError(f"{module!r} is no module with a source", key="edit")
    return Path(found.origin)


def _text(module: str) -> str:
    return source_of(module).read_text(encoding="utf-8")


def edited(edit: Edit) -> str:
    """The module's source with the edit.

    Raises:
        InputError: the text does not stand there exactly once, the edit changes nothing, or it is no Python any more.
    """
    source = _text(edit.module)
    if source.count(edit.was) != 1:
        raise _refused(edit, f"{edit.was!r} stands there {source.count(edit.was)} times, expected once")
    if edit.was == edit.becomes:
        raise _refused(edit, f"{edit.was!r} becomes the same")
    text = source.replace(edit.was, edit.becomes)
    try:
        ast.parse(text)
    except SyntaxError as error:
        raise _refused(edit, f"{edit.becomes!r} is no Python: {error.msg}") from error
    return text


def place_of(edit: Edit) -> str:
    """The function that holds the text, as its qualified name: "Comparator.compare".

    Raises:
        InputError: no function does.
    """
    source = _text(edit.module)
    at = source.find(edit.was)
    start = source.count("\n", 0, at) + 1
    end = start + edit.was.rstrip("\n").count("\n")

    def inside(body: Sequence[ast.stmt], above: str) -> str | None:
        for node in body:
            if not (node.lineno <= start and end <= (node.end_lineno or node.lineno)):
                continue
            if isinstance(node, ast.ClassDef):
                return inside(node.body, f"{above}{node.name}.")
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                return f"{above}{node.name}" if node.body[0].lineno <= start else None
        return None

    found = None if at < 0 else inside(ast.parse(source).body, "")
    if found is None:
        raise _refused(edit, f"{edit.was!r} stands in no function")
    return found


def _refused(edit: Edit, problem: str) -> InputError:
    return InputError(problem, source=edit.module, key="edit", hint="the code has changed: mend the fault")


@contextmanager
def applied(edits: Sequence[Edit]) -> Iterator[None]:
    """The running process has these slips until the end; whoever has imported a function by name calls it with them.

    One process has one set at a time, and no other thread may rely on the functions meanwhile.

    Raises:
        InputError: as of ``edited`` and ``place_of``, or the function is not there or made in another way.
    """
    with ExitStack() as undo:
        for edit in edits:
            code, name = compile(edited(edit), str(source_of(edit.module)), "exec"), place_of(edit)
            (function, forget), wrong = _function(edit, name), _code(code, name)
            if wrong is None or function.__code__.co_freevars != wrong.co_freevars:
                raise _refused(edit, f"{name} cannot be replaced alone")
            undo.callback(forget)
            undo.callback(setattr, function, "__code__", function.__code__)
            function.__code__ = wrong
            forget()
        yield


def _code(code: CodeType, name: str) -> CodeType | None:
    """The code of a function by its qualified name."""
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            if constant.co_qualname == name:
                return constant
            if name.startswith(f"{constant.co_qualname}."):
                return _code(constant, name)
    return None


def _function(edit: Edit, name: str) -> tuple[FunctionType, Callable[[], None]]:
    """The function of a module by its qualified name, whatever it is wrapped in, and what clears its cache."""
    found: Any = import_module(edit.module)
    for part in name.split("."):
        found = vars(found).get(part)
        if isinstance(found, staticmethod | classmethod):
            found = found.__func__
        elif isinstance(found, property):
            found = found.fget
        elif isinstance(found, cached_property):
            found = found.func
    forget = getattr(found, "cache_clear", lambda: None)
    found = inspect.unwrap(found) if callable(found) else found
    if not isinstance(found, FunctionType):
        raise _refused(edit, f"{name} is no function")
    return found, forget


def copies(edits: Sequence[Edit], folder: Path) -> Path:
    """A copy of each package that an edit touches, with the edits, for a process that imports from there.

    Args:
        folder: gets the packages; made when missing.

    Raises:
        InputError: as of ``edited``, or two edits touch one module.
    """
    if len({edit.module for edit in edits}) != len(edits):
        raise InputError("two edits touch one module", key="edit")
    for edit in edits:
        top = edit.module.partition(".")[0]
        root = source_of(top).parent
        if not (folder / top).exists():
            shutil.copytree(root, folder / top)
        (folder / top / source_of(edit.module).relative_to(root)).write_text(edited(edit), encoding="utf-8")
    return folder
