"""What measuring the quality of a quantized model found (``etchproof.quantize.quality``)."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

_RECORD = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class TapQuality(BaseModel):
    """The noise of one tap: golden minus float, over every token and element compared."""

    model_config = _RECORD

    layer: int
    """-1 outside the decoder layers."""
    tap: str
    elements: int
    """Numbers compared; of scores and softmax, those at positions that a token sees."""
    sqnr_db: float | None
    """10 log10(sum of float^2 / sum of error^2); None where there is no error or no signal."""
    bias: float
    """Mean error in units of its standard error, as if elements were independent; 0 where errors do not vary."""
    mean_error: float
    """Mean of golden minus float, in the float model's units."""
    rms_error: float
    """Root of the mean square of the error, in the same units."""
    range_used: float | None
    """Largest magnitude as a share of what the tap's width holds, 1 where it saturates; None where the recipe sets
    no width (scores, softmax, ``lora_b``)."""


class QualityReport(BaseModel):
    """Golden against float on one text."""

    model_config = _RECORD

    recipe: str
    recipe_sha256: str
    checkpoint_sha256: str
    adapter: str | None = None
    """Name of the adapter that was on in both models; None for the base alone."""
    adapter_sha256: str | None = None
    tokens: int
    """Positions compared, every one of every sequence."""
    perplexity_float: float
    """exp of the mean negative log-likelihood of each next token of the text, float model."""
    perplexity_golden: float
    """The same of the golden model."""
    kl_mean: float
    """Mean over positions of KL(float || golden) of the next-token distributions, in nats."""
    kl_p99: float
    """Its 99th percentile."""
    kl_max: float
    """Its largest value."""
    same_top1: float
    """Part of positions at which both models find the same token most likely, 0 to 1."""
    taps: tuple[TapQuality, ...]
    """In dataflow order."""
    adapters: tuple[QualityReport, ...] = ()
    """Of the base's report: the same with each adapter on, on text that the model writes with it."""
