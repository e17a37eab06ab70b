"""The units around a failing one: what is traced of the chip where waves are of one unit."""

from __future__ import annotations

from collections.abc import Sequence

from etchproof.contract.diagnosis import Unit
from etchproof.contract.taps import TapKey
from etchproof.replay.bench import Bench
from etchproof.run import hooks
from etchproof.waves.scopes import Around


def around(bench: Bench) -> Around:
    """What is traced of a chip: the unit, those that it reads, and those that read it.

    Where the project does not say what its units are, the unit's place is found by its tap.
    """
    project, chip = bench.subject.project, bench.chip
    if project.diagnose.units is None:
        return Around(bench.unit)
    adapters = [adapter.quantized for adapter in bench.loaded]
    units = hooks.hook(project, "diagnose.units", project.diagnose.units)(chip.model, chip.plan, adapters)
    return neighbours(units, bench.unit)


def neighbours(units: Sequence[Unit], key: TapKey) -> Around:
    """A unit and its neighbours in dataflow, by their instances in the RTL."""
    by_result = {unit.result: unit for unit in units}
    own = by_result.get(key)
    if own is None or own.place.instance is None:
        return Around(key)
    beside = [by_result[source] for source in own.sources if source in by_result]
    beside += [unit for unit in units if key in unit.sources]
    found = dict.fromkeys(unit.place.instance for unit in beside if unit.place.instance is not None)
    found.pop(own.place.instance, None)
    return Around(key, own.place.instance, tuple(found))
