"""How good the quantized model is, as numbers: against the float model, apart from any verdict on the chip.

The golden model is exact by definition and the chip must equal it; how far the golden model is from the float model is
a matter of the recipe, and it is reported here: perplexity, the divergence of next-token distributions, and for each
tap the noise that its integers carry.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from etchproof.contract.golden import Golden
from etchproof.float_model.llama import FloatModel
from etchproof.quantize.quality_report import QualityReport, TapQuality
from etchproof.quantize.quantized_model import RESIDUAL_FRAC, QuantizedAdapter, QuantizedModel

_RESIDUAL_TAPS = frozenset({"embedding", "attn_residual", "mlp_residual"})
_CACHE_TAPS = frozenset({"v_proj", "k_rope"})  # K bits, docs/numerics.md section 1
_UNSCALED = frozenset({"scores", "softmax"})


class GoldenModel(Golden, Protocol):
    """A golden model that can be measured against the float model."""

    model: QuantizedModel

    @property
    def adapters(self) -> Sequence[QuantizedAdapter]:
        """Those that it was made with."""
        ...

    def forward(
        self,
        tokens: Tensor,
        cache: Any = None,
        observe: Callable[[int, str, Tensor], None] | None = None,
        adapter: int | None = None,
    ) -> Tensor:
        """Logits (T, vocab_size) int64 of tokens (T,) from position 0; observes every tap.

        Args:
            adapter: index of ``adapters``, None for the base alone.
        """
        ...


def log_likelihoods(logits: Tensor, tokens: Tensor) -> Tensor:
    """Log probability of each next token, float64: logits (..., T, V), tokens (..., T) -> (..., T - 1)."""
    log_probabilities = logits[..., :-1, :].double().log_softmax(-1)
    return log_probabilities.gather(-1, tokens[..., 1:, None])[..., 0]


def perplexity(log_likelihood: Tensor) -> float:
    """exp(-mean) of ``log_likelihoods``; NaN of none."""
    return math.exp(-float(log_likelihood.mean())) if log_likelihood.numel() else math.nan


def kl_divergence(reference: Tensor, other: Tensor) -> Tensor:
    """KL(reference || other) of next-token distributions, nats: logits (..., V) twice -> (...) float64."""
    p, q = reference.double().log_softmax(-1), other.double().log_softmax(-1)
    return (p.exp() * (p - q)).sum(-1)


def same_top1(reference: Tensor, other: Tensor) -> Tensor:
    """Whether both find the same token most likely, ties to the lowest: logits (..., V) twice -> (...) bool."""
    return _first_largest(reference) == _first_largest(other)


def tap_to_real(
    model: QuantizedModel, layer: int, tap: str, value: Tensor, adapter: QuantizedAdapter | None = None
) -> Tensor:
    """A golden tap's integers as the real numbers that they stand for, float64 of the same shape.

    ``softmax`` becomes probabilities, and must be 0 at positions to come; ``scores`` keeps what stands there.
    """
    if tap == "softmax":
        weights = value.double()
        return weights / weights.sum(-1, keepdim=True)
    scale = 1.0
    linear, _, part = tap.partition(".")
    if part and adapter is not None:  # lora_a or lora_b
        matrix = adapter.linears[layer, linear]
        frac = matrix.h_frac + (matrix.b_exponent if part == "lora_b" else 0)
    elif tap in _RESIDUAL_TAPS:
        frac = RESIDUAL_FRAC
    elif layer < 0:
        frac = model.frac[tap]
    elif tap == "scores":
        fracs = model.layers[layer].frac
        frac, scale = fracs["q_proj"] + fracs["k_rope"], 1 / math.sqrt(model.config.head_dim)
    else:
        frac = model.layers[layer].frac["q_proj" if tap == "q_rope" else tap]
    return value.double() * (scale * 2.0**-frac)


def tap_bits(model: QuantizedModel, tap: str) -> int | None:
    """Width of a tap whose range the recipe or the chip sets (docs/taps.md); None of accumulators and weights."""
    if tap in _UNSCALED or tap.endswith(".lora_b"):
        return None
    if tap in _RESIDUAL_TAPS:
        return 32
    if tap == "logits" or tap.endswith(".lora_a"):
        return 16
    return model.recipe.kv_bits if tap in _CACHE_TAPS else model.recipe.activation_bits


class TapNoise:
    """Sums over the errors of one tap, added to a sequence at a time.

    Args:
        bits: of the tap's integers, None where the share of their range says nothing.
    """

    def __init__(self, bits: int | None = None) -> None:
        self.elements = 0
        self._bits, self._largest = bits, 0
        self._signal = self._error = self._noise = 0.0  # sums of reference^2, error, error^2

    def add(self, reference: Tensor, other: Tensor, integers: Tensor) -> None:
        """Account for elements of the same shape: float's, the golden model's, and the integers behind those."""
        if self._bits is not None and integers.numel():
            self._largest = max(self._largest, int(integers.max()), -1 - int(integers.min()))
        error = other.double() - reference.double()
        self.elements += error.numel()
        self._signal += float(reference.double().pow(2).sum())
        self._error += float(error.sum())
        self._noise += float(error.pow(2).sum())

    @property
    def sqnr_db(self) -> float | None:
        """Signal to noise in dB; None where either is 0."""
        if self._signal == 0 or self._noise == 0:
            return None
        return 10 * math.log10(self._signal / self._noise)

    @property
    def bias(self) -> float:
        """Mean error over its standard error; 0 where errors do not vary."""
        if self.elements < 2:
            return 0.0
        mean = self._error / self.elements
        variance = (self._noise - self.elements * mean * mean) / (self.elements - 1)
        return mean / math.sqrt(variance / self.elements) if variance > 0 else 0.0

    @property
    def mean_error(self) -> float:
        """Of the elements; 0 of none."""
        return self._error / self.elements if self.elements else 0.0

    @property
    def rms_error(self) -> float:
        """Of the elements; 0 of none."""
        return math.sqrt(self._noise / self.elements) if self.elements else 0.0

    @property
    def range_used(self) -> float | None:
        """Largest magnitude over the largest that the width holds; None where it has no width."""
        return None if self._bits is None else self._largest / ((1 << (self._bits - 1)) - 1)

    def quality(self, layer: int, tap: str) -> TapQuality:
        """The record."""
        return TapQuality(
            layer=layer,
            tap=tap,
            elements=self.elements,
            sqnr_db=self.sqnr_db,
            bias=self.bias,
            mean_error=self.mean_error,
            rms_error=self.rms_error,
            range_used=self.range_used,
        )


def measure(
    float_model: FloatModel, golden: GoldenModel, tokens: Tensor, adapter: int | None = None
) -> QualityReport:
    """Compare golden with float, each sequence of ``tokens`` (n, T) int64 from position 0.

    One sequence's taps are in memory at a time.

    Args:
        adapter: index of the golden model's adapters, which the float model was made with too; None for the base.

    Raises:
        InputError: a sequence that the models do not take.
    """
    model = golden.model
    quantized = golden.adapters[adapter] if adapter is not None else None
    chosen = {} if adapter is None else {"adapter": adapter}
    noise: dict[tuple[int, str], TapNoise] = {}
    likelihoods: tuple[list[Tensor], list[Tensor]] = ([], [])
    divergences: list[Tensor] = []
    same: list[Tensor] = []
    for sequence in tokens:
        seen: dict[tuple[int, str], Tensor] = {}
        reference = float_model.forward(sequence, _keep(seen))  # (T, V)
        logits = golden.forward(sequence, observe=_compare(model, quantized, seen, noise), **chosen)
        other = tap_to_real(model, -1, "logits", logits)  # (T, V)
        for held, found in zip(likelihoods, (reference, other), strict=True):
            held.append(log_likelihoods(found, sequence))
        divergences.append(kl_divergence(reference, other))
        same.append(same_top1(reference, other))
    kl = torch.cat(divergences)  # (n * T,)
    return QualityReport(
        recipe=model.recipe.name,
        recipe_sha256=model.recipe.sha256,
        checkpoint_sha256=model.checkpoint_sha256,
        adapter=quantized.name if quantized else None,
        adapter_sha256=quantized.sha256 if quantized else None,
        tokens=kl.numel(),
        perplexity_float=perplexity(torch.cat(likelihoods[0])),
        perplexity_golden=perplexity(torch.cat(likelihoods[1])),
        kl_mean=float(kl.mean()),
        kl_p99=float(kl.quantile(0.99)),
        kl_max=float(kl.max()),
        same_top1=float(torch.cat(same).double().mean()),
        taps=tuple(sums.quality(layer, tap) for (layer, tap), sums in noise.items()),
    )


def _first_largest(logits: Tensor) -> Tensor:
    """The lowest index among the largest, (..., V) -> (...): torch's own argmax leaves ties open."""
    return (logits == logits.amax(-1, keepdim=True)).to(torch.uint8).argmax(-1)


