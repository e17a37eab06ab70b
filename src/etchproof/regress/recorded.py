"""A run of the good chip with everything that it computed, to hold wrong golden models against without a simulator.

The chip does not depend on what it is compared with: a wrong golden model beside the same run differs from the chip's
taps exactly where it does here. Comparison and judge are those of every run.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from etchproof.compare.comparator import Comparator, Comparison
from etchproof.compare.kept import KeptToken, TapDump
from etchproof.compare.readback import Readback
from etchproof.contract.golden import Golden
from etchproof.contract.taps import Array, TapKey
from etchproof.errors import InputError
from etchproof.regress.execute import test_config
from etchproof.regress.spec import ItemSpec
from etchproof.run import flow
from etchproof.run.slots import LoadedAdapter
from etchproof.run.testrun import Chip, run_test, state
from etchproof.sim.run import SimOutcome
from etchproof.verdict.expect import Expectation
from etchproof.verdict.judge import judge
from etchproof.verdict.result import Reason

Tokens = Sequence[Mapping[TapKey, Array]]


@dataclass(frozen=True)
class Fed:
    """One sequence: what was fed, and each token's taps as the chip wrote them."""

    number: int
    adapter: int | None
    slot: int | None
    tokens: tuple[int, ...]
    positions: tuple[int, ...]
    taps: Tokens


@dataclass(frozen=True)
class Recorded:
    """A run of the good chip that passed.

    Attributes:
        spec: the item of the stage's regression.
        chip: its chip.
        adapters: of the run.
        config: that the test was told.
        comparison: what the testbench found, which differs nowhere.
        expectation: what the run had to do.
        sequences: in order.
        readback: what it read back from the chip's ROMs, where it did.
    """

    spec: ItemSpec
    chip: Chip
    adapters: tuple[LoadedAdapter, ...]
    config: Mapping[str, Any]
    comparison: Comparison
    expectation: Expectation | None
    sequences: tuple[Fed, ...]
    readback: Readback | None

    def against(self, golden: Golden) -> tuple[Comparison, list[Reason]]:
        """The same run beside another golden model: what is found, and why it is no PASS.

        Whatever the golden model raises comes through.
        """
        design = self.chip.design
        comparator, session = Comparator(design.taps), golden.session()
        for fed in self.sequences:
            comparator.begin(fed.number, fed.adapter, fed.slot)
            adapted = () if fed.adapter is None else self.adapters[fed.adapter].quantized.linears.keys()
            plan = design.taps.due(frozenset(adapted))
            given = [] if fed.adapter is None else [fed.adapter]
            expected = session.predict(list(fed.tokens), True, *given)
            comparator.compare(fed.number, plan, fed.positions, expected, fed.taps)
        found = self.comparison.model_copy(
            update={
                "taps": comparator.counts(),
                "sequences": comparator.sequences(),
                "first_divergence": comparator.first_divergence,
                "failures": tuple(comparator.failures),
            }
        )
        nowhere = Path()
        return found, judge(
            comparison=found,
            outcome=SimOutcome("passed", 0, (self.spec.test,), (), 0.0, nowhere, nowhere),
            expectation=self.expectation,
            taps=design.taps,
            context=design.context,
            readback=self.readback,
        )


def record(spec: ItemSpec, chip: Chip, adapters: tuple[LoadedAdapter, ...], folder: Path) -> Recorded:
    """Make a run with its taps kept.

    Args:
        chip: the item's.
        adapters: of the run.
        folder: the run's own.

    Raises:
        InputError: the run is no PASS, or beside the right golden model what was kept is not.
    """
    config = test_config(spec, chip.design, adapters)
    kept = folder / "taps"
    run = run_test(
        chip,
        spec.test,
        folder,
        seed=spec.seed,
        config={**config, "dump_taps": {"folder": str(kept.absolute())}},
        adapters=adapters,
        timeout_s=spec.timeout_s,
    )
    if not run.passed or run.comparison is None:
        reason = run.reasons[0]
        raise InputError(f"is no PASS without a fault: {reason.name}: {reason.message}", source=spec.name)
    golden = flow.make_golden(chip.design, chip.model, [one.quantized for one in adapters])
    expectation, reasons = state(chip, spec.test, config, adapters, spec.seed)
    sequences = tuple(_sequences(run.comparison, TapDump(kept)))
    shutil.rmtree(kept)
    found = Recorded(spec, chip, adapters, config, run.comparison, expectation, sequences, run.readback)
    again, more = found.against(golden)
    if reasons or more or again.taps != run.comparison.taps or again.sequences != run.comparison.sequences:
        raise InputError("its taps that were kept are not what the testbench compared", source=spec.name)
    return found


def _sequences(comparison: Comparison, dump: TapDump) -> list[Fed]:
    """What was fed, with each token's taps."""
    tokens: dict[int, list[KeptToken]] = {count.sequence: [] for count in comparison.sequences}
    for token in dump.read():
        tokens[token.sequence].append(token)
    return [
        Fed(
            count.sequence,
            count.adapter,
            count.slot,
            tuple(token.fed for token in tokens[count.sequence]),
            tuple(token.position for token in tokens[count.sequence]),
            tuple(token.chip for token in tokens[count.sequence]),
        )
        for count in comparison.sequences
    ]
