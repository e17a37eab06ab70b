"""Calibration text, ``e``, ``eg`` and every ``frac``, recomputed by a third party with the page and a checkpoint.

Written from docs/numerics.md, section 12, alone. It imports neither etchproof, models nor torch, and must not: it is
here to tell whether the page says enough. The float model is float64 in numpy, one sequence per row.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

LINEARS = {
    **{name: f"self_attn.{name}" for name in ("q_proj", "k_proj", "v_proj", "o_proj")},
    **{name: f"mlp.{name}" for name in ("gate_proj", "up_proj", "down_proj")},
}


@dataclass(frozen=True)
class Asked:
    """What a recipe says that section 12 needs; ``formats`` has (bits, group size) by Hugging Face module name."""

    formats: Mapping[str, tuple[int, int]]
    activation_bits: int = 16
    kv_bits: int = 16
    context: int = 512
    headroom: float = 2.0
    source: str = "sampled"
    sequences: int = 16
    length: int = 128
    seed: int = 1


@dataclass
class FloatModel:
    """The checkpoint in float64, and keys and values of the positions so far."""

    config: Mapping[str, Any]
    weights: Mapping[str, Floats]
    largest: dict[tuple[int, str], float] = field(default_factory=dict)
    cache: dict[int, tuple[list[Floats], list[Floats]]] = field(default_factory=dict)

    def see(self, layer: int, tap: str, value: Floats) -> None:
        self.largest[layer, tap] = max(self.largest.get((layer, tap), 0.0), float(np.abs(value).max()))

    def step(self, tokens: Ints, position: int) -> Floats:
        """Logits (rows, V) of one token of every row; the magnitudes of all taps are noted."""
        config, weights = self.config, self.weights
        heads, d = config["num_attention_heads"], config["head_dim"]
        kv_heads = config["num_key_value_heads"]
        theta, half = config["rope_theta"], d // 2
        angle = np.array([position * theta ** (-2 * i / d) for i in range(half)])
        cos, sin = np.cos(angle), np.sin(angle)

        def rope(x: Floats) -> Floats:
            low, high = x[..., :half], x[..., half:]
            return np.concatenate([low * cos - high * sin, high * cos + low * sin], axis=-1)

        def norm(x: Floats, name: str) -> Floats:
            mean = (x * x).mean(axis=-1, keepdims=True)
            result: Floats = x / np.sqrt(mean + config["rms_norm_eps"]) * weights[f"{name}.weight"]
            return result

        r = weights["model.embed_tokens.weight"][tokens]  # (rows, H)
        self.see(-1, "embedding", r)
        for layer in range(config["num_hidden_layers"]):
            prefix = f"model.layers.{layer}"

            def linear(x: Floats, name: str, layer: int = layer, prefix: str = prefix) -> Floats:
                y: Floats = x @ weights[f"{prefix}.{LINEARS[name]}.weight"].T
                bias = weights.get(f"{prefix}.{LINEARS[name]}.bias")
                y = y if bias is None else y + bias
                self.see(layer, name, y)
                return y

            x = norm(r, f"{prefix}.input_layernorm")
            self.see(layer, "attn_norm", x)
            q, k, v = (linear(x, name) for name in ("q_proj", "k_proj", "v_proj"))
            q, k = rope(q.reshape(len(tokens), heads, d)), rope(k.reshape(len(tokens), kv_heads, d))
            self.see(layer, "q_rope", q)
            self.see(layer, "k_rope", k)
            keys, values = self.cache.setdefault(layer, ([], []))
            keys.append(k)
            values.append(v.reshape(len(tokens), kv_heads, d))
            out = np.empty((len(tokens), heads, d))
            every_key, every_value = (
                np.stack(keys, axis=1),
                np.stack(values, axis=1),
            )  # (rows, t, kv_heads, D)
            for h in range(heads):
                shared = h // (heads // kv_heads)
                s = np.einsum("bd,btd->bt", q[:, h], every_key[:, :, shared]) / math.sqrt(d)
                w = np.exp(s - s.max(axis=1, keepdims=True))
                w /= w.sum(axis=1, keepdims=True)
                out[:, h] = np.einsum("bt,btd->bd", w, every_value[:, :, shared])
            attended = out.reshape(len(tokens), heads * d)
            self.see(layer, "attn_out", attended)
            r = r + linear(attended, "o_proj")
            self.see(layer, "attn_residual", r)
            x = norm(r, f"{prefix}.post_attention_layernorm")
            self.see(layer, "mlp_norm", x)
            gate, up = linear(x, "gate_proj"), linear(x, "up_proj")
            with np.errstate(over="ignore"):  # exp of a large number is infinite, and the quotient then 0
                hidden = gate / (1 + np.exp(-gate)) * up
            self.see(layer, "swiglu", hidden)
            r = r + linear(hidden, "down_proj")
            self.see(layer, "mlp_residual", r)
        x = norm(r, "model.norm")
        self.see(-1, "final_norm", x)
        logits: Floats = x @ weights["lm_head.weight"].T
        self.see(-1, "logits", logits)
        return logits


def read_checkpoint(folder: Path) -> tuple[dict[str, Any], dict[str, Floats]]:
    """``config.json`` with the EOS ids that count, and the float32 tensors of ``model.safetensors`` in float64."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    generation = folder / "generation_config.json"
    if generation.exists():
        eos = json.loads(generation.read_text(encoding="utf-8")).get("eos_token_id")
        config["eos_token_id"] = config.get("eos_token_id", 2) if eos is None else eos
    raw = (folder / "model.safetensors").read_bytes()
    size = int.from_bytes(raw[:8], "little")
    weights = {}
    for name, entry in json.loads(raw[8 : 8 + size]).items():
        if name == "__metadata__":
            continue
        assert entry["dtype"] == "F32"
        first, last = entry["data_offsets"]
        tensor = np.frombuffer(raw[8 + size + first : 8 + size + last], dtype="<f4").reshape(entry["shape"])
        weights[name] = tensor.astype(np.float64)
    if config["tie_word_embeddings"]:
        weights["lm_head.weight"] = weights["model.embed_tokens.weight"]
    return config, weights


