"""Adapters on the shipped checkpoint's chip, in simulation: loads, slots, swaps, every status code, faults in SRAM.

The strict build has assertions on, and SRAM and registers hold random values before they are written.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from etchproof.checkpoint.linears import LORA_PRODUCTS
from etchproof.compare.dump import Selection
from etchproof.compare.dumps import compare_dumps
from etchproof.compare.kept import TapDump, pack
from etchproof.quantize.quantized_model import QuantizedAdapter
from etchproof.run.testrun import Chip
from models.golden import Golden
from tests.chip.harness import assert_clean, make_chip, run
from tests.chip.test_environment import SHORT
from verif.load_port.drawn_adapters import corners, made

pytestmark = pytest.mark.sim

TESTS = [
    "AdapterSlots",
    "AdapterTraffic",
    "LoadWhileGenerating",
    "LoadErrors",
    "ResetDuringLoad",
    "AdapterStatus",
]


@pytest.fixture(scope="module")
def short_chip(tmp_path_factory: pytest.TempPathFactory, tiny_checkpoint: Path) -> Chip:
    folder = tmp_path_factory.mktemp("lora")
    (folder / "short.yaml").write_text(SHORT)
    return make_chip(tiny_checkpoint, folder / "short.yaml", folder / "chip", "strict")


@pytest.fixture(scope="module")
def adapters(short_chip: Chip) -> list[QuantizedAdapter]:
    return corners(short_chip.model, short_chip.plan)


def named(adapters: Sequence[QuantizedAdapter], name: str) -> int:
    return [adapter.name for adapter in adapters].index(name)


@pytest.mark.parametrize("test", TESTS)
def test_adapters(short_chip: Chip, adapters: list[QuantizedAdapter], test: str) -> None:
    done = run(short_chip, test, adapters=adapters)
    comparison = assert_clean(done)
    loaded = {load.adapter for load in comparison.loads if load.status == 0}
    assert loaded - {None}
    if test == "AdapterSlots":
        assert loaded == set(range(len(adapters)))
        assert {count.adapter for count in comparison.sequences} == {None, *loaded}
        assert {load.slot for load in comparison.loads} == set(range(short_chip.plan.lora_slots))
        assert len(comparison.taps) == (17 + 14) * short_chip.plan.n_layers + 4


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2, 8))
@pytest.mark.parametrize("test", TESTS)
def test_adapters_of_other_seeds(short_chip: Chip, test: str, seed: int) -> None:
    others = corners(short_chip.model, short_chip.plan, 100 * seed)
    outcome = run(short_chip, test, adapters=others, seed=seed)
    assert_clean(outcome)


@pytest.mark.parametrize("test", ["BackToBack", "HostErrors"])
def test_no_slot_is_the_chip_without_adapters(
    short_chip: Chip, tiny_checkpoint: Path, tmp_path: Path, test: str
) -> None:
    """Every tap and every cycle of the same stimulus."""
    (tmp_path / "bare.yaml").write_text(f"{SHORT}lora: {{slots: 0}}\n")
    bare = make_chip(tiny_checkpoint, tmp_path / "bare.yaml", tmp_path / "chip", "strict")
    dumps = []
    for chip in (short_chip, bare):
        dump = chip.folder / f"none-{test}"
        comparison = assert_clean(run(chip, test, seed=3, config={"dump_taps": {"folder": str(dump)}}))
        dumps.append((TapDump(dump), [token.cycles for token in comparison.tokens]))
    (one, one_cycles), (other, other_cycles) = dumps
    assert one_cycles == other_cycles
    assert compare_dumps(one, other, Selection(), "chip").equal


def test_what_adapters_that_add_nothing_come_to(
    short_chip: Chip, adapters: list[QuantizedAdapter], tmp_path: Path
) -> None:
    """On the same tokens, the chip's own taps: zero and cancelling like the base, sums of opposites opposite."""
    done = run(
        short_chip,
        "AdapterTwice",
        adapters=adapters,
        config={"dump_taps": {"folder": str(tmp_path / "taps")}},
    )
    comparison = assert_clean(done)
    assert [count.adapter for count in comparison.sequences] == [None, *range(len(adapters))]
    pack(tmp_path / "taps", tmp_path / "taps.npz")
    dump = np.load(tmp_path / "taps.npz")

    def taps(sequence: int) -> dict[str, Any]:
        prefix = f"chip.{sequence}."
        return {name.removeprefix(prefix): dump[name] for name in dump.files if name.startswith(prefix)}

    base = taps(0)
    assert len(base) == 17 * short_chip.plan.n_layers + 4
    for index, adapter in enumerate(adapters):
        found = taps(index + 1)
        same = all(np.array_equal(found[name], values) for name, values in base.items())
        assert same == (adapter.name in ("zero", "cancelling", "empty")), adapter.name
    plus, minus = (taps(1 + named(adapters, name)) for name in ("plus", "minus"))
    first, second = LORA_PRODUCTS["q_proj"]
    assert np.array_equal(plus[f"0.{first}"], minus[f"0.{first}"])
    assert np.array_equal(plus[f"0.{second}"], -minus[f"0.{second}"])
    assert plus[f"0.{second}"].any()


