"""A whole checkpoint: the record's shapes, determinism, quality targets of weights alone, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from etchproof.checkpoint import Checkpoint, ModelConfig, load_checkpoint, write_synthetic
from etchproof.checkpoint.linears import LINEARS
from etchproof.errors import InputError
from etchproof.float_model.llama import FloatModel
from etchproof.quantize import (
    calibration_text,
    content_sha256,
    dequantized_model,
    matrix,
    quantize_model,
    sample_text,
)
from etchproof.quantize.calibrate import calibrate, linear_float64
from etchproof.quantize.quality import kl_divergence, same_top1
from etchproof.quantize.quantized_model import FRAC_TAPS, QuantizedModel
from etchproof.quantize.recipe import Calibration, Recipe, load_recipe, resolve

TINY_W6A16 = "03c0f96947dd0fa83571f939a28d2421fa700bcaab6f1da5715d47f38d939529"
"""content_sha256 of models/tiny under w6a16; it changes with QUANTIZER_VERSION, the recipe or the checkpoint only."""


def test_shapes_and_formats(tiny: Checkpoint, w6a16: Recipe, tiny_w6a16: QuantizedModel) -> None:
    model, config = tiny_w6a16, tiny.config
    formats = resolve(w6a16, config)
    assert model.checkpoint_sha256 == tiny.sha256
    assert (model.embedding.rows, model.embedding.cols) == (config.vocab_size, config.hidden_size)
    assert (model.lm_head.rows, model.lm_head.cols) == (config.vocab_size, config.hidden_size)
    assert len(model.layers) == config.n_layers
    for layer in model.layers:
        assert tuple(layer.linears) == LINEARS
        assert tuple(layer.frac) == FRAC_TAPS
        down = layer.linears["down_proj"]
        assert down.scales.shape == (48, 9)  # 132 inputs: 8 groups of 16 and one of 4
        assert down.bits == formats["model.layers.0.mlp.down_proj"].bits == 6
        assert np.abs(down.codes).max() == 31
    assert set(model.frac) == {"final_norm", "logits"}


def test_bytes_are_pinned(tiny_w6a16: QuantizedModel) -> None:
    assert content_sha256(tiny_w6a16) == TINY_W6A16


def test_calibration_equals_the_reference(tiny: Checkpoint, w6a16: Recipe) -> None:
    """The layerwise pass and the float reference see the same maxima."""
    text = calibration_text(tiny, w6a16)
    assert text.tokens.shape == (16, 128)
    largest: dict[tuple[int, str], float] = {}
    model = FloatModel(tiny.config, tiny.tensor, torch.float64)

    def see(layer: int, tap: str, value: torch.Tensor) -> None:
        if tap not in {"scores", "softmax"}:
            largest[layer, tap] = max(largest.get((layer, tap), 0.0), float(value.abs().max()))

    for tokens in text.tokens:
        model.forward(tokens, see)
    found = calibrate(tiny, text)
    assert list(found) == list(largest)
    assert found == pytest.approx(largest, rel=1e-9)


@pytest.mark.parametrize("bias", [False, True])
def test_a_large_linear_goes_by_blocks(monkeypatch: pytest.MonkeyPatch, bias: bool) -> None:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(2, 5, 70, generator=generator, dtype=torch.float64)
    weight = torch.randn(33, 70, generator=generator)
    added = torch.randn(33, generator=generator, dtype=torch.float64) if bias else None
    monkeypatch.setattr(matrix, "_BLOCK", 300)
    found = linear_float64(x, weight, added)
    assert found.shape == (2, 5, 33)
    assert torch.allclose(
        found, torch.nn.functional.linear(x, weight.double(), added), rtol=1e-13, atol=1e-13
    )


def test_calibration_by_blocks_sees_the_same(
    tiny: Checkpoint, w6a16: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = calibration_text(tiny, w6a16.for_random_weights())
    whole = calibrate(tiny, text)
    monkeypatch.setattr(matrix, "_BLOCK", 300)
    assert calibrate(tiny, text) == pytest.approx(whole, rel=1e-12)


def test_random_text(tiny: Checkpoint, w6a16: Recipe) -> None:
    recipe = w6a16.for_random_weights()
    tokens = calibration_text(tiny, recipe).tokens
    assert tokens.shape == (1, 16)
    assert int(tokens[0, 0]) == tiny.config.bos_token_id
    assert torch.equal(tokens, calibration_text(tiny, recipe).tokens)
    many = Calibration(source="random", sequences=64, length=128, seed=3)
    drawn = calibration_text(tiny, recipe.model_copy(update={"calibration": many})).tokens[:, 1:]
    assert (int(drawn.min()), int(drawn.max())) == (0, tiny.config.vocab_size - 1)
    other = many.model_copy(update={"seed": 4})
    assert not torch.equal(
        drawn, calibration_text(tiny, recipe.model_copy(update={"calibration": other})).tokens[:, 1:]
    )


def test_random_text_samples_nothing(
    tiny: Checkpoint, recipes_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(FloatModel, "step")  # which sampling needs
    lines: list[str] = []
    recipe = load_recipe("w4a16", recipes_dir).for_random_weights()
    model = quantize_model(tiny, recipe, progress=lines.append)
    assert not [line for line in lines if "sampling" in line or "GPTQ" in line]
    assert model.recipe == recipe


def test_progress_is_told(tiny: Checkpoint, recipes_dir: Path) -> None:
    lines: list[str] = []
    quantize_model(tiny, load_recipe("w4a16", recipes_dir), progress=lines.append)
    assert lines[0] == "sampling the calibration text"
    assert "calibrating layer 3 of 3" in lines
    assert "GPTQ model.layers.2.mlp.down_proj" in lines


@pytest.mark.parametrize(("name", "kl", "top1"), [("w8a16", 0.0015, 0.98), ("w6a16", 0.008, 0.955)])
def test_stories260k_targets(
    stories: Checkpoint, recipes_dir: Path, name: str, kl: float, top1: float
) -> None:
    """Of weights alone; activations of 16 bit add about 1e-5 to the divergence."""
    text = sample_text(stories, 16, 200, seed=12345)
    reference = FloatModel(stories.config, stories.tensor, torch.float64)
    rounded = dequantized_model(quantize_model(stories, load_recipe(name, recipes_dir)))
    pairs = [(reference.forward(tokens), rounded.forward(tokens)) for tokens in text]
    assert float(torch.cat([kl_divergence(*pair) for pair in pairs]).mean()) <= kl
    assert float(torch.cat([same_top1(*pair) for pair in pairs]).double().mean()) >= top1


class TestOtherForms:
    """A synthetic checkpoint: tied, with biases, nothing a power of two."""

    @pytest.fixture
    def toy(self, tmp_path: Path, config: ModelConfig) -> Checkpoint:
        return load_checkpoint(write_synthetic(tmp_path / "toy", config, seed=4, tokenizer=False))

    @pytest.mark.parametrize("name", ["w8a16", "w3w6a16"])
    def test_tied_and_biased(self, toy: Checkpoint, recipes_dir: Path, name: str) -> None:
        recipe = load_recipe(name, recipes_dir)
        model = quantize_model(toy, recipe)
        assert model.lm_head.bits == resolve(recipe, toy.config)["lm_head"].bits
        for layer in model.layers:
            assert all(matrix.bias is not None for matrix in layer.linears.values())
        tokens = torch.arange(20)
        rounded = dequantized_model(model).forward(tokens)
        reference = FloatModel(toy.config, toy.tensor, torch.float64).forward(tokens)
        noise = float((rounded - reference).pow(2).mean() / reference.pow(2).mean())
        assert noise < (1e-3 if name == "w8a16" else 0.2)

    def test_text_is_cut_to_the_context(self, toy: Checkpoint, w6a16: Recipe) -> None:
        assert calibration_text(toy, w6a16).tokens.shape == (16, 32)
        short = w6a16.model_copy(update={"context": 5})
        assert calibration_text(toy, short).tokens.shape == (16, 5)

    def test_no_bos_starts_from_token_0(self, tmp_path: Path, config: ModelConfig, w6a16: Recipe) -> None:
        plain = config.model_copy(update={"bos_token_id": None})
        folder = write_synthetic(tmp_path / "plain", plain, seed=4, tokenizer=False)
        tokens = calibration_text(load_checkpoint(folder), w6a16).tokens
        assert (tokens[:, 0] == 0).all()

    @pytest.mark.parametrize(
        ("tensor", "value", "message"),
        [
            (
                "model.layers.1.mlp.up_proj.weight",
                1e15,
                "model.layers.1.mlp.up_proj.weight: holds a weight of magnitude 9.99999987e+14",
            ),
            (
                "model.embed_tokens.weight",
                1e4,
                "model.embed_tokens.weight: holds a weight of magnitude 10000, expected less than 126.999031",
            ),
            ("model.norm.weight", 1e12, "model.norm.weight: holds a gain of magnitude 9.99999996e+11"),
            (
                "model.layers.0.self_attn.k_proj.bias",
                1e7,
                "model.layers.0.self_attn.k_proj.bias: holds a bias of magnitude 10000000",
            ),
        ],
    )
    def test_refusals_name_the_tensor(
        self, toy: Checkpoint, w6a16: Recipe, tensor: str, value: float, message: str
    ) -> None:
        path = toy.path / "model.safetensors"
        tensors = load_file(path)
        tensors[tensor].view(-1)[0] = value
        save_file(tensors, path, metadata={"format": "pt"})
        with pytest.raises(InputError) as caught:
            quantize_model(load_checkpoint(toy.path), w6a16)
        assert message in str(caught.value)

    def test_dead_layers_quantize(self, toy: Checkpoint, w6a16: Recipe) -> None:
        """All-zero matrices and taps: a pruned layer is no error."""
        path = toy.path / "model.safetensors"
        tensors = load_file(path)
        for name, values in tensors.items():
            if name.startswith("model.layers.1.") and name.endswith(("proj.weight", "proj.bias")):
                values.zero_()
        save_file(tensors, path, metadata={"format": "pt"})
        model = quantize_model(load_checkpoint(toy.path), w6a16)
        assert not model.layers[1].linears["q_proj"].codes.any()
