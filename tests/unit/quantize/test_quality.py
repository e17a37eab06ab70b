"""The metrics against figures worked out by hand, and the golden model against what its integers stand for."""

from __future__ import annotations

import math

import pytest
import torch
from pydantic import ValidationError

from etchproof.adapter import Adapter, AdapterConfig, load_adapter, write_synthetic_adapter
from etchproof.checkpoint import Checkpoint
from etchproof.checkpoint.linears import LORA_PRODUCTS
from etchproof.float_model.llama import FloatModel
from etchproof.quantize import dequantized_model, quantize_adapter, sample_text
from etchproof.quantize.quality import (
    QualityReport,
    TapNoise,
    kl_divergence,
    log_likelihoods,
    measure,
    perplexity,
    same_top1,
    tap_to_real,
)
from etchproof.quantize.quantized_model import QuantizedModel
from models.golden import Golden
from tests.taps import TAP_NAMES


def test_perplexity_of_known_probabilities() -> None:
    logits = torch.log(torch.tensor([[0.5, 0.25, 0.25], [0.1, 0.8, 0.1], [1 / 3, 1 / 3, 1 / 3]])) + 7
    tokens = torch.tensor([2, 1, 1])
    likelihoods = log_likelihoods(logits, tokens)
    assert likelihoods.exp().tolist() == pytest.approx([0.25, 0.8])  # position 0 tells token 1, and so on
    assert perplexity(likelihoods) == pytest.approx(1 / math.sqrt(0.25 * 0.8))
    assert math.isnan(perplexity(likelihoods[:0]))


def test_divergence_of_known_distributions() -> None:
    p, q = torch.tensor([[0.5, 0.5], [0.9, 0.1]]).log(), torch.tensor([[0.25, 0.75], [0.9, 0.1]]).log()
    expected = 0.5 * math.log(0.5 / 0.25) + 0.5 * math.log(0.5 / 0.75)
    assert kl_divergence(p, q + 3).tolist() == pytest.approx([expected, 0], abs=1e-7)


def test_ties_go_to_the_lowest_index() -> None:
    reference = torch.tensor([[1.0, 3, 3], [5, 1, 1], [0, 0, 0]])
    other = torch.tensor([[0.0, 9, 1], [1, 2, 1], [7, 7, 7]])
    assert same_top1(reference, other).tolist() == [True, False, True]


class TestTapNoise:
    def test_signal_to_noise(self) -> None:
        noise = TapNoise()
        noise.add(torch.tensor([10.0, 10]), torch.tensor([11.0, 9]), torch.tensor([11, 9]))
        noise.add(torch.tensor([10.0]), torch.tensor([11.0]), torch.tensor([11]))
        assert noise.elements == 3
        assert noise.sqnr_db == pytest.approx(20)

    def test_bias_is_in_standard_errors(self) -> None:
        error = torch.tensor([1.0, 2, 3, 6], dtype=torch.float64)
        noise = TapNoise()
        noise.add(torch.zeros(4), error, error.long())
        assert noise.bias == pytest.approx(3 / (float(error.std()) / 2))
        assert noise.mean_error == 3
        assert noise.rms_error == pytest.approx(math.sqrt((1 + 4 + 9 + 36) / 4))

    @pytest.mark.parametrize(
        ("integers", "used"),
        [([3, -2], 3 / 127), ([5, -64], 63 / 127), ([127, 0], 1), ([0, -128], 1), ([], 0)],
    )
    def test_range_used(self, integers: list[int], used: float) -> None:
        """Both ends of the range are all of it, though the lower one is one further from zero."""
        noise = TapNoise(bits=8)
        values = torch.tensor(integers, dtype=torch.int64)
        noise.add(values.double(), values.double(), values)
        assert noise.range_used == pytest.approx(used)

    def test_nothing_to_divide_by(self) -> None:
        noise = TapNoise()
        assert (noise.sqnr_db, noise.bias, noise.mean_error, noise.rms_error) == (None, 0, 0, 0)
        noise.add(torch.ones(3), torch.ones(3), torch.ones(3))
        assert (noise.sqnr_db, noise.bias, noise.range_used) == (None, 0, None)


@pytest.fixture(scope="module")
def text(tiny: Checkpoint) -> torch.Tensor:
    return sample_text(tiny, 3, 60, seed=5)


@pytest.fixture(scope="module")
def report(tiny: Checkpoint, tiny_w6a16: QuantizedModel, text: torch.Tensor) -> QualityReport:
    return measure(FloatModel(tiny.config, tiny.tensor, torch.float64), Golden(tiny_w6a16), text)


