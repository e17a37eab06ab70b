"""Several simulators built side by side: Verilator itself takes one core, whatever make does after it."""

from __future__ import annotations

import queue
import threading
from collections.abc import Sequence
from pathlib import Path

from etchproof.render.fabric import Fabric
from etchproof.sim.build import Build, Kind, at_once, build
from etchproof.tools import Verilator

_BYTES_PER_BUILD = 3 << 30  # of memory, for Verilator on a chip with every fault in it


def build_all(
    wanted: Sequence[tuple[Fabric, Kind]], jobs: int, *, verilator: Verilator, cache_dir: Path | None = None
) -> list[Build]:
    """The simulator of each fabric and kind, in the order given; the first ones are begun first.

    Threads that do not hold up the end of this process make them: with it, their compilers end.

    Args:
        wanted: fabrics, each with the kind of simulator.
        jobs: simulators at once, as far as memory goes.
        verilator: the Verilator that runs.
        cache_dir: as of ``build``.

    Raises:
        BuildError, InputError: as of ``build``; of several, that of the one that failed first.
    """
    turns = threading.Semaphore(at_once(jobs, _BYTES_PER_BUILD))
    made: queue.SimpleQueue[tuple[int, Build | BaseException]] = queue.SimpleQueue()

    def make(place: int, fabric: Fabric, kind: Kind) -> None:
        with turns:
            try:
                made.put((place, build(fabric, kind, verilator=verilator, cache_dir=cache_dir)))
            except BaseException as error:
                made.put((place, error))

    for place, (fabric, kind) in enumerate(wanted):
        threading.Thread(target=make, args=(place, fabric, kind), daemon=True).start()
    found: dict[int, Build] = {}
    while len(found) < len(wanted):
        place, answer = made.get()
        if isinstance(answer, BaseException):
            raise answer
        found[place] = answer
    return [found[place] for place in range(len(wanted))]
