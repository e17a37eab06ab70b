"""Functional coverage of adapters: slots, ranks, SRAM rows, swaps, what adapters hold, statuses (docs/coverage.md).

What a run loaded and which adapter ran in which slot is in its record; what stands before a rounding is computed again.
Every product of an adapter is a tap, so a row that a sequence's adapter lies in has been read, and compared.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Final

import numpy as np

from etchproof.checkpoint.linears import INPUTS, LINEARS
from etchproof.compare.comparator import LoadRecord, SequenceCount
from etchproof.coverage.functional import Counts, Covergroup, RunSample, counted
from etchproof.quantize.quantized_model import AdapterMatrix, QuantizedAdapter
from models.chip import ChipPlan
from models.golden import LORA_BITS
from verif.coverage.round_cases import CASES, round_cases
from verif.protocol import MAX_A_SHIFT, LoadStatus

KINDS: Final = (
    *("base", "empty", "zero", "one_linear", "every_linear", "rank_1", "rank_largest"),
    *("a_lowest", "a_highest", "b_lowest", "b_highest"),
    *("a_shift_0", "a_shift_largest", "b_shift_0", "b_shift_largest"),
)
SWAPS: Final = (
    *("before_prefill", "at_first_token", "after_prefill", "same_adapter_again"),
    *("base_to_adapter", "adapter_to_base", "adapter_to_adapter", "adapter_to_itself"),
)
LOWEST: Final = -(1 << (LORA_BITS - 1))
HIGHEST: Final = -LOWEST - 1


def lora_groups(plan: ChipPlan) -> tuple[Covergroup, ...]:
    """The covergroups of a chip's adapters; none without slots."""
    if not plan.lora_slots:
        return ()
    slots, ranks = range(plan.lora_slots), range(1, plan.lora_max_rank + 1)
    places = [(layer, name) for layer in range(plan.n_layers) for name in LINEARS]
    statuses = [f"{status.name.lower()}_{state}" for status in LoadStatus for state in ("open", "idle")]
    statuses.remove("slot_busy_idle")  # only the slot of an open sequence is busy
    return (
        Covergroup(
            "lora_ranks",
            tuple(
                f"slot{slot}.rank{rank}.{layer}.{name}"
                for slot in slots
                for rank in ranks
                for layer, name in places
            ),
        ),
        Covergroup(
            "lora_sram",
            tuple(
                f"{layer}.{name}.{memory}[{row}].{what}"
                for layer, name in places
                for memory, blocks in _memories(plan, layer, name)
                for row in range(plan.lora_slots * plan.lora_max_rank * blocks)
                for what in ("written", "read")
            ),
        ),
        Covergroup("lora_adapters", KINDS),
        Covergroup("lora_swaps", (*SWAPS, *(f"load{slot}_{under}" for slot, under in _beside(plan)))),
        Covergroup("lora_status", (*statuses, "stalled", "never_stalled")),
        Covergroup("lora_rounding", tuple(f"{name}.{case}" for name in LINEARS for case in CASES)),
    )


def _memories(plan: ChipPlan, layer: int, name: str) -> tuple[tuple[str, int], ...]:
    """The SRAMs of a linear, and the words of each for one slot and one rank."""
    linear = plan.linears(layer)[name]
    return ("lora_a", linear.in_blocks), ("lora_b", linear.blocks)


def _beside(plan: ChipPlan) -> Iterator[tuple[int, str]]:
    """Each slot, loaded while a sequence runs under each other one, or under none."""
    for slot in range(plan.lora_slots):
        yield slot, "under_base"
        yield from ((slot, f"under{other}") for other in range(plan.lora_slots) if other != slot)


