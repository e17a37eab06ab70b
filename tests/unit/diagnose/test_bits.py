"""Single bits are named exactly, whatever holds them: the chip is the golden model of a model with the bit inverted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from etchproof.contract.diagnosis import Unit
from etchproof.diagnose.result import Diagnosis
from etchproof.diagnose.run import FEW, explain
from etchproof.quantize.quantized_model import QuantizedMatrix, QuantizedModel
from models.chip import ChipPlan
from models.golden import Golden
from models.rom.margins import inverted
from models.rom.writer import site
from tests.unit.diagnose.conftest import Run

LIMIT_S = 60.0


def matrix_with(matrix: QuantizedMatrix, part: str, index: tuple[int, ...], bit: int) -> QuantizedMatrix:
    array: Any = getattr(matrix, part).copy()
    bits = {"codes": matrix.bits, "scales": 16}[part]
    value = int(array[index])
    array[index] = inverted(value, bit, bits) if part == "codes" else value ^ (1 << bit)
    return replace(matrix, **{part: array})


def layer_with(model: QuantizedModel, layer: int, **changes: Any) -> QuantizedModel:
    layers = list(model.layers)
    layers[layer] = replace(layers[layer], **changes)
    return replace(model, layers=tuple(layers))


def linear_with(
    model: QuantizedModel, layer: int, name: str, part: str, index: tuple[int, ...], bit: int
) -> QuantizedModel:
    linears = dict(model.layers[layer].linears)
    linears[name] = matrix_with(linears[name], part, index, bit)
    return layer_with(model, layer, linears=linears)


def gains_with(model: QuantizedModel, layer: int, name: str, index: int, bit: int) -> QuantizedModel:
    gains = getattr(model.layers[layer], name)
    values = gains.values.copy()
    values[index] = inverted(int(values[index]), bit, 16)
    return layer_with(model, layer, **{name: replace(gains, values=values)})


CASES: list[tuple[str, Callable[[QuantizedModel], QuantizedModel], str]] = [
    (
        "rom:model.layers.2.mlp.down_proj[17,5]^1",
        lambda m: linear_with(m, 2, "down_proj", "codes", (17, 5), 1),
        "model.layers.2.mlp.down_proj",
    ),
    (
        "rom:model.layers.0.self_attn.q_proj[3,40]^5",
        lambda m: linear_with(m, 0, "q_proj", "codes", (3, 40), 5),
        "model.layers.0.self_attn.q_proj",
    ),
    (
        "rom:model.layers.1.mlp.gate_proj.scales[7,2]^9",
        lambda m: linear_with(m, 1, "gate_proj", "scales", (7, 2), 9),
        "model.layers.1.mlp.gate_proj",
    ),
    (
        "rom:model.layers.1.post_attention_layernorm[29]^7",
        lambda m: gains_with(m, 1, "mlp_norm", 29, 7),
        "model.layers.1.post_attention_layernorm",
    ),
    (
        "rom:model.norm[5]^15",
        lambda m: replace(
            m,
            final_norm=replace(
                m.final_norm,
                values=np.where(
                    np.arange(len(m.final_norm.values)) == 5,
                    np.vectorize(lambda v: inverted(int(v), 15, 16))(m.final_norm.values),
                    m.final_norm.values,
                ).astype(np.int16),
            ),
        ),
        "model.norm",
    ),
    (
        "rom:lm_head[30,7]^4",
        lambda m: replace(m, lm_head=matrix_with(m.lm_head, "codes", (30, 7), 4)),
        "lm_head",
    ),
    (
        "rom:model.embed_tokens[41,11]^2",
        lambda m: replace(m, embedding=matrix_with(m.embedding, "codes", (41, 11), 2)),
        "model.embed_tokens",
    ),
    (
        "rom:model.embed_tokens.scales[300,1]^6",
        lambda m: replace(m, embedding=matrix_with(m.embedding, "scales", (300, 1), 6)),
        "model.embed_tokens",
    ),
]


def the_bit(diagnosis: Diagnosis, bit: str, plan: ChipPlan) -> None:
    """One cause, without a rival: that bit, and where it is etched."""
    assert diagnosis.finding == "explained", diagnosis
    (cause,) = diagnosis.causes
    assert (cause.kind, cause.where.inject, cause.rivals) == ("bit", (bit,), ())
    layer, image, index, number = site(bit.removeprefix("rom:"), plan)
    where = cause.where
    assert (where.layer, where.image, where.word, where.lane) == (layer, image, index[0], index[1:])
    assert where.bits == (number,)
    explained, _, whole = cause.explains.partition(" of ")
    assert explained == whole and int(whole) > 0


@pytest.mark.parametrize(("bit", "change", "unit"), CASES, ids=[bit for bit, *_ in CASES])
def test_a_bit_of_the_model(
    bit: str,
    change: Callable[[QuantizedModel], QuantizedModel],
    unit: str,
    model: QuantizedModel,
    plan: ChipPlan,
    units: dict[str, Unit],
    run: Run,
) -> None:
    evidence = run(Golden(change(model)))
    diagnosis = explain(evidence, tuple(units.values()), LIMIT_S)
    assert [origin.unit for origin in diagnosis.origins] == [unit]
    assert diagnosis.golden == () and set(diagnosis.notes) <= {FEW}
    the_bit(diagnosis, bit, plan)


def test_a_bit_of_the_tables_is_one_cause_in_every_layer(
    model: QuantizedModel, plan: ChipPlan, units: dict[str, Unit], run: Run
) -> None:
    wrong = Golden(model)
    wrong._cos = wrong._cos.clone()
    wrong._cos[3, 1] ^= 1 << 9
    diagnosis = explain(run(wrong), tuple(units.values()), LIMIT_S)
    assert {origin.tap for origin in diagnosis.origins} == {"q_rope", "k_rope"}
    assert len(diagnosis.origins) == 2 * plan.n_layers
    the_bit(diagnosis, "rom:rope.cos[3,1]^9", plan)


def test_a_bit_of_a_shift(model: QuantizedModel, plan: ChipPlan, units: dict[str, Unit], run: Run) -> None:
    wrong = Golden(model)
    wrong._layers[1]._params["softmax.shift"] ^= 1 << 1
    diagnosis = explain(run(wrong), tuple(units.values()), LIMIT_S)
    assert [origin.unit for origin in diagnosis.origins] == ["model.layers.1.self_attn.softmax"]
    (cause,) = diagnosis.causes
    assert cause.kind == "bit"
    assert cause.where.inject == ("rom:model.layers.1.params[17]^1",)


def test_two_bits_of_one_row_and_one_of_another(
    model: QuantizedModel, units: dict[str, Unit], run: Run
) -> None:
    wrong = linear_with(model, 0, "up_proj", "codes", (4, 9), 3)
    wrong = linear_with(wrong, 0, "up_proj", "codes", (4, 30), 2)
    wrong = linear_with(wrong, 0, "up_proj", "codes", (50, 1), 1)
    diagnosis = explain(run(Golden(wrong)), tuple(units.values()), LIMIT_S)
    (cause,) = diagnosis.causes
    assert cause.kind == "bits"
    named = {text for one in (cause, *cause.rivals) for text in [" ".join(sorted(one.where.inject))]}
    site_ = "rom:model.layers.0.mlp.up_proj"
    assert " ".join(sorted((f"{site_}[4,9]^3", f"{site_}[4,30]^2", f"{site_}[50,1]^1"))) in named


def test_two_elements_exchanged(model: QuantizedModel, units: dict[str, Unit], run: Run) -> None:
    linears = dict(model.layers[1].linears)
    codes = linears["o_proj"].codes.copy()
    assert codes[3, 8] != codes[20, 31]
    codes[3, 8], codes[20, 31] = codes[20, 31], codes[3, 8]
    linears["o_proj"] = replace(linears["o_proj"], codes=codes)
    diagnosis = explain(run(Golden(layer_with(model, 1, linears=linears))), tuple(units.values()), LIMIT_S)
    (cause,) = diagnosis.causes
    assert cause.kind == "elements exchanged"
    assert cause.what == "codes [3,8] and [20,31] are exchanged"


def test_independent_faults_are_all_found(
    model: QuantizedModel, plan: ChipPlan, units: dict[str, Unit], run: Run
) -> None:
    wrong = linear_with(model, 0, "k_proj", "codes", (2, 11), 4)
    wrong = gains_with(wrong, 2, "attn_norm", 40, 10)
    wrong = replace(wrong, lm_head=matrix_with(wrong.lm_head, "codes", (211, 3), 5))
    diagnosis = explain(run(Golden(wrong)), tuple(units.values()), LIMIT_S)
    assert diagnosis.finding == "explained"
    assert {cause.where.inject for cause in diagnosis.causes} == {
        ("rom:model.layers.0.self_attn.k_proj[2,11]^4",),
        ("rom:model.layers.2.input_layernorm[40]^10",),
        ("rom:lm_head[211,3]^5",),
    }


@pytest.mark.parametrize("seed", range(6))
def test_drawn_bits(
    seed: int, model: QuantizedModel, plan: ChipPlan, units: dict[str, Unit], run: Run
) -> None:
    """Bits of codes wherever they are: exact, or not seen at all."""
    rng = np.random.default_rng(seed)
    layer = int(rng.integers(plan.n_layers))
    name = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")[int(rng.integers(7))]
    matrix = model.layers[layer].linears[name]
    index = (int(rng.integers(matrix.rows)), int(rng.integers(matrix.cols)))
    bit = int(rng.integers(2, matrix.bits))
    wrong = linear_with(model, layer, name, "codes", index, bit)
    diagnosis = explain(run(Golden(wrong)), tuple(units.values()), LIMIT_S)
    (cause,) = diagnosis.causes
    module = "self_attn" if name in ("q_proj", "k_proj", "v_proj", "o_proj") else "mlp"
    expected = f"rom:model.layers.{layer}.{module}.{name}[{index[0]},{index[1]}]^{bit}"
    assert (cause.kind, cause.where.inject, cause.rivals) == ("bit", (expected,), ())
