"""The golden model held to real arithmetic, one operation at a time.

Each operation takes the golden model's own inputs as the real numbers that they stand for, is computed in float64 as
the architecture defines it, and must give the golden model's own output within the rounding that the output's width
asks for and the error of the tables that docs/numerics.md allows. Errors of one operation do not reach the next, so a
slip that is lost in the noise of the whole model shows here: a rounding that goes down, a pairing of RoPE, a head that
takes another one's keys, a position, an epsilon.

Nothing here comes from the golden model or from the tables of the chip: angles, exponentials and roots are numpy's.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from torch import Tensor

from etchproof.checkpoint.config import FactorScaling, LinearScaling, ModelConfig
from etchproof.checkpoint.linears import INPUTS, LORA_PRODUCTS
from etchproof.quantize.matrix import row_blocks
from etchproof.quantize.quality import GoldenModel, tap_bits
from etchproof.quantize.quantized_model import (
    RESIDUAL_FRAC,
    AdapterMatrix,
    QuantizedGains,
    QuantizedMatrix,
    QuantizedModel,
)

Float64s = npt.NDArray[np.float64]

_HALF: Final = 0.5 + 2.0**-20
"""Units of the last place that rounding to nearest may be off, and what float64 may lose of the real result."""
_EXACT: Final = -_HALF + 2.0**-20
"""Beside ``_HALF``, where nothing may be off."""
_ROOT: Final = 2.0**-23
"""Relative error of a norm: of its root, 2^-25 (section 3.1), and of what is rounded before the gain."""
_SIGMOID: Final = 1.3e-5
"""Error of the logistic function: the chord over 1/32 (section 9)."""
_EXPONENTIAL: Final = 3.8e-6
"""Relative error of the exponential (section 7.1)."""
_ARGUMENT: Final = 2.0**-16
"""Of its argument, relative, as the scale has 16 bits, and absolute, as it has 16 fractional bits (section 7)."""
_DIVISION: Final = 2.0**-25
"""Relative error of the division by the weights' sum (section 8.1)."""
_ROPE_FRAC: Final = 14
_WEIGHT_FRAC: Final = 20


@dataclass(frozen=True)
class TapError:
    """What was found of one operation.

    Attributes:
        layer: -1 outside the decoder layers.
        worst: the largest error as a share of what is allowed; above 1 the operation is wrong.
        message: where that is, and by how much.
    """

    layer: int
    tap: str
    worst: float
    message: str

    @property
    def name(self) -> str:
        return f"layer {self.layer} {self.tap}" if self.layer >= 0 else self.tap


def check_arithmetic(golden: GoldenModel, tokens: Tensor, adapter: int | None = None) -> tuple[TapError, ...]:
    """Every operation of the golden model on a text, in dataflow order.

    Args:
        tokens: (n, T) int64, each sequence from position 0.
        adapter: index of the golden model's adapters; None for the base.
    """
    worst: dict[tuple[int, str], TapError] = {}
    chosen = {} if adapter is None else {"adapter": adapter}
    for sequence in tokens:
        seen: dict[tuple[int, str], Float64s] = {}

        def observe(
            layer: int, tap: str, value: Tensor, seen: dict[tuple[int, str], Float64s] = seen
        ) -> None:
            seen[layer, tap] = value.numpy().astype(np.float64)

        golden.forward(sequence, observe=observe, **chosen)
        one = _Sequence(golden, sequence.numpy(), seen, adapter)
        for found in one.errors():
            held = worst.get((found.layer, found.tap))
            if held is None or not found.worst <= held.worst:
                worst[found.layer, found.tap] = found
    return tuple(worst.values())