class LoraSampler:
    """Fills the covergroups of a chip's adapters."""

    def __init__(self, plan: ChipPlan) -> None:
        self._plan = plan
        self._groups = {group.name: group.bins for group in lora_groups(plan)}

    def __call__(self, run: RunSample) -> Counts:
        """What a run hit."""
        if not self._groups:
            return {}
        found: dict[str, Counter[str]] = {name: Counter() for name in self._groups}
        self._contents(run, found)
        self._swaps(run, found["lora_swaps"])
        for load in run.loads:
            state = "idle" if load.held is None else "open"
            found["lora_status"][f"{LoadStatus(load.status).name.lower()}_{state}"] += 1
            if load.status == LoadStatus.OK:
                found["lora_status"]["stalled" if load.stalled else "never_stalled"] += 1
        for index, taps in run.adapted:
            for (layer, name), matrix in run.adapters[index].linears.items():
                x = np.asarray(taps[layer, INPUTS[name]]).astype(np.int64)
                acc = x @ matrix.a.astype(np.int64).T
                round_cases(found["lora_rounding"], name, acc, matrix.a_shift, LORA_BITS)
        return {name: counted(bins, found[name]) for name, bins in self._groups.items()}

    def _contents(self, run: RunSample, found: dict[str, Counter[str]]) -> None:
        """What was written by good loads, and what ran."""
        for load in run.loads:
            if load.status == LoadStatus.OK and load.adapter is not None:
                self._rows(run.adapters[load.adapter], load.slot, "written", found["lora_sram"])
        for sequence in run.sequences:
            if sequence.adapter is None or sequence.slot is None:
                found["lora_adapters"]["base"] += 1
                continue
            adapter = run.adapters[sequence.adapter]
            self._rows(adapter, sequence.slot, "read", found["lora_sram"])
            found["lora_adapters"].update(self._kinds(adapter))
            for (layer, name), rank in adapter.ranks.items():
                found["lora_ranks"][f"slot{sequence.slot}.rank{rank}.{layer}.{name}"] += 1

    def _rows(self, adapter: QuantizedAdapter, slot: int, what: str, into: Counter[str]) -> None:
        for (layer, name), rank in adapter.ranks.items():
            for memory, blocks in _memories(self._plan, layer, name):
                first = slot * self._plan.lora_max_rank * blocks
                into.update(
                    f"{layer}.{name}.{memory}[{row}].{what}" for row in range(first, first + rank * blocks)
                )

    def _kinds(self, adapter: QuantizedAdapter) -> list[str]:
        plan, ranks, matrices = self._plan, set(adapter.ranks.values()), [*adapter.linears.values()]

        def any_of(part: str, value: int) -> bool:
            return any(bool((getattr(matrix, part) == value).any()) for matrix in matrices)

        def shift(part: str, value: int) -> bool:
            return any(getattr(matrix, part) == value for matrix in matrices)

        cases = {
            "empty": not matrices,
            "zero": bool(matrices) and not any(_adds(matrix) for matrix in matrices),
            "one_linear": len(matrices) == 1,
            "every_linear": len(matrices) == plan.n_layers * len(LINEARS),
            "rank_1": 1 in ranks,
            "rank_largest": plan.lora_max_rank in ranks,
            "a_lowest": any_of("a", LOWEST),
            "a_highest": any_of("a", HIGHEST),
            "b_lowest": any_of("b", LOWEST),
            "b_highest": any_of("b", HIGHEST),
            "a_shift_0": shift("a_shift", 0),
            "a_shift_largest": shift("a_shift", MAX_A_SHIFT),
            "b_shift_0": shift("b_shift", 0),
            "b_shift_largest": shift("b_shift", plan.max_b_shift),
        }
        return [kind for kind, holds in cases.items() if holds]

    def _swaps(self, run: RunSample, into: Counter[str]) -> None:
        """Loads beside sequences, and sequences one after the other.

        A swap is a good load of a slot under which an earlier sequence ran with another adapter, and under which a
        later one runs with the new one. It comes before a prefill where the very next sequence opens under it; at the
        first token or after the prefill where an open sequence goes on after it.
        """
        lengths = Counter(token.sequence for token in run.tokens if token.status == 0)
        sequences = {count.sequence: count for count in run.sequences}
        for load in run.loads:
            if load.status != LoadStatus.OK:
                continue
            before = [one for one in run.sequences if one.sequence <= load.sequence and one.slot == load.slot]
            after = [one for one in run.sequences if one.sequence > load.sequence and one.slot == load.slot]
            used = bool(after) and after[0].adapter == load.adapter
            if used and before:
                swapped = before[-1].adapter != load.adapter
                into["before_prefill"] += swapped and after[0].sequence == load.sequence + 1
                into["same_adapter_again"] += not swapped
            self._beside(load, sequences.get(load.sequence), lengths, used, into)
        for one, other in zip(run.sequences, run.sequences[1:], strict=False):
            into[_step(one, other)] += 1

    def _beside(
        self,
        load: LoadRecord,
        opened: SequenceCount | None,
        lengths: Counter[int],
        used: bool,
        into: Counter[str],
    ) -> None:
        """A load while a sequence was open that went on after it."""
        if opened is None or load.held is None or lengths[opened.sequence] <= load.held:
            return
        into[f"load{load.slot}_under{'_base' if opened.slot is None else opened.slot}"] += 1
        if used:
            into["at_first_token"] += load.held == 1
            into["after_prefill"] += load.held > 1


def _adds(matrix: AdapterMatrix) -> bool:
    """Whether it can change anything."""
    return bool(matrix.a.any() and matrix.b.any())


def _step(one: SequenceCount, other: SequenceCount) -> str:
    if one.adapter is None or other.adapter is None:
        return "base_to_adapter" if other.adapter is not None else "adapter_to_base"
    return "adapter_to_itself" if one.adapter == other.adapter else "adapter_to_adapter"
