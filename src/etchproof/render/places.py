"""Where files lie that RTL reads while it runs: below the folder of a run, beside the run's own files."""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import Final

OWN: Final = frozenset(
    {
        *("adapters", "chip", "fabric", "injected", "model", "rom", "runs", "taps"),
        *("chip-taps.npz", "diagnosis.json", "subject.json"),
        *("comparison.json", "coverage.dat", "coverage.npz", "directed.json", "etchproof.log", "fabric.json"),
        "opened.txt",
        *(
            "images.index",
            "item.json",
            "progress.jsonl",
            "readback.json",
            "rerun.sh",
            "results.xml",
            "run.json",
        ),
        *("run_config.json", "sim.log", "taps.npz"),
        *("checkpoint", "layer.npy", "peft", "replay.json", "recipe.yaml", "shape.yaml", "vectors.npy"),
        *("waves.fst", "waves.gtkw", "waves.head.fst", "waves.scopes", "waves.sucl", "waves.taps"),
    }
)
"""Names in the folder of a run that are the run's own; tests/examples/test_chips.py holds runs against them."""

_PLACE: Final = re.compile(r"[A-Za-z0-9_./-]{1,200}")


def place_problem(place: str) -> str | None:
    """Why no file can lie there; None where one can."""
    path = PurePosixPath(place)
    if _PLACE.fullmatch(place) is None or path.is_absolute() or ".." in path.parts or str(path) != place:
        return f"{place!r} is no path of a file below the folder of a run"
    if path.parts[0] in OWN or path.name.endswith(".injected.bin"):
        return f"{place!r} is a name of the run's own files"
    return None
