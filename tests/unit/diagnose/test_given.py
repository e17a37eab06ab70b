"""A chip without units of its own: its golden model is asked tap by tap, and a bit of a memory is found."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np

from etchproof.compare.differing import Call, KeptTaps
from etchproof.contract.diagnosis import Unit
from etchproof.contract.memory import Memory
from etchproof.contract.taps import Tap, TapPlan
from etchproof.diagnose.evidence import Evidence, gather
from etchproof.diagnose.given import Asked, GivenUnit, Memories, takes_given
from etchproof.diagnose.run import explain

PLAN = TapPlan((Tap("sum", 0, "i32"), Tap("act", 0, "i8"), Tap("sum", 1, "i32")))
VECTORS = np.random.default_rng(3).integers(-9, 9, size=(12, 5))


@dataclass
class Model:
    weights: tuple[Any, Any]
    late: Any


def memories(model: Model) -> list[Memory]:
    own = [Memory(f"w{number}.hex", words, 8) for number, words in enumerate(model.weights)]
    return [*own, Memory("late.hex", model.late, 32)]  # of another width


class Session:
    """Two layers; ``more`` is added to the second sum beside what the model adds."""

    def __init__(self, model: Model, more: int = 0) -> None:
        self._model, self._late = model, more + model.late.astype(np.int64)

    def predict(self, vectors: Any, first: bool, given: Any = lambda key, made: made) -> dict[Any, Any]:
        one, other = (words.astype(np.int64) for words in self._model.weights)
        sums = given((0, "sum"), (np.asarray(vectors) @ one.T).astype(np.int32))
        act = given((0, "act"), np.clip(sums, 0, 127).astype(np.int8))
        last = given((1, "sum"), (act.astype(np.int64) @ other.T + self._late).astype(np.int32))
        return {(0, "sum"): sums, (0, "act"): act, (1, "sum"): last}


def model() -> Model:
    rng = np.random.default_rng(4)
    weights = (rng.integers(-128, 128, (6, 5), np.int8), rng.integers(-128, 128, (4, 6), np.int8))
    return Model(weights, np.array([7], np.int32))


def golden(of: Model, more: int = 0) -> Any:
    return SimpleNamespace(session=lambda: Session(of, more))


def ran(chip: Any, right: Any) -> tuple[Evidence, tuple[Unit, ...]]:
    """A run of a chip that one golden model plays."""
    mine, its = (one.session().predict(VECTORS, True) for one in (chip, right))
    vectors = {
        (0, item, key): row.view(f"u{row.itemsize}")
        for key, rows in mine.items()
        for item, row in enumerate(rows)
        if not np.array_equal(row, its[key][item])
    }
    kept = KeptTaps((Call(0, True, None, VECTORS),), vectors, True)
    asked = Asked(golden, MODEL, PLAN, kept)
    return gather(kept, PLAN, right), tuple(GivenUnit(key, asked, Memories(memories)) for key in PLAN.by_key)


MODEL = model()


def test_every_origin_and_every_bit() -> None:
    """Two bits in two layers: each is found, though the second layer's input is wrong, too."""
    wrong = model()
    wrong.weights[0].view("u1")[2, 3] ^= 1 << 6
    wrong.weights[1].view("u1")[1, 4] ^= 1 << 5
    evidence, units = ran(golden(wrong), golden(MODEL))
    diagnosis = explain(evidence, units, 60.0)
    assert [origin.unit for origin in diagnosis.origins] == ["layer 0 sum", "layer 1 sum"]
    assert diagnosis.finding == "explained" and diagnosis.notes == ()
    assert [cause.where.inject for cause in diagnosis.causes] == [
        ("rom:w0.hex[2,3]^6",),
        ("rom:w1.hex[1,4]^5",),
    ]


def test_generic_hypotheses() -> None:
    evidence, units = ran(golden(MODEL, more=3), golden(MODEL))
    diagnosis = explain(evidence, units, 60.0)
    assert [origin.unit for origin in diagnosis.origins] == ["layer 1 sum"]
    (cause,) = diagnosis.causes
    assert (cause.kind, cause.rivals) == ("off by 3", ())


def test_a_golden_model_that_cannot_be_asked() -> None:
    class Deaf:
        def predict(self, items: Any, first: bool) -> dict[Any, Any]:
            return {}

    assert takes_given(golden(MODEL))
    assert not takes_given(SimpleNamespace(session=Deaf))  # type: ignore[arg-type]
