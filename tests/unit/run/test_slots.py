"""Adapters of a run: the schedule, the slots, what is refused, and where a fault in SRAM is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from etchproof.adapter import Adapter, AdapterConfig, write_synthetic_adapter
from etchproof.checkpoint.linears import LINEARS
from etchproof.errors import InputError
from etchproof.project.declaration import load_project
from etchproof.run.design import Design, Quantized
from etchproof.run.flow import plan_design, quantize_design, read_recipe
from etchproof.run.slots import Fault, locate_faults, plan_run, prepare, read_adapters, slot_of, swaps
from etchproof.verdict.judge import Generation
from tests.conftest import ROOT


def read(design: Design, folders: Sequence[Path]) -> tuple[Adapter, ...]:
    return read_adapters(design.project, design.checkpoint.config, design.recipe, folders)


GENERATION = Generation((1, 5), 20, (2,))
SITE = "lora:0:model.layers.1.self_attn.v_proj.lora_B[3,2]^4"


def located(
    design: Design, texts: Sequence[str], adapters: Sequence[Adapter], slots: int = 4
) -> tuple[Fault, ...]:
    return locate_faults(design.project, design.plan, texts, adapters, slots)


Write = Callable[..., Path]


@pytest.fixture(scope="module")
def design(tiny_checkpoint: Path) -> Design:
    project = load_project(ROOT)
    return plan_design(project, tiny_checkpoint, read_recipe(project, "w6a16"))


@pytest.fixture
def write(design: Design, tmp_path: Path) -> Write:
    """A folder with a synthetic adapter for the shipped checkpoint."""

    def make(name: str = "one", seed: int = 1, **changes: object) -> Path:
        fields: dict[str, object] = {"r": 3, "lora_alpha": 3.0, "target_modules": ("v_proj",), **changes}
        config = AdapterConfig.model_validate(fields)
        return write_synthetic_adapter(tmp_path / name, design.checkpoint.config, config, seed)

    return make


@pytest.fixture
def adapters(design: Design, write: Write) -> tuple[Adapter, ...]:
    """One of v_proj alone, of rank 3; one of layer 2's down_proj, of rank 5."""
    return read(
        design,
        [write(), write("two", target_modules=("down_proj",), layers_to_transform=(2,), r=5)],
    )


class TestSchedule:
    @pytest.mark.parametrize("count", range(1, 16))
    def test_each_follows_each_other_one_once(self, count: int) -> None:
        walk = [count - 1, *swaps(count)]
        states = [None, *range(count)]
        wanted = Counter((one, other) for one in states for other in states if one != other)
        assert Counter(pairwise(walk)) == wanted

    def test_the_base_alone_has_no_swaps(self) -> None:
        plan = plan_run(GENERATION, (), 4)
        assert (plan.sequences, plan.loads) == ((GENERATION,), ())

    def test_base_then_each_adapter_then_swaps(self, adapters: tuple[Adapter, ...]) -> None:
        plan = plan_run(GENERATION, adapters, 4)
        assert [sequence.adapter for sequence in plan.sequences] == [None, 0, 1, None, 0, None, 1, 0, 1]
        assert [sequence.new_tokens for sequence in plan.sequences] == [20] * 3 + [8] * 6
        assert {(sequence.prompt, sequence.stop_tokens) for sequence in plan.sequences} == {((1, 5), (2,))}
        assert plan.loads == ((0, 0), (1, 1))

    def test_short_runs_have_short_swaps(self, adapters: tuple[Adapter, ...]) -> None:
        plan = plan_run(replace(GENERATION, new_tokens=3), adapters, 4)
        assert {sequence.new_tokens for sequence in plan.sequences} == {3}

    def test_more_adapters_than_slots_take_turns(self, adapters: tuple[Adapter, ...]) -> None:
        """A load wherever the slot holds another, and nowhere else; the base leaves a slot as it is."""
        many = (*adapters, *(replace(adapters[0], name=f"{n}") for n in range(3)))
        for slots in (1, 2, 3, 4, 5):
            plan = plan_run(GENERATION, many, slots)
            held: dict[int, int] = {}
            loads = list(plan.loads)
            for sequence in plan.sequences:
                if sequence.adapter is not None:
                    slot = slot_of(sequence.adapter, slots)
                    if held.get(slot) != sequence.adapter:
                        assert loads.pop(0) == (sequence.adapter, slot)
                        held[slot] = sequence.adapter
            assert not loads
            assert {slot for _, slot in plan.loads} == set(range(min(slots, 5)))
            assert len(plan.loads) >= 5
            assert (len(plan.loads) == 5) == (slots == 5)