class _Sequence:
    """One sequence's taps, as integers in float64, which holds each of them."""

    def __init__(
        self,
        golden: GoldenModel,
        tokens: npt.NDArray[np.int64],
        seen: Mapping[tuple[int, str], Float64s],
        adapter: int | None,
    ) -> None:
        self._model: QuantizedModel = golden.model
        self._adapted = {} if adapter is None else golden.adapters[adapter].linears
        self._tokens, self._seen = tokens, seen
        self._cos, self._sin = _turns(self._model.config, len(tokens))  # (T, head_dim / 2)

    def errors(self) -> Iterator[TapError]:
        model, config = self._model, self._model.config
        r = self._take(-1, "embedding", _real(model.embedding, self._tokens), RESIDUAL_FRAC)
        yield r[1]
        residual = r[0]
        for layer, weights in enumerate(model.layers):
            frac = weights.frac
            x, error = self._norm(layer, "attn_norm", residual, weights.attn_norm, frac["attn_norm"])
            yield error
            heads = {}
            for name in ("q_proj", "k_proj", "v_proj"):
                y, errors = self._linear(layer, name, x)
                yield from errors
                heads[name] = y.reshape(len(y), -1, config.head_dim)
            q, error = self._rope(layer, "q_rope", heads["q_proj"], frac["q_proj"])
            yield error
            k, error = self._rope(layer, "k_rope", heads["k_proj"], frac["k_rope"])
            yield error
            yield from self._attention(layer, q, k, heads["v_proj"])
            attended = self._tap(layer, "attn_out", frac["attn_out"])
            o, errors = self._linear(layer, "o_proj", attended)
            yield from errors
            residual, error = self._add(layer, "attn_residual", residual, o)
            yield error
            x, error = self._norm(layer, "mlp_norm", residual, weights.mlp_norm, frac["mlp_norm"])
            yield error
            gate, errors = self._linear(layer, "gate_proj", x)
            yield from errors
            up, errors = self._linear(layer, "up_proj", x)
            yield from errors
            with np.errstate(over="ignore"):  # of a large negative gate; the quotient is then 0
                gated = gate / (1 + np.exp(-gate)) * up
            h, error = self._take(
                layer, "swiglu", gated, frac["swiglu"], _SIGMOID * np.abs(gate * up) * 2.0 ** frac["swiglu"]
            )
            yield error
            down, errors = self._linear(layer, "down_proj", h)
            yield from errors
            residual, error = self._add(layer, "mlp_residual", residual, down)
            yield error
        x, error = self._norm(-1, "final_norm", residual, model.final_norm, model.frac["final_norm"])
        yield error
        _, error = self._take(-1, "logits", _product(x, model.lm_head), model.frac["logits"])
        yield error
        logits = self._seen[-1, "logits"]
        token = self._seen[-1, "token"].reshape(-1)
        wrong = np.flatnonzero(token != logits.argmax(axis=-1))  # numpy's is the lowest of equals
        said = f"token {int(token[wrong[0]])} at position {wrong[0]}" if len(wrong) else ""
        yield TapError(-1, "token", math.inf if len(wrong) else 0.0, said)

    def _tap(self, layer: int, tap: str, frac: int) -> Float64s:
        """A tap as the real numbers that it stands for."""
        found: Float64s = self._seen[layer, tap] * 2.0**-frac
        return found

    def _take(
        self, layer: int, tap: str, real: Float64s, frac: int, more: Float64s | float | None = None
    ) -> tuple[Float64s, TapError]:
        """The golden model's own value, and how far it is from the real one.

        Args:
            more: what is allowed beside rounding, in units of the tap's last place; None where float64 holds the real
                result exactly, so that its rounding is known: to nearest, a tie towards plus infinity.
        """
        found, bits = self._seen[layer, tap], tap_bits(self._model, tap)
        wanted = real.reshape(found.shape) * 2.0**frac
        if more is None:
            wanted, more = np.floor(wanted + 0.5), _EXACT
        if bits is not None:
            wanted = wanted.clip(-(2.0 ** (bits - 1)), 2.0 ** (bits - 1) - 1)
        allowed = _HALF + np.reshape(more, found.shape) if np.ndim(more) else _HALF + more
        return found * 2.0**-frac, _error(layer, tap, found, wanted, allowed)

    def _norm(
        self, layer: int, tap: str, x: Float64s, gains: QuantizedGains, frac: int
    ) -> tuple[Float64s, TapError]:
        config = self._model.config
        gain = gains.values.astype(np.float64) * 2.0**-gains.exponent / math.sqrt(len(gains.values))
        # The chip sums squares of its own block format, in which epsilon loses what is below the last place.
        square = (x * x).mean(axis=-1, keepdims=True)
        magnitude = np.abs(x).max(axis=-1, keepdims=True) * 2.0**RESIDUAL_FRAC
        block = np.maximum(np.floor(np.log2(np.maximum(magnitude, 1))) + 1 - 24, 0)
        lost = 2.0 ** (2 * (block - RESIDUAL_FRAC)) / x.shape[-1]
        real = x / np.sqrt(square + config.rms_norm_eps) * gain
        cut = 2.0 ** (block - RESIDUAL_FRAC - 1) / np.sqrt(square + config.rms_norm_eps) * np.abs(gain)
        relative = _ROOT + lost / (square + config.rms_norm_eps)
        rounded = np.abs(gain) * (
            math.sqrt(x.shape[-1]) * 2.0**-30
        )  # of the normalized value, 29 fractional bits
        more = (np.abs(real) * relative + np.where(block > 0, cut, 0) + rounded) * 2.0**frac
        return self._take(layer, tap, real, frac, more)

    def _linear(self, layer: int, name: str, x: Float64s) -> tuple[Float64s, list[TapError]]:
        weights = self._model.layers[layer]
        matrix = weights.linears[name]
        errors: list[TapError] = []
        real = _product(x, matrix)
        if matrix.bias is not None:
            unit = matrix.exponent + weights.frac[INPUTS[name]] - matrix.bias_shift
            real = real + matrix.bias.astype(np.float64) * 2.0**-unit
        adapted = self._adapted.get((layer, name))
        if adapted is not None:
            added, errors = self._lora(layer, name, x, adapted)
            real = real + added
        bits = self._model.recipe.activation_bits - 1 + matrix.bits - 1
        exact = adapted is None and matrix.cols * int(matrix.scales.max(initial=0)) << bits < 1 << 52
        y, error = self._take(layer, name, real, weights.frac[name], None if exact else 0.0)
        return y, [*errors, error]

    def _lora(
        self, layer: int, name: str, x: Float64s, adapted: AdapterMatrix
    ) -> tuple[Float64s, list[TapError]]:
        first, second = LORA_PRODUCTS[name]
        a = adapted.a.astype(np.float64) * 2.0**-adapted.a_exponent
        b = adapted.b.astype(np.float64) * 2.0**-adapted.b_exponent
        h, of_a = self._take(layer, first, x @ a.T, adapted.h_frac)
        d, of_b = self._take(layer, second, h @ b.T, adapted.h_frac + adapted.b_exponent, _EXACT)
        return d, [of_a, of_b]

    def _rope(self, layer: int, tap: str, x: Float64s, frac: int) -> tuple[Float64s, TapError]:
        low, high = np.split(x, 2, axis=-1)  # (T, heads, D / 2)
        cos, sin = self._cos[:, None], self._sin[:, None]
        turned = np.concatenate([low * cos - high * sin, high * cos + low * sin], axis=-1)
        found, error = self._take(layer, tap, turned, frac)
        return found.reshape(turned.shape), error

    def _attention(self, layer: int, q: Float64s, k: Float64s, v: Float64s) -> Iterator[TapError]:
        """Scores, weights and their mean of the values, of (T, heads, D)."""
        config, frac = self._model.config, self._model.layers[layer].frac
        count, shared = len(q), config.n_heads // config.n_kv_heads
        visible = np.tril(np.ones((count, count), dtype=bool))[:, None]  # (T, 1, S)
        scores = np.einsum("tnd,snd->tns", q, np.repeat(k, shared, axis=1))
        found = np.where(visible, self._seen[layer, "scores"], 0)
        unit = frac["q_proj"] + frac["k_rope"]
        yield _error(layer, "scores", found, np.where(visible, scores * 2.0**unit, 0), 2.0**-10)
        real = np.where(visible, found * (2.0**-unit / math.sqrt(config.head_dim)), -math.inf)
        below = real - real.max(axis=-1, keepdims=True)
        wanted = np.exp(below) * 2.0**_WEIGHT_FRAC
        weights = self._seen[layer, "softmax"]
        argument = _ARGUMENT * (1 - np.where(visible, below, 0))
        yield _error(layer, "softmax", weights, wanted, _HALF + wanted * (_EXPONENTIAL + argument))
        share = weights / weights.sum(axis=-1, keepdims=True)
        real = np.einsum("tns,snd->tnd", share, np.repeat(v, shared, axis=1))
        cut = 2.0 ** (frac["attn_out"] - frac["v_proj"] - 17)  # the sum keeps 18 bits beside those of a value
        more = cut + _DIVISION * np.abs(real) * 2.0 ** frac["attn_out"]
        yield self._take(layer, "attn_out", real, frac["attn_out"], more)[1]

    def _add(self, layer: int, tap: str, residual: Float64s, y: Float64s) -> tuple[Float64s, TapError]:
        """Exact: y has fewer fractional bits than the residual stream."""
        return self._take(layer, tap, residual + y, RESIDUAL_FRAC, _EXACT)


