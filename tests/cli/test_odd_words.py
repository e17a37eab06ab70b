"""Every option of every command, given words that it cannot use: one line says which, status 2, nothing written."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import click
import pytest
import typer

from etchproof.cli.app import APP
from etchproof.tools import VERILATOR_ENV
from tests.cli.conftest import Refused

_COMMANDS: Final[dict[str, click.Command]] = typer.main.get_command(APP).commands  # type: ignore[attr-defined]

BASES: Final[dict[str, tuple[str, ...]]] = {
    "cosim": ("MODEL",),
    "diagnose": ("OUT",),
    "quality": ("MODEL",),
    "render": ("MODEL", "--out", "OUT"),
    "init": ("OUT",),
    "check": (),
    "build": ("MODEL",),
    "recipes": (),
    "shapes": (),
    "regress": ("nightly", "--model", "MODEL"),
    "test": ("GreedyGeneration", "MODEL"),
    "signoff": ("MODEL", "--out", "OUT"),
    "qualify": ("MODEL", "--out", "OUT"),
    "report": ("OUT",),
    "compare": ("OUT", "OUT"),
    "replay": ("MODEL", "--out", "OUT"),
}
"""What each command takes at least."""

PATHS: Final = frozenset(
    (
        "model",
        "out",
        "adapter",
        "dump_taps",
        "project",
        "directed",
        "vectors",
        "folder",
        "rtl",
        "qualified",
        "a",
        "b",
        "stored",
        "run",
    )
)
NAMES: Final = frozenset(
    (
        "listed",
        "name",
        "recipe",
        "shape",
        "only",
        "stage",
        "build",
        "today",
        "inject",
        "prompt_ids",
        "top",
        "kind",
        "only_layers",
        "only_taps",
        "only_tokens",
        "side",
        "unit",
    )
)
NUMBERS: Final = frozenset(
    (
        "layers",
        "vocab",
        "random_weights",
        "tokens",
        "seed",
        "timeout",
        "context",
        "length",
        "sequences",
        "limit",
    )
) | {"jobs", "corners", "rtl_faults", "image_faults", "flow_faults", "checker_faults"}
FREE: Final = frozenset(
    {"prompt", "chat", "profile", "no_diagnose", "debug", "version", "as_json", "waves", "alone"}
)
"""Any text is a prompt or a message, but one that is no Unicode; the others take no word."""


def test_no_option_is_missing() -> None:
    assert set(BASES) == set(_COMMANDS)
    known = PATHS | NAMES | NUMBERS | FREE | {"help"}
    for name, found in _COMMANDS.items():
        assert {param.name for param in found.params} <= known, name


@pytest.fixture
def odd_paths(tmp_path: Path) -> Iterator[dict[str, str]]:
    """Paths at which there is nothing that a command could use."""
    folder = tmp_path / "odd"
    folder.mkdir()
    (folder / "file").write_text("no folder\n", encoding="utf-8")
    os.mkfifo(folder / "fifo")
    (folder / "loop").symlink_to("loop")
    (folder / "dangling").symlink_to("gone/away")
    (folder / "zero").symlink_to("/dev/zero")
    with socket.socket(socket.AF_UNIX) as listening:
        here = Path.cwd()
        os.chdir(folder)  # a socket's path is short
        listening.bind("socket")
        os.chdir(here)
        yield {
            "300 characters": str(folder / ("x" * 300)),
            "5,000 characters": str(folder / ("x/" * 2500)),
            "in a file": str(folder / "file" / "x"),
            "a file": str(folder / "file"),
            "a FIFO": str(folder / "fifo"),
            "a socket": str(folder / "socket"),
            "a device": str(folder / "zero"),
            "a loop of links": str(folder / "loop"),
            "a dangling link": str(folder / "dangling"),
            "no UTF-8": str(folder / "bad\udcff"),
            "a NUL": str(folder / "a\0b"),
        }


NO_NUMBERS: Final = ("", "x", "1" + "0" * 400, "9" * 5000, "-1", "nan", "inf", "1e400", "0x10", "\udcff")
NO_NAMES: Final = ("", "x" * 300, "x" * 100_000, "../x", "a\0b", "bad\udcff", "\x1b[31m", "-", "1e400")


def cases(command: click.Command, odd: dict[str, str]) -> Iterator[tuple[str, str, str]]:
    """Option, what is odd, the word."""
    for param in command.params:
        name = str(param.name)
        if name in PATHS:
            replaced = param.metavar == "FILE.json" and name == "out"  # a file there is no trouble
            yield from (
                (name, kind, word) for kind, word in odd.items() if not (replaced and kind == "a file")
            )
        elif name in NAMES:
            yield from ((name, ascii(word)[:40], word) for word in NO_NAMES)
        elif name in NUMBERS:
            yield from ((name, ascii(word)[:40], word) for word in NO_NUMBERS)
        elif name in ("prompt", "chat"):
            yield name, "half of a pair", "bad\udcff"


@pytest.mark.parametrize("name", BASES)
def test_every_option(
    refused: Refused,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    tiny_checkpoint: Path,
    odd_paths: dict[str, str],
    name: str,
) -> None:
    """Without a simulator, so that a word that is taken by mistake shows itself by the line of another."""
    monkeypatch.setenv(VERILATOR_ENV, "/nowhere/verilator")
    command = _COMMANDS[name]
    params: dict[str, click.Parameter] = {str(param.name): param for param in command.params}
    standing = {"MODEL": str(tiny_checkpoint), "OUT": str(tmp_path / "out")}
    wrong: list[str] = []
    for option, kind, word in cases(command, odd_paths):
        words = _words(name, params[option], word, standing)
        try:
            line = refused(*words)
        except AssertionError as error:
            wrong.append(f"{option}, {kind}: {str(error)[:300]}")
        else:
            if VERILATOR_ENV in line or len(line) > 1000 + 20:
                wrong.append(f"{option}, {kind}: {line[:300]}")
        if (tmp_path / "out").exists():
            wrong.append(f"{option}, {kind}: something was written")
            shutil.rmtree(tmp_path / "out")
    assert not wrong, "\n".join(wrong)


def _words(name: str, param: click.Parameter, word: str, standing: dict[str, str]) -> list[str]:
    """The command line of ``name`` with ``word`` for ``param``."""
    base = [standing.get(part, part) for part in BASES[name]]
    if param.param_type_name == "argument":
        arguments = [p for p in _COMMANDS[name].params if p.param_type_name == "argument"]
        base[arguments.index(param)] = word
        return [name, *base]
    option = param.opts[-1]
    if param.name == "shape":
        base = [part for part in base if part != standing["MODEL"]]
    if option in base:
        base[base.index(option) + 1] = word
        return [name, *base]
    return [name, *base, f"{option}={word}"]
