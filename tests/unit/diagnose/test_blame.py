"""Who is at fault: the chip, its golden model, the testbench, or nobody that is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from etchproof.contract.diagnosis import Column, Hypothesis, Seen, Unit
from etchproof.contract.taps import TokenArrays
from etchproof.diagnose.evidence import Evidence
from etchproof.diagnose.run import FEW, explain
from etchproof.fixed_point import saturate
from etchproof.quantize.quantized_model import QuantizedModel
from models.chip import ChipPlan
from models.golden import Golden
from models.numerics import ops
from tests.unit.diagnose.conftest import Run, planted

LIMIT_S = 60.0


def test_every_unit_of_a_good_run_is_innocent(units: dict[str, Unit], right: Seen) -> None:
    for unit in units.values():
        got, made = right.taps[unit.result].values, unit.made(right)
        assert all(np.array_equal(one, other) for one, other in zip(got, made, strict=True)), unit.name


def test_a_golden_model_at_fault_is_not_the_chip(
    model: QuantizedModel,
    plan: ChipPlan,
    units: dict[str, Unit],
    run: Run,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The golden model's own arithmetic is wrong: the units are computed apart from it."""
    right = ops.swiglu

    class Wrong(Golden):
        def session(self) -> object:  # type: ignore[override]
            return self

        def predict(self, tokens: list[int], first: bool, adapter: int | None = None) -> object:
            with monkeypatch.context() as patch:
                patch.setattr(
                    ops,
                    "swiglu",
                    lambda gate, up, gate_shift, shift, bits: right(gate, up, gate_shift, shift, bits) + 1,
                )
                return Golden.session(self).predict(tokens, first, adapter)

    diagnosis = explain(run(Golden(model), Wrong(model)), tuple(units.values()), LIMIT_S)
    assert diagnosis.finding == "golden"
    assert diagnosis.origins == () and diagnosis.causes == ()
    assert diagnosis.golden == tuple(f"model.layers.{layer}.mlp.swiglu" for layer in range(plan.n_layers))


def test_a_tap_recorded_wrongly_is_not_the_unit(units: dict[str, Unit], right: Seen) -> None:
    key = (1, "gate_proj")
    values = np.array(right.taps[key].values)
    values[4, 9] += 7
    spoiled = right.having({key: Column(right.taps[key].at, values)})
    diagnosis = explain(Evidence(spoiled, right, 1, 0), tuple(units.values()), LIMIT_S)
    assert diagnosis.finding == "testbench"
    (cause,) = diagnosis.causes
    assert cause.kind == "tap recorded wrongly"
    assert cause.origins == ("model.layers.1.mlp.gate_proj",)


def test_noise_is_explained_by_nothing(units: dict[str, Unit], right: Seen) -> None:
    rng = np.random.default_rng(1)
    unit = units["model.layers.1.mlp.swiglu"]
    noise = rng.integers(-50, 50, size=np.shape(right.taps[unit.result].values))
    noise[:, ::3] = 0

    class Noisy:
        """The unit, and noise."""

        result = unit.result

        def made(self, seen: Seen) -> object:
            return np.asarray(unit.made(seen)) + noise

    evidence = planted(units, right, {unit.name: Noisy()})  # type: ignore[dict-item]
    diagnosis = explain(evidence, tuple(units.values()), LIMIT_S)
    assert diagnosis.finding == "unexplained"
    assert diagnosis.causes == ()
    (one,) = diagnosis.unexplained
    assert one.unit == unit.name
    assert sum(one.excluded.values()) == diagnosis.tried > 20
    (origin,) = diagnosis.origins
    assert set(origin.places) == {"block", "lane"}
    assert origin.elements == np.count_nonzero(noise)


def test_without_time_nothing_is_claimed(units: dict[str, Unit], right: Seen) -> None:
    unit = units["model.layers.0.mlp.swiglu"]
    wrong = replace(unit, linear=True)  # type: ignore[type-var]
    diagnosis = explain(planted(units, right, {unit.name: wrong}), tuple(units.values()), 0.0)
    assert diagnosis.finding == "unexplained"
    assert "time was up before every hypothesis was tried" in diagnosis.notes
    assert [origin.unit for origin in diagnosis.origins] == [unit.name]


