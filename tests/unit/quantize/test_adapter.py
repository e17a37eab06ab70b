"""Adapters in integers: section 14's choices, the distance from the float adapter, the refusals, the cache."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from etchproof.adapter import Adapter, AdapterConfig, load_adapter, write_adapter, write_synthetic_adapter
from etchproof.checkpoint import Checkpoint
from etchproof.checkpoint.linears import INPUTS, LINEARS, module_name
from etchproof.errors import InputError
from etchproof.float_model.llama import FloatModel
from etchproof.quantize import (
    load_quantized_adapter,
    quantize_adapter,
    quantize_adapter_cached,
    quantize_cached,
    quantize_model,
    save_adapter,
)
from etchproof.quantize.adapter import adapter_ranges, max_b_shift
from etchproof.quantize.calibrate import calibration_text
from etchproof.quantize.quantized_model import AdapterMatrix, QuantizedAdapter, QuantizedModel
from etchproof.quantize.recipe import Recipe, load_recipe
from models import chip
from models.golden import Golden

Draw = Callable[..., Adapter]


@pytest.fixture
def draw(tiny: Checkpoint, tmp_path: Path) -> Draw:
    """An adapter of seeded random tensors for the shipped checkpoint; keywords are those of its config."""

    def make(seed: int = 1, gain: float = 1.0, name: str = "drawn", **changes: object) -> Adapter:
        fields: dict[str, object] = {"r": 3, "lora_alpha": 6.0, "target_modules": "all-linear", **changes}
        config = AdapterConfig.model_validate(fields)
        return load_adapter(
            write_synthetic_adapter(tmp_path / name, tiny.config, config, seed, gain=gain), tiny.config
        )

    return make


def same(one: QuantizedAdapter, other: QuantizedAdapter) -> bool:
    return one.linears.keys() == other.linears.keys() and all(
        np.array_equal(x.a, y.a)
        and np.array_equal(x.b, y.b)
        and dataclasses.astuple(x)[2:] == dataclasses.astuple(y)[2:]
        for x, y in zip(one.linears.values(), other.linears.values(), strict=True)
    )


def shifts(model: QuantizedModel, key: tuple[int, str], matrix: AdapterMatrix) -> tuple[int, int]:
    """a_shift and b_shift as section 14 says."""
    layer, name = key
    frac, e = model.layers[layer].frac[INPUTS[name]], model.layers[layer].linears[name].exponent
    return matrix.a_exponent + frac - matrix.h_frac, e + frac - matrix.b_exponent - matrix.h_frac


class TestIntegers:
    def test_to_nearest_at_the_largest_exponent(
        self, tiny: Checkpoint, tiny_w6a16: QuantizedModel, draw: Draw
    ) -> None:
        adapter = draw()
        found = quantize_adapter(tiny_w6a16, adapter, tiny)
        assert list(found.linears) == [(layer, name) for layer in range(3) for name in LINEARS]
        assert (found.name, found.sha256) == (adapter.name, adapter.sha256)
        assert found.ranks == dict.fromkeys(found.linears, 3)
        for key, matrix in found.linears.items():
            lora = adapter.linears[key]
            a, b = lora.A.double().numpy(), lora.scaling * lora.B.double().numpy()
            assert np.array_equal(matrix.a, np.rint(np.ldexp(a, matrix.a_exponent)))
            assert np.array_equal(matrix.b, np.rint(np.ldexp(b, matrix.b_exponent)))
            for values, exponent in ((a, matrix.a_exponent), (b, matrix.b_exponent)):
                assert np.abs(np.rint(np.ldexp(values, exponent))).max() <= 2**15 - 1
                assert np.abs(np.rint(np.ldexp(values, exponent + 1))).max() > 2**15 - 1
            assert (matrix.a_shift, matrix.b_shift) == shifts(tiny_w6a16, key, matrix)

    def test_h_has_the_calibrated_fractional_bits(
        self, tiny: Checkpoint, tiny_w6a16: QuantizedModel, draw: Draw
    ) -> None:
        """From |A x| of the float model with the adapter on, which this measures another way."""
        adapter = draw(gain=0.25)
        recipe = tiny_w6a16.recipe
        text = calibration_text(tiny, recipe)
        ranges = adapter_ranges(tiny, adapter, text)
        largest = dict.fromkeys(adapter.linears, 0.0)
        model = FloatModel(tiny.config, tiny.tensor, torch.float64, adapter)
        for tokens in text.tokens:

            def see(layer: int, tap: str, value: torch.Tensor) -> None:
                for name in (n for n, source in INPUTS.items() if source == tap):
                    h = value @ adapter.linears[layer, name].A.double().T
                    largest[layer, name] = max(largest[layer, name], float(h.abs().max()))

            model.forward(tokens, see)
        found = quantize_adapter(tiny_w6a16, adapter, tiny)
        for key, value in largest.items():
            assert ranges[key] == pytest.approx(value, rel=1e-9)
            assert found.linears[key].h_frac == 15 - math.ceil(math.log2(recipe.headroom * value))

    def test_the_range_is_that_with_the_adapter_on(self, tiny: Checkpoint, draw: Draw) -> None:
        """A strong adapter of layer 0 changes what layer 2's sees."""
        text = calibration_text(tiny, load_recipe("w6a16", Path("models/recipes")))
        strong = adapter_ranges(tiny, draw(gain=8.0), text)
        weak = adapter_ranges(tiny, draw(gain=0.0, name="zero"), text)
        assert strong[0, "q_proj"] == weak[0, "q_proj"]
        assert strong[2, "down_proj"] > 2 * weak[2, "down_proj"]

    def test_deterministic(self, tiny: Checkpoint, tiny_w6a16: QuantizedModel, draw: Draw) -> None:
        adapter = draw()
        assert same(*(quantize_adapter(tiny_w6a16, adapter, tiny) for _ in range(2)))

    def test_only_what_it_adapts(self, tiny: Checkpoint, tiny_w6a16: QuantizedModel, draw: Draw) -> None:
        adapter = draw(
            target_modules=("v_proj", "down_proj"), layers_to_transform=(1,), rank_pattern={"v_proj": 5}
        )
        found = quantize_adapter(tiny_w6a16, adapter, tiny)
        assert found.ranks == {(1, "v_proj"): 5, (1, "down_proj"): 3}

    @pytest.mark.parametrize("recipe", ["w6a16", "w8a8"])
    @pytest.mark.parametrize("gain", [1e-6, 0.01, 1.0])
    def test_the_sum_is_near_the_float_adapter(
        self, tiny: Checkpoint, recipes_dir: Path, draw: Draw, recipe: str, gain: float
    ) -> None:
        """d * 2^b_shift against scaling * B A x of the golden model's own x, in units of the output.

        A weak adapter is coarser than its own 16 bits, but stays fine beside what the output keeps.
        """
        adapter = draw(gain=gain)
        model = quantize_model(tiny, load_recipe(recipe, recipes_dir))
        golden = Golden(model, [quantize_adapter(model, adapter, tiny)])
        seen: dict[tuple[int, str], torch.Tensor] = {}
        tokens = calibration_text(tiny, model.recipe).tokens[0][:24]
        golden.forward(
            tokens, observe=lambda layer, tap, value: seen.__setitem__((layer, tap), value), adapter=0
        )
        for (layer, name), lora in adapter.linears.items():
            frac, matrix = model.layers[layer].frac, golden.adapters[0].linears[layer, name]
            assert 0 <= matrix.b_shift <= max_b_shift(16)
            unit = matrix.b_exponent + matrix.h_frac
            x = seen[layer, INPUTS[name]].double() * 2.0 ** -frac[INPUTS[name]]
            exact = lora.scaling * (x @ lora.A.double().T @ lora.B.double().T)
            within = (seen[layer, f"{name}.lora_a"].abs() < 2**15 - 1).all(
                dim=1
            )  # tokens at which no h saturates
            assert within.double().mean() > 0.8
            exact = exact[within]
            error = (seen[layer, f"{name}.lora_b"][within].double() * 2.0**-unit - exact).abs().max()
            assert error <= max(0.75 * 2.0 ** -frac[name], 2e-3 * float(exact.abs().max()))