def _keep(seen: dict[tuple[int, str], Tensor]) -> Callable[[int, str, Tensor], None]:
    def observe(layer: int, tap: str, value: Tensor) -> None:
        seen[layer, tap] = value

    return observe


def _compare(
    model: QuantizedModel,
    adapter: QuantizedAdapter | None,
    reference: Mapping[tuple[int, str], Tensor],
    noise: dict[tuple[int, str], TapNoise],
) -> Callable[[int, str, Tensor], None]:
    """An observer of the golden model that accounts for each tap that the float model showed."""

    def observe(layer: int, tap: str, value: Tensor) -> None:
        expected = reference.get((layer, tap))
        if expected is None:  # token: an index, not a quantity
            return
        if tap in _UNSCALED:  # (T, n_heads, T): a token sees itself and those before
            visible = torch.ones(value.shape[0], value.shape[2], dtype=torch.bool).tril()[:, None]
            visible = visible.expand(value.shape)
            if tap == "softmax":
                value = value.masked_fill(~visible, 0)
            found = tap_to_real(model, layer, tap, value)[visible]
            expected, value = expected[visible], value[visible]
        else:
            found = tap_to_real(model, layer, tap, value, adapter)
        noise.setdefault((layer, tap), TapNoise(tap_bits(model, tap))).add(expected, found, value)

    return observe
