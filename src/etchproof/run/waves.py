"""The waves of one run: what its simulator is told, the file made whole, the layouts beside it."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from etchproof.compare.comparator import Comparison, Divergence
from etchproof.contract.element import bits_of, shown, stored
from etchproof.contract.golden import GoldenSession
from etchproof.contract.taps import TapKey, TapPlan
from etchproof.errors import InputError
from etchproof.files.atomic import write_atomically
from etchproof.sim.build import Build
from etchproof.sim.run import cocotb_library_env
from etchproof.waves import layout
from etchproof.waves.fst import Waves, finish, signals_of
from etchproof.waves.layout import Focus
from etchproof.waves.scopes import Around, Traced, traced

WAVES_FILE: Final = "waves.fst"
HEAD_FILE: Final = "waves.head.fst"
TAPS_FILE: Final = "waves.taps"
SCOPES_FILE: Final = "waves.scopes"
GTKWAVE_FILE: Final = "waves.gtkw"
SURFER_FILE: Final = "waves.sucl"

MOST_BYTES: Final = 50_000_000
"""The most that a file of waves may hold; what comes later is left out."""

_STOP_BYTES: Final = 40_000_000  # where the simulator ends it: a block more may be on its way
_MOST_LANES: Final = 100_000  # elements of taps that get a signal, of all taps together
_HEAD_S: Final = 120.0


@dataclass(frozen=True)
class Window:
    """What is written of a run.

    Attributes:
        begin: first time, in units of the simulation's precision (1 ps); ``end`` the last. None is the run's own.
        around: the unit that is traced, with its neighbours and every tap; None for the whole chip.
    """

    begin: int | None = None
    end: int | None = None
    around: Around | None = None


class WavesOfRun:
    """The waves of a run that is about to begin in a folder.

    Args:
        build: a simulator of kind ``waves``.
        folder: of the run.
        taps: that the chip has.
        sizes: the most elements of each tap that the run will record.
        window: what is written.

    Raises:
        InputError: the simulator cannot say which signals it has.
    """

    def __init__(
        self, build: Build, folder: Path, taps: TapPlan, sizes: Mapping[TapKey, int], window: Window
    ) -> None:
        self._top, self._folder, self._window = build.top, folder, window
        self._kinds = {key: tap.dtype for key, tap in taps.by_key.items()}
        self._keys = tuple(key for key in taps.by_key if key in sizes)
        for name in (WAVES_FILE, HEAD_FILE, SCOPES_FILE, GTKWAVE_FILE, SURFER_FILE):
            (folder / name).unlink(missing_ok=True)
        most = _lanes(list(sizes.values()))
        places = layout.scopes(self._keys)
        lines = [
            f"{layer} {tap} {8 * stored(self._kinds[layer, tap]).itemsize} {min(sizes[layer, tap], most)} "
            f"{' '.join(places[layer, tap])}\n"
            for layer, tap in sorted(self._keys, key=lambda key: key[0])  # a scope stands once
        ]
        (folder / TAPS_FILE).write_text("".join(lines), encoding="utf-8")
        self._traced: Traced | None = None
        self._list_signals(build)
        if window.around is not None:
            signals = signals_of(folder / HEAD_FILE)
            self._traced = traced(signals, self._top, self._keys, window.around)
        if self._traced is not None:
            scopes = "".join(f"{levels} {'.'.join(scope)}\n" for levels, scope in self._traced.lines)
            (folder / SCOPES_FILE).write_text(scopes, encoding="utf-8")
            self._list_signals(build)

    def _list_signals(self, build: Build) -> None:
        """Let the simulator write a file of the signals that it is to trace, and nothing else."""
        done = subprocess.run(
            [str(build.executable), f"+ep_waves={HEAD_FILE}", *self._what, "+ep_waves_only=1"],
            cwd=self._folder,
            env=cocotb_library_env(),
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_HEAD_S,
            check=False,
        )
        if done.returncode != 0 or not (self._folder / HEAD_FILE).is_file():
            said = (done.stderr or done.stdout).strip().splitlines()[-1:] or ["it printed nothing"]
            raise InputError(f"does not list its signals: {said[0]}", source=build.executable, key="--waves")

    @property
    def _what(self) -> tuple[str, ...]:
        """The simulator's arguments that say what is traced."""
        scopes = () if self._traced is None else (f"+ep_waves_scopes={SCOPES_FILE}",)
        return (f"+ep_waves_taps={TAPS_FILE}", *scopes)

    @property
    def plusargs(self) -> tuple[str, ...]:
        """For the simulator."""
        times = (("from", self._window.begin), ("until", self._window.end))
        return (
            f"+ep_waves={WAVES_FILE}",
            *self._what,
            f"+ep_waves_bytes={_STOP_BYTES}",
            *(f"+ep_waves_{name}={time}" for name, time in times if time is not None),
        )

    def finish(self, comparison: Comparison | None) -> Waves | None:
        """Make the file whole and write the layouts; None where nothing was simulated in the window.

        Args:
            comparison: of the run, for the marker; None of one that did not come to its end.
        """
        file, head = self._folder / WAVES_FILE, self._folder / HEAD_FILE
        if not file.is_file():
            head.unlink(missing_ok=True)
            return None
        try:
            waves = finish(file, head, MOST_BYTES)
        except InputError:
            return None  # it was ended before a block of changes was written
        head.unlink()
        focus = None
        if comparison is not None and comparison.first_divergence is not None:
            focus = self._focus(comparison.first_divergence, comparison.divergence_ps)
        groups = layout.groups(waves, self._top, self._keys, focus)
        write_atomically(self._folder / GTKWAVE_FILE, layout.gtkwave(waves, groups, focus))
        write_atomically(self._folder / SURFER_FILE, layout.surfer(waves, groups, focus))
        return waves

    def _focus(self, found: Divergence, time: int | None) -> Focus | None:
        if time is None:
            return None
        expected, got = (shown(found.dtype, bits) for bits in (found.expected, found.got))
        says = f"lane {found.element} of token {found.token}, expected {expected}, got {got}"
        key, around = (found.layer, found.tap), self._traced
        if around is None or self._window.around is None or self._window.around.key != key:
            return Focus(key, found.element, time, says)
        return Focus(key, found.element, time, says, around.unit, around.neighbours)


def tap_sizes(
    session: Callable[[], GoldenSession], taps: TapPlan, sequences: Sequence[tuple[Any, int | None]]
) -> dict[TapKey, int]:
    """The most elements of each tap that a run of these sequences records, as the golden model has them.

    Args:
        session: makes a session of it.
        sequences: of each its items (``contract.golden.Items``) and the index of its adapter.
    """
    sizes: dict[TapKey, int] = {}
    for items, adapter in sequences:
        given = [] if adapter is None else [adapter]
        for key, arrays in session().predict(items, True, *given).items():
            if key in taps.by_key:
                kind = taps.by_key[key].dtype
                found = max(np.size(bits_of(kind, np.asarray(array))) for array in arrays)
                sizes[key] = max(sizes.get(key, 0), found)
    return sizes


def _lanes(sizes: Sequence[int]) -> int:
    """The most lanes of a tap with which all of them together are few enough."""
    most = max(sizes, default=0)
    while sum(min(size, most) for size in sizes) > _MOST_LANES:
        most = most * 3 // 4
    return most