class TestPreparing:
    def test_frames_for_their_slots(
        self, design: Design, adapters: tuple[Adapter, ...], tmp_path: Path
    ) -> None:
        model = quantize_design(design, tmp_path)
        loaded = prepare(design, model, adapters, tmp_path / "adapters")
        assert [(found.slot, found.quantized.name) for found in loaded] == [(0, "one"), (1, "two")]
        assert [int(found.frame[1]) for found in loaded] == [0, 1]
        assert loaded[0].quantized.ranks == {(layer, "v_proj"): 3 for layer in range(3)}
        assert all(found.cycles >= len(found.frame) for found in loaded)
        assert all(found.frame.dtype == np.uint32 for found in loaded)

    def test_nothing_to_prepare(self, design: Design, tmp_path: Path) -> None:
        assert read(design, ()) == ()
        assert prepare(design, quantize_design(design, tmp_path), (), tmp_path) == ()

    def test_one_adapter_twice(self, design: Design, write: Write) -> None:
        with pytest.raises(InputError, match=r"two: --adapter: is the same adapter as .*one"):
            read(design, [write("one"), write("two")])

    def test_the_same_integers_under_another_config(
        self, design: Design, write: Write, tmp_path: Path
    ) -> None:
        """Other files that say the same: a schedule of swaps between them would show nothing."""
        one, two = write("one"), write("two")
        config = two / "adapter_config.json"
        config.write_text(config.read_text().replace("}", " }", 1))
        adapters = read(design, [one, two])
        with pytest.raises(InputError, match=r"two: --adapter: holds the same integers as one"):
            prepare(design, quantize_design(design, tmp_path), adapters, tmp_path / "adapters")

    def test_a_rank_above_the_chips(self, design: Design, write: Write) -> None:
        with pytest.raises(
            InputError, match=r"adapter_config.json: r: is 17 .* above the chip's maximum rank of 16"
        ):
            read(design, [write(r=17)])

    def test_a_chip_without_slots(self, design: Design, write: Write) -> None:
        lora = design.recipe.lora.model_copy(update={"slots": 0})
        bare = replace(
            design,
            source=Quantized(design.checkpoint, design.recipe.model_copy(update={"lora": lora})),
        )
        with pytest.raises(InputError, match=r"w6a16.yaml: lora.slots: the recipe's chip has no slot"):
            read(bare, [write()])

    def test_a_project_whose_chip_takes_none(self, design: Design, write: Write) -> None:
        other = replace(design, project=design.project.model_copy(update={"lora": None}))
        with pytest.raises(
            InputError, match=r"etchproof.toml: --adapter: the project's chip takes no adapters"
        ):
            read(other, [write()])


