"""ROM images, re-read from disk and un-tiled by the table of docs/rom-format.md, and the sites of their bits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from etchproof.checkpoint.linears import LINEARS
from etchproof.errors import InputError
from etchproof.quantize.quantized_model import QuantizedMatrix, QuantizedModel
from etchproof.quantize.recipe import Tile
from etchproof.render.images import ImageSet, flip_bits, load_image, read_images, write_images
from models import chip
from models.chip import MODULES
from models.numerics import params, tables
from models.rom import writer
from tests.unit.models.conftest import drawn_model, recipe

TILES = [(8, 16), (4, 64), (32, 32), (16, 128)]
Array = np.ndarray[Any, Any]


class Chip:
    """A model's images on disk, and their content by the written format alone."""

    def __init__(self, model: QuantizedModel, folder: Path) -> None:
        self.model, self.plan = model, chip.plan(model.config, model.recipe)
        written = write_images(folder, writer.images(model, self.plan))
        self.images: ImageSet = read_images(folder)
        assert self.images == written
        self.r, self.k = model.recipe.tile.rows, model.recipe.tile.inputs

    def load(self, layer: int, name: str) -> Array:
        return load_image(self.images, self.images.find(layer, name))

    def signed(self, layer: int, name: str, raw: Array) -> Array:
        """Codes, from offset binary."""
        bits = self.images.find(layer, name).bits
        value = raw.astype(np.int64)
        assert value.max() < 1 << bits
        return value - (1 << (bits - 1))

    def matrix(self, name: str, layer: int) -> QuantizedMatrix:
        if name == "lm_head":
            return self.model.lm_head
        return self.model.layers[layer].linears[name]

    def codes(self, name: str, layer: int, raw: Array) -> Array:
        """(rows, cols): element [b * chunks + c, r, k] is row b * R + r, input c * K + k; the rest is zero."""
        m = self.matrix(name, layer)
        chunks = -(-m.cols // self.k)
        result = np.zeros((m.rows, m.cols), np.int64)
        values = self.signed(layer, f"{name}.codes", raw)
        for (word, r, k), value in np.ndenumerate(values):
            row, column = word // chunks * self.r + r, word % chunks * self.k + k
            if row < m.rows and column < m.cols:
                result[row, column] = value
            else:
                assert value == 0, f"padding at {(word, r, k)}"
        return result

    def scales(self, name: str, layer: int, raw: Array) -> Array:
        """(rows, groups), by the two rows of the table for G <= K and G > K."""
        m = self.matrix(name, layer)
        chunks = -(-m.cols // self.k)
        group = m.group_size if m.group_size < m.cols else chunks * self.k
        groups = -(-m.cols // group)
        result = np.zeros((m.rows, groups), np.int64)
        for (word, r, j), value in np.ndenumerate(raw):
            if group <= self.k:
                row, g = word // chunks * self.r + r, word % chunks * (self.k // group) + j
            else:
                n = -(-chunks * self.k // group)
                row, g = word // n * self.r + r, word % n
            if row < m.rows and g < groups:
                result[row, g] = value
            else:
                assert value == 0, f"padding at {(word, r, j)}"
        return result


@pytest.fixture(scope="module", params=TILES, ids=lambda tile: f"{tile[0]}x{tile[1]}")
def toy_chip(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Chip:
    rows, inputs = request.param
    model = drawn_model(used=recipe(tile=Tile(rows=rows, inputs=inputs)))
    return Chip(model, tmp_path_factory.mktemp("images"))


def linears(model: QuantizedModel) -> list[tuple[int, str]]:
    return [(-1, "lm_head"), *((layer, name) for layer in range(len(model.layers)) for name in LINEARS)]


class TestImages:
    def test_linears(self, toy_chip: Chip) -> None:
        for layer, name in linears(toy_chip.model):
            m = toy_chip.matrix(name, layer)
            assert np.array_equal(toy_chip.codes(name, layer, toy_chip.load(layer, f"{name}.codes")), m.codes)
            assert np.array_equal(
                toy_chip.scales(name, layer, toy_chip.load(layer, f"{name}.scales")), m.scales
            )

    def test_biases(self, toy_chip: Chip) -> None:
        for layer, name in linears(toy_chip.model)[1:]:
            m = toy_chip.matrix(name, layer)
            flat = toy_chip.load(layer, f"{name}.bias").ravel()
            assert m.bias is not None
            assert np.array_equal(flat[: m.rows], m.bias)
            assert not flat[m.rows :].any()

    def test_embedding(self, toy_chip: Chip) -> None:
        m = toy_chip.model.embedding
        raw = toy_chip.load(-1, "embed_tokens.codes")
        assert raw.shape == (m.rows, -(-m.cols // toy_chip.r), toy_chip.r)
        flat = toy_chip.signed(-1, "embed_tokens.codes", raw).reshape(m.rows, -1)
        assert np.array_equal(flat[:, : m.cols], m.codes)
        assert not flat[:, m.cols :].any()
        scales = toy_chip.load(-1, "embed_tokens.scales")
        assert np.array_equal(scales[:, : m.scales.shape[1]], m.scales)
        assert not scales[:, m.scales.shape[1] :].any()

    def test_gains(self, toy_chip: Chip) -> None:
        model = toy_chip.model
        named = [(-1, "final_norm", model.final_norm)]
        for index, layer in enumerate(model.layers):
            named += [(index, "attn_norm", layer.attn_norm), (index, "mlp_norm", layer.mlp_norm)]
        for index, name, gains in named:
            flat = toy_chip.load(index, f"{name}.gains").ravel()
            assert np.array_equal(flat[: gains.values.size], gains.values)
            assert not flat[gains.values.size :].any()

    def test_tables_and_params(self, toy_chip: Chip) -> None:
        model = toy_chip.model
        cos, sin = tables.rope_tables(model.config, toy_chip.plan.context)
        assert np.array_equal(toy_chip.load(-1, "rope.cos"), cos)
        assert np.array_equal(toy_chip.load(-1, "rope.sin"), sin)
        assert toy_chip.load(-1, "params").tolist() == list(params.top_params(model).values())
        for layer in range(len(model.layers)):
            assert toy_chip.load(layer, "params").tolist() == list(params.layer_params(model, layer).values())

    def test_nothing_else_is_in_the_mask(self, toy_chip: Chip) -> None:
        per_layer = [f"{name}.{part}" for name in LINEARS for part in ("codes", "scales", "bias")]
        per_layer += ["attn_norm.gains", "mlp_norm.gains", "params"]
        top = ["embed_tokens.codes", "embed_tokens.scales", "lm_head.codes", "lm_head.scales"]
        top += ["final_norm.gains", "rope.cos", "rope.sin", "params"]
        wanted = [(-1, name) for name in sorted(top)]
        wanted += [(layer, name) for layer in range(2) for name in sorted(per_layer)]
        assert [(image.layer, image.name) for image in toy_chip.images.images] == wanted

    def test_a_tiny_checkpoint(self, tiny_model: QuantizedModel, tmp_path: Path) -> None:
        made = Chip(tiny_model, tmp_path)
        for layer, name in [(-1, "lm_head"), (0, "q_proj"), (2, "down_proj")]:
            m = made.matrix(name, layer)
            assert np.array_equal(made.codes(name, layer, made.load(layer, f"{name}.codes")), m.codes)
            assert np.array_equal(made.scales(name, layer, made.load(layer, f"{name}.scales")), m.scales)


def module(layer: int, name: str) -> str:
    """The Hugging Face name."""
    return name if layer < 0 else f"model.layers.{layer}.{MODULES[name]}.{name}"


class TestSites:
    def flipped(self, toy_chip: Chip, text: str, folder: Path) -> tuple[int, str, Array, int]:
        layer, name, index, bit = writer.site(text, toy_chip.plan)
        copy = flip_bits(toy_chip.images, toy_chip.images.find(layer, name), [(index, bit)], folder)
        stored = toy_chip.images.find(layer, name)
        raw = np.fromfile(copy.path, dtype=f"<{stored.dtype}").reshape(stored.shape)
        return layer, name, raw, bit

    def test_only_the_named_element_changes(self, toy_chip: Chip, tmp_path: Path) -> None:
        draw = np.random.default_rng(9)
        for layer, name in linears(toy_chip.model):
            m = toy_chip.matrix(name, layer)
            parts = {"": (m.codes, m.bits), ".scales": (m.scales, 16)}
            if m.bias is not None:
                parts[".bias"] = (m.bias, 32)
            for part, (values, bits) in parts.items():
                index = tuple(int(draw.integers(size)) for size in values.shape)
                bit = int(draw.integers(bits))
                text = f"{module(layer, name)}{part}[{','.join(map(str, index))}]^{bit}"
                at, image, raw, _ = self.flipped(toy_chip, text, tmp_path)
                assert at == layer
                assert image == f"{name}{part or '.codes'}"
                if part == ".bias":
                    found = raw.ravel()[: m.rows].astype(np.int64)
                else:
                    found = getattr(toy_chip, part[1:] or "codes")(name, layer, raw)
                assert [tuple(i) for i in np.argwhere(found != values)] == [index], text
                modulus = 1 << bits
                assert int(found[index]) % modulus == (int(values[index]) % modulus) ^ 1 << bit

    def test_embedding_and_norms(self, toy_chip: Chip, tmp_path: Path) -> None:
        embedding, hidden = toy_chip.model.embedding, toy_chip.model.config.hidden_size
        *_, raw, _ = self.flipped(toy_chip, "model.embed_tokens[36,39]^7", tmp_path)
        found = toy_chip.signed(-1, "embed_tokens.codes", raw).reshape(37, -1)[:, :hidden]
        assert np.argwhere(found != embedding.codes).tolist() == [[36, 39]]
        *_, raw, _ = self.flipped(toy_chip, "model.embed_tokens.scales[5,2]^15", tmp_path)
        assert np.argwhere(raw[:, :3] != embedding.scales).tolist() == [[5, 2]]
        first = toy_chip.model.layers[1]
        for text, gains in (
            ("model.norm[39]^15", toy_chip.model.final_norm),
            ("model.layers.1.input_layernorm[0]^0", first.attn_norm),
            ("model.layers.1.post_attention_layernorm[17]^3", first.mlp_norm),
        ):
            *_, raw, _ = self.flipped(toy_chip, text, tmp_path)
            changed = np.flatnonzero(raw.ravel()[:hidden] != gains.values)
            assert changed.tolist() == [int(text.split("[")[1].split("]")[0])]

    @pytest.mark.parametrize(
        ("text", "problem"),
        [
            ("lm_head", "is no site"),
            ("lm_head[1,2]", "is no site"),
            ("lm_head[1;2]^0", "is no site"),
            ("lm_head[-1,2]^0", "is no site"),
            ("lm_head[1]^0", "has 1 indices, expected 2"),
            ("lm_head[1,2,3]^0", "has 3 indices, expected 2"),
            ("lm_head[37,0]^0", "element is outside [37,40]"),
            ("lm_head[0,40]^0", "element is outside [37,40]"),
            ("lm_head[0,0]^4", "bit 4 of 4"),
            ("lm_head.bias[0]^0", "no such tensor"),
            ("lm_head.scales[0,2]^0", "element is outside [37,2]"),
            ("lm_head.scales[0,0]^16", "bit 16 of 16"),
            ("model.layers.2.mlp.up_proj[0,0]^0", "layer 2 of 2"),
            ("model.layers.0.self_attn.up_proj[0,0]^0", "no such tensor"),
            ("model.layers.0.mlp.up_proj.weight[0,0]^0", "no such tensor"),
            ("model.layers.0.lm_head[0,0]^0", "no such tensor"),
            ("model.layers.0.mlp.up_proj.bias[0,0]^0", "has 2 indices, expected 1"),
            ("model.layers.0.mlp.up_proj.bias[52]^0", "element is outside [52]"),
            ("model.embed_tokens.bias[0]^0", "no such tensor"),
            ("model.embed_tokens[0,40]^0", "element is outside [37,40]"),
            ("model.norm[40]^0", "element is outside [40]"),
            ("model.norm.scales[0]^0", "no such tensor"),
            ("model.input_layernorm[0]^0", "no such tensor"),
            ("model.layers.0.norm[0]^0", "no such tensor"),
        ],
    )
    def test_refusals(self, toy: QuantizedModel, text: str, problem: str) -> None:
        with pytest.raises(InputError) as error:
            writer.site(text, chip.plan(toy.config, toy.recipe))
        assert problem in str(error.value)
