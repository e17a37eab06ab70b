"""The golden model: numerics.md in NumPy. Arrays are float32, also of numbers that the chip stores as bfloat16."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from model import CONTEXT, HEAD_DIM, HEADS, KV_HEADS, LAYERS, Array, Model, angles, bf16, number

from etchproof.contract.golden import Given, Told, unchanged


def flushed(result: Array) -> Array:
    """Of the multiplier and the adder: a result below the least normal number is 0, and 0 is positive."""
    return np.where(np.abs(result) < np.float32(2.0**-126), np.float32(0), result)


def rounded(result: Array) -> Array:
    """The nearest numbers that bfloat16 has."""
    return number(bf16(flushed(result)))


def dot(rows: Array, vector: Array) -> Array:
    """Sums of products over the last axis, in its order."""
    products = flushed(rows * vector)
    total = np.zeros(products.shape[:-1], np.float32)
    for k in range(products.shape[-1]):
        total = flushed(total + products[..., k])
    return total


def exp(x: Array) -> Array:
    """exp(-|x|), whose nearest number the chip finds in a table; likewise reciprocals and roots."""
    return rounded(np.exp(-np.abs(x), dtype=np.float64))


EPSILON, SCALE = (rounded(np.array(value)) for value in (1e-6, HEAD_DIM**-0.5))


class Session:
    """Sequences of tokens, one at a time; keys and values of the one that is open are kept."""

    def __init__(self, model: Model) -> None:
        self._weights = {name: number(bits) for name, bits in model.weights.items()}
        self._angles = np.tile(number(angles()), 2)
        self._keys, self._values = np.zeros((2, len(LAYERS), CONTEXT, KV_HEADS, HEAD_DIM), np.float32)
        self._at = 0  # position of the next token

    def predict(
        self, tokens: Sequence[int], first: bool, given: Given = unchanged
    ) -> dict[tuple[int, str], list[Array]]:
        """Every tap of consecutive tokens; bfloat16 as its bits."""
        self._at, self._given = 0 if first else self._at, given
        each = [self._token(int(token)) for token in tokens]
        return {key: [taps[key] for taps in each] for key in each[0]}

    def _token(self, token: int) -> dict[tuple[int, str], Array]:
        taps = {n: Told(self._given, n) for n in (-1, *LAYERS)}
        taps[-1]["embedding"] = self._weights["embed_tokens"][token]
        hidden = taps[-1]["embedding"]
        for n in LAYERS:
            self._layer(taps[n], f"layers.{n}.", self._keys[n], self._values[n], hidden)
            hidden = taps[n]["mlp_residual"]
        taps[-1]["final_norm"] = self._norm("norm", hidden)
        taps[-1]["logits"] = dot(self._weights["embed_tokens"], taps[-1]["final_norm"])
        taps[-1]["token"] = np.array([taps[-1]["logits"].argmax()], np.uint16)  # the first of equal ones
        self._at += 1
        flat = {(n, name): v.ravel() for n, inside in taps.items() for name, v in inside.items()}
        return {k: v if k[1] in ("scores", "logits", "token") else bf16(v) for k, v in flat.items()}

    def _layer(self, t: Told, layer: str, keys: Array, values: Array, hidden: Array) -> None:
        t["attn_norm"] = self._norm(layer + "input_layernorm", hidden)
        for name in ("q", "k", "v"):
            product = rounded(dot(self._weights[f"{layer}self_attn.{name}_proj"], t["attn_norm"]))
            t[f"{name}_proj"] = product.reshape(-1, HEAD_DIM)
        for name in ("q", "k"):
            t[f"{name}_norm"] = self._norm(f"{layer}self_attn.{name}_norm", t[f"{name}_proj"])
            t[f"{name}_rope"] = self._rotated(t[f"{name}_norm"])
        keys[self._at], values[self._at] = t["k_rope"], t["v_proj"]
        k, v = (kept[: self._at + 1].repeat(HEADS // KV_HEADS, axis=1) for kept in (keys, values))
        t["scores"] = dot(k, t["q_rope"])  # rows of positions, heads side by side
        t["softmax"] = self._softmax(t["scores"])
        t["attn_out"] = rounded(dot(v.transpose(1, 2, 0), t["softmax"].T[:, None]))
        t["o_proj"] = rounded(dot(self._weights[layer + "self_attn.o_proj"], t["attn_out"].ravel()))
        t["attn_residual"] = rounded(hidden + t["o_proj"])
        t["mlp_norm"] = self._norm(layer + "post_attention_layernorm", t["attn_residual"])
        t["gate_proj"] = rounded(dot(self._weights[layer + "mlp.gate_proj"], t["mlp_norm"]))
        t["up_proj"] = rounded(dot(self._weights[layer + "mlp.up_proj"], t["mlp_norm"]))
        t["swiglu"] = rounded(rounded(t["gate_proj"] * self._sigmoid(t["gate_proj"])) * t["up_proj"])
        t["down_proj"] = rounded(dot(self._weights[layer + "mlp.down_proj"], t["swiglu"]))
        t["mlp_residual"] = rounded(t["attn_residual"] + t["down_proj"])

    def _norm(self, name: str, rows: Array) -> Array:
        mean = flushed(rounded(dot(rows, rows)) / np.float32(rows.shape[-1]))
        root = rounded(mean + EPSILON).astype(np.float64)[..., None] ** 0.5
        return rounded(rounded(rows * rounded(1 / root)) * self._weights[name])

    def _rotated(self, rows: Array) -> Array:
        one, other = np.split(rows, 2, axis=-1)
        partners = np.concatenate([-other, one], axis=-1)
        return rounded(dot(np.stack([rows, partners], axis=-1), self._angles[self._at].T))

    def _softmax(self, scores: Array) -> Array:
        shares = exp(rounded(rounded(scores - scores.max(axis=0)) * SCALE))
        total = rounded(dot(shares.T, np.ones(len(scores), np.float32)))
        return rounded(shares * rounded(np.float64(1) / total))

    def _sigmoid(self, x: Array) -> Array:
        share = rounded(np.float64(1) / rounded(1 + exp(x)))
        return np.where(x < 0, rounded(exp(x) * share), share)