class TestFaults:
    def test_located(self, design: Design, adapters: tuple[Adapter, ...]) -> None:
        texts = [SITE, "lora:1:model.layers.2.mlp.down_proj.lora_A[4,131]^15"]
        assert located(design, texts, adapters) == (
            {"slot": 0, "layer": 1, "linear": "v_proj", "matrix": "B", "row": 3, "col": 2, "bit": 4},
            {"slot": 1, "layer": 2, "linear": "down_proj", "matrix": "A", "row": 4, "col": 131, "bit": 15},
        )

    def test_a_project_that_does_not_say_where(self, design: Design, adapters: tuple[Adapter, ...]) -> None:
        assert design.project.lora is not None
        lora = design.project.lora.model_copy(update={"site": None})
        other = replace(design, project=design.project.model_copy(update={"lora": lora}))
        assert located(other, [], adapters) == ()
        with pytest.raises(
            InputError, match=r"etchproof.toml: lora.site: .* does not say where bits of adapters are"
        ):
            located(other, [SITE], adapters)

    @pytest.mark.parametrize(
        ("site", "says"),
        [
            ("lora:0", "is no site (write lora:SLOT:MODULE.lora_A[ROW,COLUMN]^BIT"),
            ("lora:-1:model.layers.1.self_attn.v_proj.lora_B[3,2]^4", "is no site"),
            ("lora:0:model.layers.1.self_attn.v_proj.lora_C[3,2]^4", "is no site"),
            ("lora:0:model.layers.1.self_attn.v_proj.lora_B[3]^4", "is no site"),
            ("lora:0:model.layers.1.self_attn.v_proj.lora_B[3,2]", "is no site"),
            (f"{SITE} ", "is no site"),
            (SITE.replace("lora:0", "lora:2"), "slot 2 is never loaded: 0 .. 1 are"),
            (SITE.replace("layers.1", "layers.3"), "layer 3 of 3 (layers count from 0)"),
            (SITE.replace("v_proj", "x_proj"), "self_attn.x_proj is no linear of a layer"),
            (SITE.replace("self_attn", "mlp"), "mlp.v_proj is no linear of a layer"),
            (SITE.replace("v_proj", "q_proj"), "one, in slot 0, does not adapt this linear"),
            (SITE.replace("lora:0", "lora:1"), "two, in slot 1, does not adapt this linear"),
            (SITE.replace("3,2", "16,2"), "element is outside [16,3] (indices count from 0)"),
            (SITE.replace("3,2", "3,3"), "element is outside [16,3]"),
            (SITE.replace("lora_B[3,2]", "lora_A[3,2]"), "element is outside [3,48]"),
            (SITE.replace("lora_B[3,2]", "lora_A[2,48]"), "element is outside [3,48]"),
            (SITE.replace("^4", "^16"), "bit 16 of 16 (bit 0 is the lowest)"),
        ],
    )
    def test_refused_by_name(
        self, design: Design, adapters: tuple[Adapter, ...], site: str, says: str
    ) -> None:
        with pytest.raises(InputError) as refusal:
            located(design, [site], adapters)
        assert says in str(refusal.value)
        assert site.strip() in str(refusal.value)
        assert "\n" not in str(refusal.value)

    def test_the_same_bit_twice(self, design: Design, adapters: tuple[Adapter, ...]) -> None:
        with pytest.raises(InputError, match="are the same bit"):
            located(design, [SITE, SITE.replace(":0:", ":00:")], adapters)

    def test_without_adapters(self, design: Design) -> None:
        with pytest.raises(InputError, match=r"no adapter is loaded \(name one with --adapter\)"):
            located(design, [SITE], ())

    def test_a_slot_that_is_loaded_again_has_its_first_adapters_faults(
        self, design: Design, adapters: tuple[Adapter, ...]
    ) -> None:
        assert located(design, [SITE], adapters, 1)[0]["linear"] == "v_proj"
        with pytest.raises(InputError, match="slot 1 is never loaded"):
            located(design, [SITE.replace("lora:0", "lora:1")], adapters, 1)

    def test_every_linear_has_a_site(self, design: Design, write: Write) -> None:
        adapters = read(design, [write(target_modules="all-linear")])
        for linear in LINEARS:
            part = "mlp" if linear in ("gate_proj", "up_proj", "down_proj") else "self_attn"
            text = f"lora:0:model.layers.0.{part}.{linear}.lora_A[0,0]^0"
            assert located(design, [text], adapters)[0]["linear"] == linear