class TestLimits:
    @pytest.mark.parametrize("rank", [1, 2, 3, 16, 100, 128])
    def test_the_shift_limit_is_the_chips(self, tiny: Checkpoint, w6a16: Recipe, rank: int) -> None:
        recipe = w6a16.model_copy(update={"lora": w6a16.lora.model_copy(update={"max_rank": rank})})
        assert max_b_shift(rank) == chip.plan(tiny.config, recipe).max_b_shift

    def test_a_sum_finer_than_the_accumulator(
        self, tiny: Checkpoint, tiny_w6a16: QuantizedModel, draw: Draw
    ) -> None:
        """h and b each give up half of the bits; the finer the adapter, the fewer are left, and none is a value."""
        text = calibration_text(tiny, tiny_w6a16.recipe)
        for gain in (2.0**-12, 2.0**-40):
            adapter = draw(gain=gain)
            found, ranges = quantize_adapter(tiny_w6a16, adapter, tiny), adapter_ranges(tiny, adapter, text)
            for key, matrix in found.linears.items():
                h_frac = 15 - math.ceil(math.log2(tiny_w6a16.recipe.headroom * ranges[key]))
                b = adapter.linears[key].scaling * adapter.linears[key].B.double().numpy()
                b_exponent = min(46, math.floor(math.log2((2**15 - 0.5) / np.abs(b).max())))
                wanted = dataclasses.replace(matrix, h_frac=h_frac, b_exponent=b_exponent)
                surplus = -shifts(tiny_w6a16, key, wanted)[1]
                assert surplus > 0
                assert matrix.h_frac == h_frac - surplus // 2
                assert matrix.b_exponent == b_exponent - (surplus - surplus // 2)
                assert (matrix.a_shift, matrix.b_shift) == shifts(tiny_w6a16, key, matrix)
                assert matrix.b_shift == 0
                assert matrix.b.any() == (gain > 2.0**-30)

    def test_all_zero(self, tiny: Checkpoint, tiny_w6a16: QuantizedModel, draw: Draw) -> None:
        found = quantize_adapter(tiny_w6a16, draw(gain=0.0), tiny)
        assert not any(matrix.b.any() for matrix in found.linears.values())
        assert all(0 <= m.a_shift <= 62 and m.b_shift == 0 for m in found.linears.values())

    def test_a_rank_above_the_chips(self, tiny: Checkpoint, tiny_w6a16: QuantizedModel, draw: Draw) -> None:
        with pytest.raises(
            InputError, match=r"layers.0.self_attn.q_proj: has rank 17, above the chip's maximum of 16"
        ):
            quantize_adapter(tiny_w6a16, draw(r=17), tiny)

    def test_a_chip_without_slots(self, tiny: Checkpoint, w6a16: Recipe, draw: Draw) -> None:
        recipe = w6a16.model_copy(update={"lora": w6a16.lora.model_copy(update={"slots": 0})})
        with pytest.raises(InputError, match=r"lora.slots: is 0: this chip takes no adapters"):
            quantize_adapter(quantize_model(tiny, recipe), draw(), tiny)

    def test_another_models(self, tiny: Checkpoint, tiny_w6a16: QuantizedModel, draw: Draw) -> None:
        adapter = draw()
        lora = adapter.linears[0, "q_proj"]
        wrong = {(0, "k_proj"): dataclasses.replace(lora, module=module_name(0, "k_proj"))}
        with pytest.raises(
            InputError, match=r"k_proj: adapts a linear of shape \[48, 48\], but that of tiny is \[16, 48\]"
        ):
            quantize_adapter(tiny_w6a16, dataclasses.replace(adapter, linears=wrong), tiny)

    @pytest.mark.parametrize(
        ("part", "factor", "says"),
        [
            (
                "lora_A",
                1e12,
                r"adapter_model.safetensors: .*q_proj.lora_A: holds \S+, expected less than 2.1474",
            ),
            ("lora_B", 1e12, r"q_proj.lora_B: holds .* with its scaling, expected less than 2.1474"),
            (
                "lora_B",
                3e7,
                r"q_proj.lora_B: holds .*: one of its units is 2\^\d+ of the accumulator's, more than 2\^26",
            ),
        ],
    )
    def test_magnitudes_beyond_the_arithmetic(
        self,
        tiny: Checkpoint,
        tiny_w6a16: QuantizedModel,
        draw: Draw,
        tmp_path: Path,
        part: str,
        factor: float,
        says: str,
    ) -> None:
        adapter = draw(target_modules=("q_proj",), layers_to_transform=(0,))
        lora = adapter.linears[0, "q_proj"]
        tensors = {"lora_A": lora.A, "lora_B": lora.B}
        tensors[part] = tensors[part] * factor
        config = AdapterConfig(r=3, lora_alpha=6.0, target_modules=("q_proj",), layers_to_transform=(0,))
        named = {f"base_model.model.{lora.module}.{key}.weight": value for key, value in tensors.items()}
        loud = load_adapter(write_adapter(tmp_path / "loud", config, named), tiny.config)
        with pytest.raises(InputError, match=says):
            quantize_adapter(tiny_w6a16, loud, tiny)


class TestStore:
    def test_round_trip(
        self, tiny: Checkpoint, tiny_w6a16: QuantizedModel, draw: Draw, tmp_path: Path
    ) -> None:
        adapter = quantize_adapter(tiny_w6a16, draw(rank_pattern={"v_proj": 1}), tiny)
        for name in ("one", "two"):
            save_adapter(adapter, tmp_path / name)
        assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
        found = load_quantized_adapter(tmp_path / "one", "other")
        assert same(found, adapter)
        assert (found.name, found.sha256) == ("other", adapter.sha256)
        assert found.linears[0, "q_proj"].a.dtype == np.int16

    @pytest.mark.parametrize("at", [-1, -5000, 40])
    def test_damage_is_found(
        self, tiny: Checkpoint, tiny_w6a16: QuantizedModel, draw: Draw, tmp_path: Path, at: int
    ) -> None:
        save_adapter(quantize_adapter(tiny_w6a16, draw(), tiny), tmp_path / "file")
        data = bytearray((tmp_path / "file").read_bytes())
        data[at] ^= 1
        (tmp_path / "file").write_bytes(data)
        with pytest.raises(InputError, match=r"quantize again|fetch it again"):
            load_quantized_adapter(tmp_path / "file", "drawn")

    def test_what_the_cache_knows_an_adapter_by(
        self, tiny: Checkpoint, w6a16: Recipe, draw: Draw, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Another adapter, recipe or largest rank is another entry; the same is made once, and again when damaged."""
        cache = tmp_path / "cache"
        made: list[str] = []
        real = quantize_adapter

        def counted(
            model: QuantizedModel, adapter: Adapter, *rest: object, **named: object
        ) -> QuantizedAdapter:
            made.append(adapter.name)
            return real(model, adapter, *rest, **named)  # type: ignore[arg-type]

        monkeypatch.setattr("etchproof.quantize.adapter.quantize_adapter", counted)
        wide = w6a16.model_copy(update={"lora": w6a16.lora.model_copy(update={"max_rank": 32})})
        models = [quantize_cached(tiny, recipe, cache) for recipe in (w6a16, wide)]
        one, two = draw(), draw(seed=2, name="other")
        found = [quantize_adapter_cached(models[0], adapter, tiny, cache) for adapter in (one, two, one, two)]
        assert made == ["drawn", "other"]
        assert same(found[0], found[2])
        assert not same(found[0], found[1])
        quantize_adapter_cached(models[1], one, tiny, cache)
        assert len(made) == 3
        for entry in cache.glob("adapter-*.safetensors"):
            entry.write_bytes(entry.read_bytes()[:-1])
        assert same(quantize_adapter_cached(models[0], one, tiny, cache), found[0])
        assert len(made) == 4
        assert not list(cache.glob(".new-*"))
