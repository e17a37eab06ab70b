"""What the covergroups of adapters count, from hand-written records: what was refused or not used hits nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from etchproof.compare.comparator import LoadRecord, SequenceCount, TokenRecord
from etchproof.coverage.functional import RunSample
from etchproof.quantize.quantized_model import QuantizedAdapter
from models import chip
from models.chip import ChipPlan
from models.golden import Golden
from tests.unit.models.conftest import drawn_model
from verif.coverage.lora import LoraSampler, lora_groups
from verif.load_port.drawn_adapters import corners, drawn, every_rank, random_adapter
from verif.protocol import LoadStatus

MODEL = drawn_model()
PLAN = chip.plan(MODEL.config, MODEL.recipe)
ONE = random_adapter(MODEL, PLAN, "one", {(0, "v_proj"): 2}, 1)
OTHER = random_adapter(MODEL, PLAN, "other", {(1, "down_proj"): 1, (0, "q_proj"): 3}, 2)


def load(
    adapter: int | None, slot: int, sequence: int = -1, held: int | None = None, **more: int
) -> LoadRecord:
    fields = {"words": 9, "sha256": "7", "status": 0, "cycles": 9, "stalled": False, **more}
    return LoadRecord.model_validate(
        {"adapter": adapter, "slot": slot, "sequence": sequence, "held": held, **fields}
    )


def opened(sequence: int, adapter: int | None = None, slot: int | None = None) -> SequenceCount:
    return SequenceCount(sequence=sequence, adapter=adapter, slot=slot, vectors=1, elements=1, mismatches=0)


def hit(
    loads: Sequence[LoadRecord] = (),
    sequences: Sequence[SequenceCount] = (),
    lengths: Sequence[int] = (),
    adapters: Sequence[QuantizedAdapter] = (ONE, OTHER),
    run: RunSample | None = None,
) -> dict[str, set[str]]:
    """The bins hit, by covergroup."""
    tokens = [
        TokenRecord(sequence=number, position=position, token_in=1, token_out=1, status=0, cycles=1)
        for number, length in enumerate(lengths)
        for position in range(length)
    ]
    run = run or RunSample("test", tokens, [], adapters, [], sequences, loads)
    counts = LoraSampler(PLAN)(run)
    bins = {group.name: group.bins for group in lora_groups(PLAN)}
    assert set(counts) == set(bins)
    return {name: {bins[name][index] for index in np.flatnonzero(counts[name])} for name in bins}


def test_rows_and_ranks() -> None:
    """A good load writes the rows that the adapter takes in its slot, a sequence reads them; nothing else does."""
    linear = PLAN.linears(0)["v_proj"]
    first = PLAN.lora_max_rank  # words of slot 1, for each block
    written = {
        f"0.v_proj.{memory}[{first * blocks + row}].written"
        for memory, blocks in (("lora_a", linear.in_blocks), ("lora_b", linear.blocks))
        for row in range(2 * blocks)
    }
    found = hit([load(0, 1)])
    assert found["lora_sram"] == written
    assert found["lora_ranks"] == found["lora_adapters"] == set()
    found = hit([], [opened(0, 0, 1)], [1])
    assert found["lora_sram"] == {name.replace("written", "read") for name in written}
    assert found["lora_ranks"] == {"slot1.rank2.0.v_proj"}
    assert {"one_linear"} <= found["lora_adapters"]
    found = hit([load(None, 1, status=LoadStatus.CHECKSUM)], [opened(0)], [1])
    assert (found["lora_sram"], found["lora_ranks"], found["lora_adapters"]) == (set(), set(), {"base"})


def test_the_rows_are_those_of_the_frame() -> None:
    """Every element of an adapter lies in a row that counts as written, and every such row holds one."""
    from models.lora import sram_site

    rows = set()
    for (layer, name), matrix in OTHER.linears.items():
        linear = PLAN.linears(layer)[name]
        for part, shape in (("A", matrix.a.shape), ("B", matrix.b.shape)):
            for row, col in np.ndindex(shape):
                word, _ = sram_site(PLAN, 1, linear, matrix.rank, part, row, col)  # type: ignore[arg-type]
                rows.add(f"{layer}.{name}.lora_{part.lower()}[{word}].written")
    assert hit([load(1, 1)])["lora_sram"] == rows


def test_swaps() -> None:
    use = [opened(0, 0, 1), opened(1, 1, 1)]
    before = hit([load(0, 1), load(1, 1, 0)], use, [2, 1])["lora_swaps"]
    assert before == {"before_prefill", "adapter_to_adapter"}
    again = hit([load(0, 1), load(0, 1, 0)], [opened(0, 0, 1), opened(1, 0, 1)], [2, 1])["lora_swaps"]
    assert again == {"same_adapter_again", "adapter_to_itself"}
    other = [opened(0), opened(1, 0, 1), opened(2)]
    steps = {"base_to_adapter", "adapter_to_base"}
    assert hit([load(0, 1, 0, 1)], other, [3, 1, 1])["lora_swaps"] == {
        "at_first_token",
        "load1_under_base",
        *steps,
    }
    assert hit([load(0, 1, 0, 2)], other, [3, 1, 1])["lora_swaps"] == {
        "after_prefill",
        "load1_under_base",
        *steps,
    }
    # The open sequence does not go on; the load is refused; nothing runs under it.
    assert hit([load(0, 1, 0, 3)], other, [3, 1, 1])["lora_swaps"] == steps
    assert hit([load(None, 1, 0, 2, status=7)], other, [3, 1, 1])["lora_swaps"] == steps
    assert hit([load(1, 1, 0, 2)], other, [3, 1, 1])["lora_swaps"] == {"load1_under_base", *steps}
    under = hit([load(0, 1, 0, 1)], [opened(0, 1, 0)], [2])["lora_swaps"]
    assert under == {"load1_under0"}


@pytest.mark.parametrize("status", list(LoadStatus))
def test_statuses(status: LoadStatus) -> None:
    name = status.name.lower()
    wanted = {"never_stalled"} if status is LoadStatus.OK else set()
    assert hit([load(None, 0, 0, 1, status=status)])["lora_status"] == {f"{name}_open", *wanted}
    if status is not LoadStatus.SLOT_BUSY:
        assert hit([load(None, 0, 0, status=status)])["lora_status"] == {f"{name}_idle", *wanted}
    assert hit([load(None, 0, stalled=1)])["lora_status"] == {"ok_idle", "stalled"}


def test_what_adapters_hold() -> None:
    found = corners(MODEL, PLAN)
    kinds = {}
    for index, adapter in enumerate(found):
        kinds[adapter.name] = hit([], [opened(0, index, 0)], [1], found)["lora_adapters"]
    assert kinds["empty"] == {"empty"}
    assert "zero" in kinds["zero"] and not any("zero" in kinds[name] for name in kinds if name != "zero")
    assert "one_linear" in kinds["one-linear"]
    ends = {f"{part}_{end}" for part in "ab" for end in ("lowest", "highest")}
    shifts = {f"{part}_shift_{end}" for part in "ab" for end in ("0", "largest")}
    assert {"every_linear", "rank_largest", *ends, *shifts} <= kinds["largest"]
    assert set().union(*kinds.values()) == set(lora_groups(PLAN)[2].bins) - {"base"}


def test_rounding_of_h() -> None:
    """From the tap that the linear reads: all of it against integers by hand."""
    golden = Golden(MODEL, [ONE])
    taps = golden.session().predict([1, 2, 3], True, 0)
    found = hit(run=RunSample("test", [], [], [ONE], [(0, taps)]))["lora_rounding"]
    matrix = ONE.linears[0, "v_proj"]
    acc = [int(x @ row) for x in taps[0, "attn_norm"] for row in matrix.a.astype(np.int64)]
    low, half = [value % (1 << matrix.a_shift) for value in acc], (1 << matrix.a_shift) // 2
    assert ("v_proj.up" in found) == any(value > half for value in low)
    assert ("v_proj.down" in found) == any(0 < value < half for value in low)
    largest = max((value + half) >> matrix.a_shift for value in acc)
    assert ("v_proj.saturated_high" in found) == (largest > 32767)
    assert all(name.startswith("v_proj.") for name in found)


def test_every_rank_is_drawn() -> None:
    """Of each linear, in one of the adapters of @ranks."""
    found = every_rank(MODEL, PLAN)
    assert len(found) == PLAN.lora_max_rank
    for key in found[0].linears:
        assert {adapter.ranks[key] for adapter in found} == set(range(1, PLAN.lora_max_rank + 1))
    assert len({adapter.sha256 for adapter in found}) == len(found)
    again = drawn("ranks", MODEL, PLAN, 1)
    assert [adapter.sha256 for adapter in again] == [adapter.sha256 for adapter in found]
    assert drawn("ranks", MODEL, PLAN, 2)[0].sha256 != found[0].sha256


def test_a_chip_without_slots_has_no_such_groups() -> None:
    bare: ChipPlan = replace(PLAN, lora_slots=0)
    assert lora_groups(bare) == ()
    assert LoraSampler(bare)(RunSample("test", [], [])) == {}
