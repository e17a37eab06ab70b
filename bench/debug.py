"""``python -m bench.debug``: docs/debug.md and its pictures, from the commands that the page shows.

Every command of the page is run, what it prints goes into the page, and the pictures are drawn from the files that it
leaves. ``tests/cli/test_debug_page.py`` does so again and compares.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pywellen

from bench.drawn import Cells, Wave, draw_cells, draw_waves
from bench.measure import ROOT
from bench.pages import template
from etchproof.compare.comparator import COMPARISON_FILE, Comparison
from etchproof.compare.kept import TapDump
from etchproof.files.json_record import read_json_record

PAGE: Final = ROOT / "docs" / "debug.md"
PICTURES: Final = ROOT / "docs" / "debug"
SITE: Final = "rom:model.layers.2.mlp.down_proj[17,5]^1"
COMMANDS: Final = {
    "cosim": f"cosim models/tiny --prompt 'Once upon a time' --tokens 12 --inject '{SITE}' "
    "--out bad --dump-taps bad/taps --no-diagnose",
    "diagnose": "diagnose bad",
    "replay": "replay bad --out small --waves",
}
"""What the page shows and runs, in order; ``models/tiny`` is found from the repository's root."""

_BEGIN: Final = ("FAIL", "CAUSE")
_LEFT_OUT: Final = ("run ", "rerun ", "page ", "time ", "repeat ")  # paths and seconds
_SPAN_PS: Final = (24_000, 10_000)  # of the waves, before and after the marker
_CLOCK: Final = "ep_sim_top.clk"
_DIVIDERS: Final = ("state in ", "addresses in ")
_MOST: Final = 4  # signals of a divider
_LIMIT_S: Final = 900


@dataclass(frozen=True)
class Made:
    """The page and its pictures.

    Attributes:
        page: text of docs/debug.md.
        pictures: each file of docs/debug, by its name.
        commands: the words of each command that was run.
    """

    page: str
    pictures: Mapping[str, str]
    commands: tuple[tuple[str, ...], ...]


def make(folder: Path, env: Mapping[str, str] | None = None) -> Made:
    """Run the page's commands in a new folder, and make the page of them.

    Args:
        env: of the commands; None for this process's.
    """
    (folder / "models").symlink_to(ROOT / "models")
    said, commands = {}, []
    for name, line in COMMANDS.items():
        words = shlex.split(line)
        commands.append(tuple(words))
        done = subprocess.run(
            [sys.executable, "-m", "etchproof", *words, "--project", str(ROOT)],
            cwd=folder,
            env=None if env is None else dict(env),
            capture_output=True,
            text=True,
            timeout=_LIMIT_S,
            check=False,
        )
        wanted = 0 if name == "diagnose" else 1  # the cause is known; the chip fails
        assert done.returncode == wanted, done.stdout + done.stderr
        said[name] = _shown(done.stdout, folder)
    page = template("debug.md.j2").render(said=said, commands=COMMANDS, layout=_layout(folder / "small"))
    pictures = {"elements.svg": elements(folder / "bad"), "waves.svg": waves(folder / "small")}
    return Made(page, pictures, tuple(commands))


def _shown(text: str, folder: Path) -> str:
    """What a command said from its verdict or its cause on, without what differs from run to run."""
    lines = text.replace(f"{folder}{os.sep}", "").splitlines()
    begin = next(number for number, line in enumerate(lines) if line.startswith(_BEGIN))
    kept = [line.rstrip() for line in lines[begin:] if not line.startswith(_LEFT_OUT)]
    found: list[str] = []
    for line in kept:
        if line or (found and found[-1]):
            found.append(line)
    return "\n".join(found).strip()


def _dividers(run: Path) -> dict[str, list[str]]:
    """The groups of signals of a layout, as Surfer's commands have them."""
    found: dict[str, list[str]] = {}
    for line in (run / "waves.sucl").read_text(encoding="utf-8").splitlines():
        command, _, rest = line.partition(" ")
        if command == "divider_add":
            found[rest] = []
        elif command == "variable_add":
            found[list(found)[-1]].append(rest)
    return found


def _layout(run: Path) -> list[str]:
    """The names of the groups."""
    return list(_dividers(run))


def elements(run: Path) -> str:
    """The elements of the tap that differs first: tokens down, elements across."""
    divergence = read_json_record(run / COMPARISON_FILE, Comparison).first_divergence
    assert divergence is not None
    key = (divergence.layer, divergence.tap)
    tokens = list(TapDump(run).read())
    chip, golden = (np.stack([np.asarray(one[key]) for one in side]) for side in zip(*(
        (token.chip, token.golden) for token in tokens), strict=True))  # fmt: skip
    cells = Cells(
        title=f"layer {key[0]} {key[1]}: chip minus golden model",
        across="element",
        down="position",
        values=(chip.astype(np.int64) - golden.astype(np.int64)).tolist(),
    )
    return draw_cells(cells)


def waves(run: Path) -> str:
    """The window around the first wrong value, as a viewer shows it."""
    comparison = read_json_record(run / COMPARISON_FILE, Comparison)
    at, first = comparison.divergence_ps, comparison.first_divergence
    assert at is not None and first is not None
    signals = {one.full_name: one for one in pywellen.Waveform(str(run / "waves.fst")).all_vars()}
    chosen = [_CLOCK]
    groups = _dividers(run)
    for what in _DIVIDERS:
        of_group = next((names for name, names in groups.items() if name.startswith(what)), [])
        chosen += [name for name in of_group if _changes(signals[name], at)][:_MOST]
    tap = f"taps.layer_{first.layer}.{first.tap}"
    chosen += [f"{tap}.records", *(f"{tap}.lane_{first.element + near}" for near in (-1, 0, 1))]
    rows = [_wave(name, signals[name], at, wrong=name.endswith(f"lane_{first.element}")) for name in chosen]
    begin, end = at - _SPAN_PS[0], at + _SPAN_PS[1]
    return draw_waves(rows, begin, end, marker=at, says="first_wrong")


def _changes(signal: Any, at: int) -> bool:
    """Whether a signal changes in the window."""
    return any(at - _SPAN_PS[0] < time < at + _SPAN_PS[1] for time, _ in signal.tv)


def _wave(name: str, signal: Any, at: int, *, wrong: bool) -> Wave:
    """The values of a signal in the window, and the one that it has when the window begins."""
    bits, is_lane = int(signal.bitwidth), ".lane_" in name
    begin, end = at - _SPAN_PS[0], at + _SPAN_PS[1]
    changes: list[tuple[int, int]] = []
    for time, raw in signal.tv:
        value = int(raw)
        if is_lane and value >> (bits - 1):
            value -= 1 << bits
        if time <= begin:
            changes = [(begin, value)]
        elif time <= end:
            changes.append((int(time), value))
    return Wave(name.removeprefix("ep_sim_top.u_chip."), bits, tuple(changes), wrong=wrong)


def main(words: Sequence[str] = ()) -> int:
    """Write the page and its pictures."""
    del words
    with tempfile.TemporaryDirectory(prefix="etchproof-debug-") as name:
        made = make(Path(name).resolve())
    PAGE.write_text(made.page, encoding="utf-8")
    PICTURES.mkdir(exist_ok=True)
    for file, text in made.pictures.items():
        (PICTURES / file).write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