def _error(layer: int, tap: str, found: Float64s, wanted: Float64s, allowed: Float64s | float) -> TapError:
    """The element that is furthest off, by what is allowed."""
    share = np.abs(found - wanted) / allowed
    share = np.where(np.isnan(share), math.inf, share)
    at = np.unravel_index(int(share.argmax()), share.shape)
    where = f"position {at[0]} element {', '.join(str(int(i)) for i in at[1:])}"
    return TapError(
        layer, tap, float(share[at]), f"{where}: {found[at]:.0f} and not {wanted[at]:.3f} of the last place"
    )


def _real(matrix: QuantizedMatrix, rows: slice | npt.NDArray[np.int64]) -> Float64s:
    """Some rows of the weights that a ROM stands for."""
    scales = np.repeat(matrix.scales[rows].astype(np.float64), matrix.group_size, axis=1)
    found: Float64s = matrix.codes[rows] * scales[:, : matrix.cols] * 2.0**-matrix.exponent
    return found


def _product(x: Float64s, matrix: QuantizedMatrix) -> Float64s:
    """(T, cols) -> (T, rows); weights are made for some rows at a time."""
    return np.concatenate([x @ _real(matrix, rows).T for rows in row_blocks(*matrix.codes.shape)], axis=1)


def _turns(config: ModelConfig, count: int) -> tuple[Float64s, Float64s]:
    """Cosine and sine of positions and pairs, (count, head_dim / 2), as the table holds them: 14 fractional bits."""
    pairs = []
    for pair in range(config.head_dim // 2):
        speed = math.exp(-math.log(config.rope.theta) * 2 * pair / config.head_dim)  # radians a position
        scaling = config.rope.scaling
        if isinstance(scaling, LinearScaling):
            speed /= scaling.factor
        elif isinstance(scaling, FactorScaling):
            speed /= scaling.factors[pair]
        elif scaling is not None:
            turns = scaling.original_max_position_embeddings * speed / (2 * math.pi)
            low, high = scaling.low_freq_factor, scaling.high_freq_factor
            if turns < low:
                speed /= scaling.factor
            elif turns < high:
                kept = (turns - low) / (high - low)
                speed *= kept + (1 - kept) / scaling.factor
        pairs.append(speed)
    angle = np.outer(np.arange(count), np.array(pairs))
    scale = 2.0**_ROPE_FRAC
    return np.floor(np.cos(angle) * scale + 0.5) / scale, np.floor(np.sin(angle) * scale + 0.5) / scale
