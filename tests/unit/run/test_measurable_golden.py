"""Measuring a golden model that only predicts taps says in one line what it lacks."""

from __future__ import annotations

from typing import Any, cast

import pytest

from etchproof.contract.golden import GoldenSession
from etchproof.errors import InputError
from etchproof.project.declaration import load_project
from etchproof.quantize.quantized_model import QuantizedModel
from etchproof.run.design import Design, Quantized
from etchproof.run.flow import measurable_golden
from models.chip import plan
from models.golden import Golden
from tests.conftest import ROOT
from tests.unit.models.conftest import drawn_model


class OnlyTaps:
    def __init__(self, model: QuantizedModel) -> None:
        self._golden = Golden(model)

    def session(self) -> GoldenSession:
        return self._golden.session()


def design(model: QuantizedModel) -> Design:
    return Design(
        load_project(ROOT), Quantized(cast(Any, None), model.recipe), plan(model.config, model.recipe)
    )


def test_of_the_reference_project() -> None:
    model = drawn_model()
    assert isinstance(measurable_golden(design(model), model), Golden)


def test_one_that_only_predicts_taps(monkeypatch: pytest.MonkeyPatch) -> None:
    model = drawn_model()
    monkeypatch.setattr("models.golden.Golden", OnlyTaps)
    with pytest.raises(InputError) as error:
        measurable_golden(design(model), model)
    assert str(error.value).startswith(f"{ROOT / 'etchproof.toml'}: golden.factory: ")
    assert "without 'model' and 'adapters' and 'forward'" in str(error.value)