@pytest.fixture(scope="module")
def lora(tiny: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> Adapter:
    """A random adapter of layers 0 and 2, strong enough to be missed."""
    config = AdapterConfig(
        r=4, lora_alpha=4.0, target_modules="all-linear", exclude_modules=r".*layers\.1\..*"
    )
    folder = write_synthetic_adapter(
        tmp_path_factory.mktemp("lora") / "drawn", tiny.config, config, seed=1, gain=0.2
    )
    return load_adapter(folder, tiny.config)


class TestAdapter:
    def test_golden_is_near_float(self, tiny: Checkpoint, tiny_w6a16: QuantizedModel, lora: Adapter) -> None:
        text = sample_text(tiny, 3, 60, 5, lora)
        golden = Golden(tiny_w6a16, [quantize_adapter(tiny_w6a16, lora, tiny)])
        model = FloatModel(tiny.config, tiny.tensor, torch.float64, lora)
        report = measure(model, golden, text, 0)
        assert (report.adapter, report.adapter_sha256) == ("drawn", lora.sha256)
        assert report.kl_mean < 0.02
        assert report.same_top1 > 0.9
        found = {(tap.layer, tap.tap) for tap in report.taps if ".lora_" in tap.tap}
        assert found == {(layer, tap) for layer in (0, 2) for taps in LORA_PRODUCTS.values() for tap in taps}
        assert all(tap.sqnr_db is not None and tap.sqnr_db > 20 for tap in report.taps)
        base = measure(model, golden, text)
        assert (base.adapter, base.adapter_sha256) == (None, None)
        assert base.kl_mean > 10 * report.kl_mean

    def test_the_arithmetic_adds_next_to_nothing(
        self, tiny: Checkpoint, tiny_w6a16: QuantizedModel, lora: Adapter
    ) -> None:
        """Against the real numbers that the ROM's integers stand for, the float adapter on both sides."""
        golden = Golden(tiny_w6a16, [quantize_adapter(tiny_w6a16, lora, tiny)])
        base = dequantized_model(tiny_w6a16)
        tensors = base._weights
        model = FloatModel(base.config, tensors.__getitem__, torch.float64, lora)
        report = measure(model, golden, sample_text(tiny, 3, 60, 5, lora), 0)
        assert report.kl_mean < 3e-5
        assert all(tap.sqnr_db is not None and tap.sqnr_db > 45 for tap in report.taps)

    def test_the_text_is_written_with_the_adapter(self, tiny: Checkpoint, lora: Adapter) -> None:
        assert not torch.equal(sample_text(tiny, 3, 60, 5, lora), sample_text(tiny, 3, 60, 5))


class TestMeasure:
    def test_golden_is_near_float(self, report: QualityReport, tiny_w6a16: QuantizedModel) -> None:
        assert (report.recipe, report.recipe_sha256) == ("w6a16", tiny_w6a16.recipe.sha256)
        assert report.tokens == 180
        assert report.kl_mean < 0.008
        assert report.kl_mean <= report.kl_p99 <= report.kl_max
        assert report.same_top1 > 0.95
        assert report.perplexity_golden == pytest.approx(report.perplexity_float, rel=0.03)

    def test_every_tap_is_there(self, report: QualityReport, tiny: Checkpoint) -> None:
        assert {tap.tap for tap in report.taps} == {name for name in TAP_NAMES if ".lora_" not in name} - {
            "token"
        }
        assert len(report.taps) == 3 + 17 * tiny.config.n_layers
        by_name = {(tap.layer, tap.tap): tap for tap in report.taps}
        seen = 3 * 60 * 61 // 2 * tiny.config.n_heads  # positions a token sees, over heads
        assert by_name[0, "scores"].elements == by_name[0, "softmax"].elements == seen
        assert by_name[0, "q_proj"].elements == 180 * 48
        assert all(tap.sqnr_db is not None and tap.sqnr_db > 20 for tap in report.taps)

    def test_arithmetic_alone_adds_next_to_nothing(
        self, tiny_w6a16: QuantizedModel, text: torch.Tensor
    ) -> None:
        """Against what the integers stand for, every tap is cleaner than 45 dB: scales and taps are read aright."""
        report = measure(dequantized_model(tiny_w6a16), Golden(tiny_w6a16), text)
        assert report.kl_mean < 2e-5
        assert all(tap.sqnr_db is not None and tap.sqnr_db > 45 for tap in report.taps)

    def test_future_scores_do_not_count(
        self, tiny: Checkpoint, tiny_w6a16: QuantizedModel, text: torch.Tensor, report: QualityReport
    ) -> None:
        class Noisy(Golden):
            def forward(self, tokens, cache=None, observe=None):  # type: ignore[no-untyped-def]
                def spoil(layer, tap, value):  # type: ignore[no-untyped-def]
                    if tap in {"scores", "softmax"}:
                        future = torch.ones(value.shape[0], value.shape[2], dtype=torch.bool).triu(1)[:, None]
                        value = value.masked_fill(future, 2**40)
                    observe(layer, tap, value)

                return super().forward(tokens, cache, spoil)

        spoilt = measure(FloatModel(tiny.config, tiny.tensor, torch.float64), Noisy(tiny_w6a16), text)
        assert spoilt == report

    def test_report_is_a_record(self, report: QualityReport) -> None:
        assert QualityReport.model_validate_json(report.model_dump_json()) == report
        with pytest.raises(ValidationError):
            report.tokens = 3  # type: ignore[misc]


def test_tap_to_real(tiny_w6a16: QuantizedModel) -> None:
    frac = tiny_w6a16.layers[1].frac
    one = torch.ones(1, 1, 1, dtype=torch.int64)
    scores = tap_to_real(tiny_w6a16, 1, "scores", one)
    assert float(scores) == pytest.approx(2.0 ** -(frac["q_proj"] + frac["k_rope"]) / math.sqrt(8))
    assert float(tap_to_real(tiny_w6a16, 1, "q_rope", one)) == 2.0 ** -frac["q_proj"]
    assert float(tap_to_real(tiny_w6a16, 1, "mlp_residual", one)) == 2.0**-16
    assert float(tap_to_real(tiny_w6a16, -1, "embedding", one)) == 2.0**-16
    assert tap_to_real(tiny_w6a16, 1, "softmax", torch.tensor([1, 3, 0])).tolist() == [0.25, 0.75, 0]
