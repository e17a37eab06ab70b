"""Quantized models on disk: the round trip, the same bytes, damage found, and the cache that rebuilds."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from etchproof.checkpoint import Checkpoint, ModelConfig, load_checkpoint, write_synthetic
from etchproof.errors import InputError
from etchproof.quantize import (
    content_sha256,
    load_quantized,
    quantize_cached,
    quantize_model,
    save_quantized,
    store,
)
from etchproof.quantize.quantized_model import QuantizedModel
from etchproof.quantize.recipe import Recipe


@pytest.fixture
def saved(tmp_path: Path, tiny_w6a16: QuantizedModel) -> Path:
    folder = tmp_path / "saved"
    save_quantized(tiny_w6a16, folder)
    return folder


def test_round_trip(saved: Path, tiny_w6a16: QuantizedModel) -> None:
    found = load_quantized(saved)
    assert found.config == tiny_w6a16.config
    assert found.recipe == tiny_w6a16.recipe
    assert found.frac == tiny_w6a16.frac
    for ours, theirs in zip(found.layers, tiny_w6a16.layers, strict=True):
        assert ours.frac == theirs.frac
        for name, matrix in theirs.linears.items():
            assert np.array_equal(ours.linears[name].codes, matrix.codes)
            assert ours.linears[name].codes.dtype == matrix.codes.dtype
            assert np.array_equal(ours.linears[name].scales, matrix.scales)
            assert ours.linears[name].exponent == matrix.exponent
    assert content_sha256(found) == content_sha256(tiny_w6a16)


def test_biases_round_trip(tmp_path: Path, config: ModelConfig, w6a16: Recipe) -> None:
    toy = load_checkpoint(write_synthetic(tmp_path / "toy", config, seed=4, tokenizer=False))
    model = quantize_model(toy, w6a16)
    save_quantized(model, tmp_path / "saved")
    found = load_quantized(tmp_path / "saved").layers[1].linears["o_proj"]
    expected = model.layers[1].linears["o_proj"]
    assert found.bias is not None
    assert expected.bias is not None
    assert np.array_equal(found.bias, expected.bias)
    assert found.bias_shift == expected.bias_shift


def test_same_bytes(saved: Path, tmp_path: Path, tiny: Checkpoint, w6a16: Recipe) -> None:
    again = tmp_path / "again"
    save_quantized(quantize_model(tiny, w6a16), again)
    for name in (store.HEADER_FILE, store.WEIGHTS_FILE):
        assert (saved / name).read_bytes() == (again / name).read_bytes()


def test_names_do_not_count(tiny_w6a16: QuantizedModel) -> None:
    renamed = dataclasses.replace(
        tiny_w6a16,
        config=tiny_w6a16.config.model_copy(update={"name": "other"}),
        recipe=tiny_w6a16.recipe.model_copy(update={"name": "other", "description": "words"}),
    )
    assert content_sha256(renamed) == content_sha256(tiny_w6a16)


def _flip_weight(folder: Path) -> None:
    path = folder / store.WEIGHTS_FILE
    data = bytearray(path.read_bytes())
    data[-100] ^= 1
    path.write_bytes(data)


def _cut_weights(folder: Path) -> None:
    path = folder / store.WEIGHTS_FILE
    path.write_bytes(path.read_bytes()[:-100])


def _drop_weights(folder: Path) -> None:
    (folder / store.WEIGHTS_FILE).unlink()


def _drop_header(folder: Path) -> None:
    (folder / store.HEADER_FILE).unlink()


def _edit(change: Callable[[dict], object]) -> Callable[[Path], None]:  # type: ignore[type-arg]
    def edit(folder: Path) -> None:
        path = folder / store.HEADER_FILE
        header = json.loads(path.read_text(encoding="utf-8"))
        change(header)
        path.write_text(json.dumps(header), encoding="utf-8")

    return edit


DAMAGE = {
    "a flipped bit": (_flip_weight, "does not hold what was written"),
    "a cut file": (_cut_weights, "is not a valid safetensors file"),
    "no weights": (_drop_weights, "file not found"),
    "no header": (_drop_header, "file not found"),
    "another frac": (_edit(lambda h: h["frac"]["1"].update(q_proj=3)), "does not hold what was written"),
    "another exponent": (
        _edit(lambda h: h["matrices"]["lm_head"].update(exponent=3)),
        "does not hold what was",
    ),
    "a frac gone": (_edit(lambda h: h["frac"].pop("1")), "is damaged"),
    "an unknown key": (_edit(lambda h: h.update(extra=1)), "extra: is 1, but there is no such key"),
    "another format": (_edit(lambda h: h.update(format=2)), "format: is 2, expected 1"),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_damage_is_found(saved: Path, kind: str) -> None:
    damage, message = DAMAGE[kind]
    damage(saved)
    with pytest.raises(InputError) as caught:
        load_quantized(saved)
    assert message in str(caught.value)
    assert str(caught.value).startswith(str(saved))


class TestCache:
    @pytest.fixture
    def builds(self, monkeypatch: pytest.MonkeyPatch, tiny_w6a16: QuantizedModel) -> list[str]:
        """Counts what is quantized, and spares the work."""
        built: list[str] = []

        def quantize(checkpoint: Checkpoint, recipe: Recipe, *, progress: object = None) -> QuantizedModel:
            built.append(recipe.name)
            return dataclasses.replace(tiny_w6a16, recipe=recipe)

        monkeypatch.setattr("etchproof.quantize.model.quantize_model", quantize)
        return built

    def test_second_time_is_read(
        self, tmp_path: Path, tiny: Checkpoint, w6a16: Recipe, builds: list[str]
    ) -> None:
        first = quantize_cached(tiny, w6a16, tmp_path)
        second = quantize_cached(tiny, w6a16, tmp_path)
        assert builds == ["w6a16"]
        assert content_sha256(first) == content_sha256(second)
        assert not list(tmp_path.glob(".new-*"))

    def test_a_renamed_recipe_is_the_same_entry(
        self, tmp_path: Path, tiny: Checkpoint, w6a16: Recipe, builds: list[str]
    ) -> None:
        quantize_cached(tiny, w6a16, tmp_path)
        found = quantize_cached(tiny, w6a16.model_copy(update={"name": "copy"}), tmp_path)
        assert (builds, found.recipe.name) == (["w6a16"], "copy")

    def test_another_recipe_or_engine_is_another_entry(
        self,
        tmp_path: Path,
        tiny: Checkpoint,
        w6a16: Recipe,
        builds: list[str],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        quantize_cached(tiny, w6a16, tmp_path)
        quantize_cached(tiny, w6a16.model_copy(update={"context": 9}), tmp_path)
        monkeypatch.setattr(store, "engine_sha256", lambda: "another engine")
        quantize_cached(tiny, w6a16, tmp_path)
        assert len(builds) == 3

    @pytest.mark.parametrize("kind", DAMAGE)
    def test_a_damaged_entry_is_rebuilt(
        self, tmp_path: Path, tiny: Checkpoint, w6a16: Recipe, builds: list[str], kind: str
    ) -> None:
        quantize_cached(tiny, w6a16, tmp_path)
        (entry,) = (path for path in tmp_path.iterdir() if path.is_dir())
        DAMAGE[kind][0](entry)
        quantize_cached(tiny, w6a16, tmp_path)
        quantize_cached(tiny, w6a16, tmp_path)
        assert len(builds) == 2

    def test_an_entry_of_another_checkpoint_is_not_taken(
        self, tmp_path: Path, tiny: Checkpoint, w6a16: Recipe, builds: list[str], tiny_w6a16: QuantizedModel
    ) -> None:
        quantize_cached(tiny, w6a16, tmp_path)
        (entry,) = (path for path in tmp_path.iterdir() if path.is_dir())
        save_quantized(dataclasses.replace(tiny_w6a16, checkpoint_sha256="0" * 64), entry)
        found = quantize_cached(tiny, w6a16, tmp_path)
        assert found.checkpoint_sha256 == tiny.sha256
        assert len(builds) == 2

    def test_a_folder_that_cannot_be(self, tmp_path: Path, tiny: Checkpoint, w6a16: Recipe) -> None:
        (tmp_path / "file").write_text("")
        with pytest.raises(InputError, match="cannot be used"):
            quantize_cached(tiny, w6a16, tmp_path / "file" / "cache")