@pytest.mark.parametrize(("count", "is_certain"), [(1, False), (2, False), (12, True)])
def test_what_few_elements_say_is_not_certain(
    count: int, is_certain: bool, units: dict[str, Unit], right: Seen
) -> None:
    """The one fault that explains them may be none that anybody thought of: a run has to say enough of it."""
    unit = units["model.layers.1.mlp.swiglu"]
    rng = np.random.default_rng(2)
    off = np.zeros_like(right.taps[unit.result].values)
    off[rng.choice(len(off), count, replace=False), rng.integers(0, off.shape[1], count)] = rng.choice(
        [-1, 1], count
    )

    def made(seen: Seen) -> TokenArrays:
        values = np.asarray(unit.made(seen))
        return values + off if len(seen) == len(off) else values + off[rows_of(seen)]

    def rows_of(seen: Seen) -> object:
        whole = list(zip(right.sequences.tolist(), right.positions.tolist(), strict=True))
        return [whole.index(at) for at in zip(seen.sequences.tolist(), seen.positions.tolist(), strict=True)]

    class Guessed(type(unit)):  # type: ignore[misc]
        def hypotheses(self, question: object) -> object:
            yield Hypothesis("guess", "a guess", made)

    class Wrong:
        result = unit.result

        def made(self, seen: Seen) -> TokenArrays:
            return made(seen)

    guessed = Guessed(**{name: getattr(unit, name) for name in unit.__dataclass_fields__})  # type: ignore[attr-defined]
    evidence = planted(units, right, {unit.name: Wrong()})  # type: ignore[dict-item]
    diagnosis = explain(evidence, tuple({**units, unit.name: guessed}.values()), LIMIT_S)
    (cause,) = diagnosis.causes
    assert (diagnosis.finding, cause.kind, cause.rivals) == ("explained", "guess", ())
    assert diagnosis.certain == is_certain and (FEW in diagnosis.notes) != is_certain
    (origin,) = diagnosis.origins
    assert origin.elements == count and (origin.bits >= 32) == is_certain


def test_a_hypothesis_that_fails_is_told_and_explains_nothing(units: dict[str, Unit], right: Seen) -> None:
    unit = units["argmax"]

    class Broken(type(unit)):  # type: ignore[misc]
        def hypotheses(self, question: object) -> object:
            raise RuntimeError("a team's own mistake")

    broken = Broken(**{name: getattr(unit, name) for name in unit.__dataclass_fields__})  # type: ignore[attr-defined]
    wrong = replace(unit, choose=lambda logits: logits.argmin(axis=1))  # type: ignore[type-var]
    evidence = planted(units, right, {"argmax": wrong})
    diagnosis = explain(evidence, tuple({**units, "argmax": broken}.values()), LIMIT_S)
    assert diagnosis.finding == "unexplained"
    assert any("a team's own mistake" in note for note in diagnosis.notes)


def _one_step(total: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    b = ops.bit_length(total)
    mantissa = torch.where(b <= 32, total << (32 - b).clamp(min=0), total >> (b - 32).clamp(min=0))
    y = ops._RECIP[(mantissa >> 24) - 128] << 14
    return (y * ((2 << 28) - ((mantissa * y) >> 32))) >> 28, b


FAULTS = {
    "the sigmoid is not interpolated": (
        "sigmoid",
        lambda g, gate_shift: torch.where(
            g >= 0,
            (table := ops._SIGMOID[(g.abs() << gate_shift).clamp(max=(1 << 20) - 1) >> 11]),
            (1 << 20) - table,
        ),
        {"swiglu"},
        "not interpolated",
    ),
    "residual wraps": (
        "residual_add",
        lambda r, y, shift: r - (y << shift),
        {"attn_residual", "mlp_residual"},
        "subtracted",
    ),
    "RoPE turns the other way": (
        "rope",
        lambda x, cos, sin, shift, bits: RIGHT_ROPE(x, cos, -sin, shift, bits),
        {"q_rope", "k_rope"},
        "rotated the other way",
    ),
    "attention is divided with one step of Newton": (
        "recip",
        _one_step,
        {"attn_out"},
        "newton steps",
    ),
    "an attention output is rounded down": (
        "normalize_attention",
        lambda acc, total, shift, bits: saturate(
            (ops.round_shift(acc, (part := ops.recip(total[..., None]))[1] - 18) * part[0]) >> shift, bits
        ),
        {"attn_out"},
        None,
    ),
}
RIGHT_ROPE = ops.rope


@pytest.mark.parametrize("name", FAULTS)
def test_arithmetic_that_is_wrong_in_another_implementation(
    name: str,
    model: QuantizedModel,
    units: dict[str, Unit],
    run: Run,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The chip is the golden model with a function of ``ops`` replaced: nothing of it is the diagnosis's own."""
    function, wrong, taps, kind = FAULTS[name]
    golden = Golden(model)

    class Wrong(Golden):
        def session(self) -> object:  # type: ignore[override]
            return self

        def predict(self, tokens: list[int], first: bool, adapter: int | None = None) -> object:
            with monkeypatch.context() as patch:
                patch.setattr(ops, function, wrong)
                return Golden.session(self).predict(tokens, first, adapter)

    diagnosis = explain(run(Wrong(model), golden), tuple(units.values()), LIMIT_S)
    assert {origin.tap for origin in diagnosis.origins} == taps
    assert diagnosis.golden == ()
    if kind is None:
        (cause,) = diagnosis.causes
        assert "rounding" in cause.kind
        return
    assert {cause.kind for cause in diagnosis.causes} == {kind}