def sequences(*chosen: int | None) -> list[dict[str, Any]]:
    return [{"prompt": [1, 5, 9], "new_tokens": 3, "adapter": adapter} for adapter in chosen]


def test_more_adapters_than_slots(short_chip: Chip, adapters: list[QuantizedAdapter]) -> None:
    """Generation as the command line has it: slot 0 is closed and loaded again where its adapter changes."""
    planned = sequences(None, 0, 4, 0, 1, 8, 5, 5, None, 0)
    done = run(short_chip, "GreedyGeneration", adapters=adapters, config={"sequences": planned})
    comparison = assert_clean(done)
    assert [(load.adapter, load.slot) for load in comparison.loads] == [
        (0, 0),
        (4, 0),
        (0, 0),
        (1, 1),
        (8, 0),
        (5, 1),
        (0, 0),
    ]
    assert [count.adapter for count in comparison.sequences] == [step["adapter"] for step in planned]


@pytest.mark.parametrize(
    ("fault", "tap"),
    [
        ({"layer": 1, "linear": "v_proj", "matrix": "B", "row": 3, "col": 2, "bit": 4}, "v_proj.lora_b"),
        (
            {"layer": 2, "linear": "down_proj", "matrix": "A", "row": 15, "col": 131, "bit": 15},
            "down_proj.lora_a",
        ),
        ({"layer": 0, "linear": "up_proj", "matrix": "B", "row": 131, "col": 15, "bit": 0}, "up_proj.lora_b"),
    ],
)
def test_a_bit_in_sram_is_found_where_it_is(
    short_chip: Chip, adapters: list[QuantizedAdapter], fault: dict[str, Any], tap: str
) -> None:
    """In the largest adapter, which is loaded alone; the base before it is not touched.

    Shifts that leave nothing of A, or saturate, are drawn too: there a bit may not show.
    """
    largest = adapters[named(adapters, "largest")]
    site = fault["layer"], fault["linear"]
    matrix = dataclasses.replace(largest.linears[site], a_shift=20)
    used = [made("largest", {**largest.linears, site: matrix})]
    config = {"sequences": sequences(None, 0), "adapter_faults": [{"slot": 0, **fault}]}
    done = run(short_chip, "GreedyGeneration", adapters=used, config=config)
    outcome, comparison = done.outcome, done.comparison
    assert outcome.status == "failed"
    assert comparison is not None and comparison.first_divergence is not None
    first = comparison.first_divergence
    assert (first.sequence, first.layer, first.tap) == (1, fault["layer"], tap)
    assert first.element == fault["row"]
    assert comparison.failures == ()
    assert comparison.sequences[0].mismatches == 0 < comparison.sequences[1].mismatches


def test_a_fault_outside_what_was_loaded_is_an_error(
    short_chip: Chip, adapters: list[QuantizedAdapter]
) -> None:
    fault = {"slot": 0, "layer": 1, "linear": "v_proj", "matrix": "B", "row": 3, "col": 99, "bit": 4}
    config = {"sequences": sequences(0), "adapter_faults": [fault]}
    done = run(short_chip, "GreedyGeneration", adapters=adapters, config=config)
    outcome = done.outcome
    assert any("lora_fault" in failure.message for failure in outcome.failures), outcome.failures


class Deaf(Golden):
    """Knows adapters and computes without them."""

    def __init__(self, model: Any, adapters: Sequence[QuantizedAdapter] = ()) -> None:
        super().__init__(model, adapters)
        for parts in self._loras:
            for part in parts:
                for matrix in part.values():
                    matrix._b.zero_()


def test_a_golden_that_ignores_adapters_is_caught(short_chip: Chip, adapters: list[QuantizedAdapter]) -> None:
    done = run(
        short_chip, "GreedyGeneration", adapters=adapters, golden=Deaf, config={"sequences": sequences(0)}
    )
    outcome, comparison = done.outcome, done.comparison
    assert outcome.status == "failed"
    assert comparison is not None and comparison.first_divergence is not None
    assert comparison.first_divergence.tap.endswith(".lora_b")


def test_an_adapter_that_the_golden_does_not_know(short_chip: Chip, adapters: list[QuantizedAdapter]) -> None:
    """A frame that fits the chip but none of the run's adapters: what it computes has nothing to be compared with."""
    done = run(short_chip, "UnknownAdapter", module="tests.chip.unknown_adapter", adapters=adapters[:1])
    outcome, comparison = done.outcome, done.comparison
    assert outcome.status == "failed"
    assert comparison is not None
    assert "unknown_adapter" in {failure.name for failure in comparison.failures}
