"""One layer alone: from the vectors that entered it in the whole model, it makes the whole model's taps."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from etchproof.contract.alone import LayerChip
from etchproof.contract.taps import TapKey, TokenArrays
from etchproof.errors import InputError
from etchproof.project.declaration import load_project
from etchproof.quantize.quantized_model import QuantizedModel
from etchproof.run import flow
from etchproof.tools import find_verilator, simulation_env
from models import chip
from models.alone import LEAST_VECTORS, alone
from models.golden import Golden
from models.rom import writer
from models.taps import taps
from tests.conftest import ROOT
from tests.unit.models.conftest import drawn_adapter, drawn_model, everywhere, recipe

TOKENS = (5, 31, 0, 5, 36, 11, 2, 19)


@pytest.fixture(scope="module")
def model() -> QuantizedModel:
    """Two layers with formats of their own: a layer alone is planned as it is in the whole chip."""
    return drawn_model()


def predicted(model: QuantizedModel, tokens: tuple[int, ...] = TOKENS) -> dict[TapKey, TokenArrays]:
    return Golden(model).session().predict(tokens, True)


def alone_of(model: QuantizedModel, layer: int) -> tuple[LayerChip, dict[TapKey, TokenArrays]]:
    """The layer's chip, fed what entered it, and the whole model's taps."""
    whole = predicted(model)
    made = alone(model, chip.plan(model.config, model.recipe), layer, ())
    return made.chip(np.asarray(whole[made.source])), whole


@pytest.mark.parametrize("layer", [0, 1])
def test_the_taps_of_the_layer(model: QuantizedModel, layer: int) -> None:
    made, whole = alone_of(model, layer)
    found = made.session().predict(range(len(TOKENS)), True)
    own = {key: arrays for key, arrays in whole.items() if key[0] == layer}
    assert len(own) == 17
    for (_, tap), wanted in own.items():
        for one, other in zip(found[0, tap], wanted, strict=True):
            assert np.array_equal(one, other), tap
    assert {tap.key for tap in taps(made.plan)} >= set(found)


def test_an_adapter(model: QuantizedModel) -> None:
    """What of it is in the layer, with its products' taps."""
    adapter = drawn_adapter(model, everywhere(model, 3))
    whole = Golden(model, [adapter]).session().predict(TOKENS, True, 0)
    made = alone(model, chip.plan(model.config, model.recipe), 1, (adapter,))
    of_layer = made.chip(np.asarray(whole[made.source]))
    found = of_layer.session().predict(range(len(TOKENS)), True, 0)
    own = {key: arrays for key, arrays in whole.items() if key[0] == 1}
    assert len(own) == 17 + 14
    for (_, tap), wanted in own.items():
        for one, other in zip(found[0, tap], wanted, strict=True):
            assert np.array_equal(one, other), tap


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ends=st.tuples(*[st.integers(-(2**31), 2**31 - 1)] * 2))
def test_any_residual_of_32_bits(model: QuantizedModel, ends: tuple[int, int]) -> None:
    """What no embedding could give goes in as it is."""
    rows = [ends[0], *range(38), ends[1]]
    made = alone(model, chip.plan(model.config, model.recipe), 1, ()).chip(np.array([rows], np.int64))
    assert np.array_equal(made.session().predict([0], True)[-1, "embedding"], [rows])


def test_images_are_those_of_the_layer(model: QuantizedModel) -> None:
    plan = chip.plan(model.config, model.recipe)
    whole = {(image.layer, image.name): image.data for image in writer.images(model, plan)}
    made, taps_of_whole = alone_of(model, 1)
    found = {(image.layer, image.name): image.data for image in made.images}
    for key, data in whole.items():
        place = made.image(key)
        assert (place is None) == (key[0] == 0 or key[1].startswith(("embed_tokens.", "lm_head.")))
        if place is not None:
            assert np.array_equal(found[place], data), key
    rows = found[-1, "recorded.rows"].reshape(LEAST_VECTORS, -1)[: len(TOKENS), : model.config.hidden_size]
    assert np.array_equal(rows, taps_of_whole[0, "mlp_residual"])


def test_one_fabric_for_every_layer_of_a_shape() -> None:
    """What is rendered sees no layer, no weight and no vector."""
    same = recipe(matrices=recipe().matrices[-1:])
    made = [alone_of(drawn_model(used=same), layer)[0] for layer in (0, 1)]
    assert made[0].renderings == made[1].renderings
    assert (ROOT / "templates" / made[0].renderings[-1].template).is_file()


@pytest.mark.parametrize(("count", "rows"), [(1, 64), (64, 64), (65, 128)])
def test_room_for_the_vectors(model: QuantizedModel, count: int, rows: int) -> None:
    made = alone(model, chip.plan(model.config, model.recipe), 0, ())
    assert made.chip(np.zeros((count, 40), np.int64)).plan.vocab_size == rows


def test_no_such_layer(model: QuantizedModel) -> None:
    with pytest.raises(InputError, match="layer 2 of 2"):
        alone(model, chip.plan(model.config, model.recipe), 2, ())


def test_what_is_rendered(model: QuantizedModel, tmp_path: Path) -> None:
    """The whole chip's files but for the embedding's instance, and Verilator takes the module that stands there."""
    made, _ = alone_of(model, 0)
    flow.render_plan(load_project(ROOT), made.plan, tmp_path, made.renderings)
    top = (tmp_path / "ep_chip.sv").read_text(encoding="utf-8")
    assert top.count("ep_recorded #(") == 1 and "ep_embedding #(" not in top
    verilator = find_verilator()
    packages = sorted(str(path) for path in tmp_path.glob("*_pkg.sv"))
    words = ["--lint-only", "-Wall", "-Wno-UNUSEDPARAM", "--top-module", "ep_recorded"]
    done = subprocess.run(
        [str(verilator.path), *words, *packages, str(tmp_path / "ep_recorded.sv")],
        env={**os.environ, **simulation_env(verilator)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