def calibrate(
    config: Mapping[str, Any], weights: Mapping[str, Floats], asked: Asked
) -> tuple[Ints, dict[tuple[int, str], float]]:
    """Section 12.2: the text (sequences, n), and the largest magnitude of each tap over it."""
    n = min(asked.length, asked.context, config["max_position_embeddings"])
    bos, eos, vocab = config.get("bos_token_id", 1), config.get("eos_token_id", 2), config["vocab_size"]
    first = 0 if bos is None else bos
    banned = [first, *(eos if isinstance(eos, list) else [] if eos is None else [eos])]
    random = np.random.Generator(np.random.PCG64(asked.seed))
    text = np.full((asked.sequences, n), first, dtype=np.int64)
    sampled = asked.source == "sampled"
    u = random.random((asked.sequences, n - 1 if sampled else n))
    if not sampled:
        text[:, 1:] = np.floor(u * vocab)[:, 1:]
    model = FloatModel(config, weights)
    for t in range(n):
        logits = model.step(text[:, t], t)
        if sampled and t + 1 < n:
            logits[:, banned] = -math.inf
            p = np.exp(logits - logits.max(axis=1, keepdims=True))
            p /= p.sum(axis=1, keepdims=True)
            total = np.cumsum(p, axis=1)
            below = np.minimum(u[:, t] * total[:, -1], np.nextafter(total[:, -1], 0))
            text[:, t + 1] = (total <= below[:, None]).sum(axis=1)
    return text, model.largest


def exponent(weight: Floats, bits: int) -> int:
    """``e`` of a matrix that is rounded to nearest: that of its largest magnitude, whatever the groups."""
    scale = float(np.abs(weight).max()) / (2 ** (bits - 1) - 1)
    return next(e for e in range(46, -17, -1) if scale * 2.0**e < 65535.5)


def gain_exponent(gain: Floats) -> int:
    """``eg``."""
    scaled = float(np.abs(gain).max()) * math.sqrt(len(gain))
    return next(e for e in range(30, -17, -1) if scaled * 2.0**e < 2**15 - 0.5)


def kappa(head_dim: int) -> int:
    """Section 7."""
    real = math.log2(math.e) / math.sqrt(head_dim)
    return next(k for k in range(64) if 2**15 <= math.floor(real * 2**k + 0.5) < 2**16)


def want(width: int, a: float, headroom: float) -> int:
    """Section 12.1, the first step; the ceiling of the logarithm is that of an exact fraction."""
    if a == 0:
        return 24
    value, power = Fraction(headroom * a), -1100
    while Fraction(2) ** power < value:
        power += 1
    return min(max(width - 1 - power, -8), 24)


def fracs(
    config: Mapping[str, Any],
    asked: Asked,
    largest: Mapping[tuple[int, str], float],
    e: Mapping[str, int],
    eg: Mapping[str, int],
) -> dict[tuple[int, str], int]:
    """Section 12.1, the second step; ``e`` by module, ``eg`` by the norm's module."""
    found: dict[tuple[int, str], int] = {}

    def take(layer: int, tap: str, width: int, *spans: tuple[int, int], also: tuple[str, ...] = ()) -> int:
        low, high = max(span[0] for span in spans), min(span[1] for span in spans)
        assert low <= high, "refused"
        a = max(largest[layer, name] for name in (tap, *also))
        found[layer, tap] = min(max(want(width, a, asked.headroom), low), high)
        return found[layer, tap]

    def below(total: int) -> tuple[int, int]:
        return total - 62, total

    wide, kv = asked.activation_bits, asked.kv_bits
    for layer in range(config["num_hidden_layers"]):
        prefix = f"model.layers.{layer}"
        of = {name: e[f"{prefix}.{module}"] for name, module in LINEARS.items()}
        x = take(layer, "attn_norm", wide, below(29 + eg[f"{prefix}.input_layernorm"]))
        q = take(layer, "q_proj", wide, below(of["q_proj"] + x), also=("q_rope",))
        k = take(layer, "k_proj", wide, below(of["k_proj"] + x))
        v = take(layer, "v_proj", kv, below(of["v_proj"] + x))
        power = kappa(config["head_dim"])
        take(layer, "k_rope", kv, below(14 + k), (16 - power - q, 78 - power - q))
        out = take(layer, "attn_out", wide, below(46 + v))
        take(layer, "o_proj", wide, below(of["o_proj"] + out), (-15, 16))
        x = take(layer, "mlp_norm", wide, below(29 + eg[f"{prefix}.post_attention_layernorm"]))
        gate = take(layer, "gate_proj", wide, below(of["gate_proj"] + x), (-8, 16))
        up = take(layer, "up_proj", wide, below(of["up_proj"] + x))
        h = take(layer, "swiglu", wide, below(20 + gate + up))
        take(layer, "down_proj", wide, below(of["down_proj"] + h), (-15, 16))
    x = take(-1, "final_norm", wide, below(29 + eg["model.norm"]))
    take(-1, "logits", 16, below(e["lm_head"] + x))
    return found
