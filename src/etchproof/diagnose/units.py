"""The units of a chip: as its project says them (``[diagnose] units``), or as its golden model does."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

from etchproof.compare.differing import KeptTaps
from etchproof.contract.diagnosis import Unit
from etchproof.contract.golden import Golden
from etchproof.diagnose.given import given_units
from etchproof.errors import InputError
from etchproof.project.declaration import Project
from etchproof.quantize.quantized_model import QuantizedAdapter
from etchproof.run import hooks
from etchproof.run.design import Design

_KEY: Final = "diagnose.units"


def import_all(project: Project) -> None:
    """Import what a diagnosis takes of a project. Where a time limit breaks an import off, half a module is left.

    Raises:
        InputError: something cannot be imported.
    """
    hooks.golden(project)
    if project.diagnose.units is not None:
        hooks.hook(project, _KEY, project.diagnose.units)


def units_of(
    design: Design, model: Any, adapters: Sequence[QuantizedAdapter], golden: Golden, kept: KeptTaps
) -> Sequence[Unit] | None:
    """Every unit, in dataflow order: as the project says, or its golden model tap by tap; None where nobody can say.

    Raises:
        InputError: the project names a tap twice, or one that the chip has not.
    """
    project = design.project
    if project.diagnose.units is None:
        return given_units(design, model, golden, kept)
    found = tuple(hooks.hook(project, _KEY, project.diagnose.units)(model, design.plan, adapters))
    counts = Counter(unit.result for unit in found)
    for result, count in counts.items():
        if count > 1 or result not in design.taps.by_key:
            what = "two units make" if count > 1 else "a unit makes what is no tap,"
            raise InputError(f"{what} {result[1]!r} of layer {result[0]}", source=project.file, key=_KEY)
    return found
