"""The chip, recomputed by a third party who has the pages, the ROM images, an adapter's frame and a prompt, no more.

Written from docs/numerics.md (sections are named below), docs/rom-format.md and docs/adapters.md, "On the chip",
alone. It imports neither etchproof nor
models, and must not: it is here to tell whether the pages say enough, and whether the golden model does what they say.
All arithmetic is on Python integers, which do not overflow; numpy reads the image files. (The functions ``rope_...``
and ``llama3_frequency`` say how two images were made; they were added when the page came to say it.)
"""

from __future__ import annotations

import hashlib
import json
import math
import sys
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_FLOOR, Decimal, getcontext
from fractions import Fraction
from functools import cache
from pathlib import Path

import numpy as np

Vector = list[int]
Matrix = list[list[int]]
Taps = dict[
    tuple[int, str], list[Vector]
]  # (layer, tap) -> one vector per token; layer -1 outside the layers

getcontext().prec = 50
HALF = Decimal("0.5")

PROJECTIONS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
LAYER_WORDS = (
    *(f"{name}.{word}" for name in PROJECTIONS for word in ("shift", "bias_shift")),
    "attn_norm.shift",
    "mlp_norm.shift",
    "k_rope.shift",
    "softmax.shift",
    "attn_out.shift",
    "swiglu.gate_shift",
    "swiglu.shift",
    "o_proj.residual_shift",
    "down_proj.residual_shift",
)
TOP_WORDS = ("embedding.shift", "final_norm.shift", "lm_head.shift")


@dataclass(frozen=True)
class Facts:
    """What rom-format.md, "Which architecture constants a third party also needs", lists.

    Attributes:
        hidden .. eps: of config.json; ``eps`` is the decimal number written there.
        activation_bits, kv_bits: A and K of numerics.md section 1.
        tile_rows, tile_inputs: R and K of rom-format.md.
        groups: inputs that share a scale, by (layer, matrix), as the recipe says; None is a whole row.
    """

    hidden: int
    ffn: int
    vocab: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    eps: Decimal
    activation_bits: int
    kv_bits: int
    tile_rows: int
    tile_inputs: int
    groups: Mapping[tuple[int, str], int | None]


# ---------------------------------------------------------------------------------------------------------------------
# numerics.md section 1: primitives


def rs(x: int, n: int) -> int:
    """Round-shift: ties towards plus infinity."""
    assert 0 <= n <= 62
    return x if n == 0 else (x + (1 << (n - 1))) >> n


def sat(x: int, w: int) -> int:
    return max(-(1 << (w - 1)), min((1 << (w - 1)) - 1, x))


def bitlen(x: int) -> int:
    assert x >= 0
    return x.bit_length()


def nearest(x: Decimal) -> int:
    """floor(x + 1/2), by which all tables are made."""
    return int((x + HALF).to_integral_value(ROUND_FLOOR))


# ---------------------------------------------------------------------------------------------------------------------
# Tables and constants


@cache
def table_rsqrt() -> Vector:
    """Section 3.1."""
    return [nearest(2**14 / ((i + Decimal("64.5")) / 256).sqrt()) for i in range(192)]


@cache
def table_exp2() -> Vector:
    """Section 7.1."""
    return [nearest(2**24 * Decimal(2) ** (Decimal(-i) / 128)) for i in range(129)]


@cache
def table_recip() -> Vector:
    """Section 8.1."""
    return [nearest(2**14 / ((i + Decimal("128.5")) / 256)) for i in range(128)]


@cache
def table_sigmoid() -> Vector:
    """Section 9."""
    return [nearest(2**20 / (1 + (Decimal(-i) / 32).exp())) for i in range(513)]


@cache
def softmax_multiplier(head_dim: int) -> int:
    """SM of section 7."""
    real = 1 / Decimal(2).ln() / Decimal(head_dim).sqrt()
    kappa = next(k for k in range(64) if 2**15 <= nearest(real * 2**k) < 2**16)
    return nearest(real * 2**kappa)


def eps_term(hidden: int, eps: Decimal) -> int:
    """E of section 3."""
    return math.floor(hidden * Fraction(eps) * 2**32 + Fraction(1, 2))


def rope_table(positions: int, frequencies: Sequence[float]) -> tuple[Matrix, Matrix]:
    """COS and SIN of section 5: how the images were made, not what a tap is made from."""

    def fixed(function: Callable[[float], float]) -> Matrix:
        return [[math.floor(function(p * f) * 2**14 + 0.5) for f in frequencies] for p in range(positions)]

    return fixed(math.cos), fixed(math.sin)


def rope_frequencies(head_dim: int, theta: float) -> list[float]:
    """f_i of section 5, not scaled."""
    return [theta ** (-2 * i / head_dim) for i in range(head_dim // 2)]


def llama3_frequency(f: float, factor: float, low: float, high: float, original: int) -> float:
    """f_i of section 5, scaled as Llama 3 does."""
    turns = original * f / (2 * math.pi)
    kept = min(1.0, max(0.0, (turns - low) / (high - low)))
    return (1 - kept) * f / factor + kept * f


# ---------------------------------------------------------------------------------------------------------------------
# rom-format.md: the images


@dataclass(frozen=True)
class Rom:
    """One image: elements in row-major order, and its shape."""

    elements: Vector
    shape: tuple[int, ...]
    bits: int

    def at(self, *index: int) -> int:
        position = 0
        for i, n in zip(index, self.shape, strict=True):
            assert 0 <= i < n
            position = position * n + i
        return self.elements[position]


def read_roms(folder: Path) -> dict[tuple[int, str], Rom]:
    """ "Files": every image the manifest names, held to the hash it is named by."""
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["format"] == 1
    keys = [(entry["layer"], entry["name"]) for entry in manifest["images"]]
    assert keys == sorted(keys)
    roms = {}
    for key, entry in zip(keys, manifest["images"], strict=True):
        raw = (folder / entry["file"]).read_bytes()
        assert entry["file"] == hashlib.sha256(raw).hexdigest() + ".bin"
        assert entry["dtype"] in ("u1", "u2", "i2", "i4")
        elements = np.frombuffer(raw, dtype="<" + entry["dtype"]).tolist()
        rom = Rom(elements, tuple(entry["shape"]), entry["bits"])
        assert len(elements) == int(np.prod(rom.shape))
        if entry["dtype"] == "u1":
            assert all(element < 1 << rom.bits for element in elements)
        roms[key] = rom
    return roms


def rom_sha256(folder: Path) -> str:
    """ "Files": the hash of a set of images."""
    entries = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["images"]
    lines = [f"{entry['layer']} {entry['name']} {entry['file'].removesuffix('.bin')}\n" for entry in entries]
    return hashlib.sha256("".join(lines).encode("ascii")).hexdigest()


def _nonzero(elements: Sequence[int]) -> int:
    return sum(element != 0 for element in elements)


@dataclass(frozen=True)
class Linear:
    """A ROM matrix, unpacked: C[o][k], S[o][g], groups of G inputs, B[o] or None."""

    codes: Matrix
    scales: Matrix
    group: int
    bias: Vector | None


class Geometry:
    """ "Geometry": where the elements of vectors and matrices are in the images."""

    def __init__(self, facts: Facts, roms: Mapping[tuple[int, str], Rom]) -> None:
        self.facts = facts
        self.roms = roms
        self.lanes = facts.tile_rows
        self.inputs = facts.tile_inputs

    def blocks(self, n: int) -> int:
        return -(-n // self.lanes)

    def chunks(self, n: int) -> int:
        return -(-n // self.inputs)

    def group(self, layer: int, matrix: str, columns: int) -> int:
        """The padded group size G."""
        recipe = self.facts.groups[layer, matrix]
        if recipe is not None and recipe < columns:
            return recipe
        return self.chunks(columns) * self.inputs

    def vector(self, layer: int, name: str, n: int) -> Vector:
        """An image of blocks of lanes."""
        rom = self.roms[layer, name]
        assert rom.shape == (self.blocks(n), self.lanes)
        assert not any(rom.elements[n:]), "elements outside the vector are zero"
        return rom.elements[:n]

    def linear(self, layer: int, name: str, rows: int, columns: int) -> Linear:
        codes, scales = self.roms[layer, f"{name}.codes"], self.roms[layer, f"{name}.scales"]
        lanes, inputs, chunks = self.lanes, self.inputs, self.chunks(columns)
        group = self.group(layer, name, columns)
        assert codes.shape == (self.blocks(rows) * chunks, lanes, inputs)
        offset = 2 ** (codes.bits - 1)

        def code(o: int, k: int) -> int:
            return codes.at(o // lanes * chunks + k // inputs, o % lanes, k % inputs) - offset

        if group <= inputs:
            assert scales.shape == (self.blocks(rows) * chunks, lanes, inputs // group)
        else:
            assert scales.shape == (self.blocks(rows) * -(-chunks * inputs // group), lanes, 1)

        def scale(o: int, g: int) -> int:
            if group <= inputs:
                per_chunk = inputs // group
                return scales.at(o // lanes * chunks + g // per_chunk, o % lanes, g % per_chunk)
            return scales.at(o // lanes * -(-chunks * inputs // group) + g, o % lanes, 0)

        has_bias = (layer, f"{name}.bias") in self.roms
        matrix = [[code(o, k) for k in range(columns)] for o in range(rows)]
        steps = [[scale(o, g) for g in range(-(-columns // group))] for o in range(rows)]
        padding = sum(element != offset for element in codes.elements) - sum(map(_nonzero, matrix))
        assert padding == 0, "codes outside the matrix are zero"
        assert _nonzero(scales.elements) == sum(map(_nonzero, steps)), "elements outside the matrix are zero"
        return Linear(
            matrix,
            steps,
            group,
            self.vector(layer, f"{name}.bias", rows) if has_bias else None,
        )

    def embedding(self, token: int, shift: int) -> Vector:
        """Section 2 of numerics.md: C[t,k] and S[t,g] of one token."""
        hidden, lanes = self.facts.hidden, self.lanes
        codes, scales = self.roms[-1, "embed_tokens.codes"], self.roms[-1, "embed_tokens.scales"]
        group = self.group(-1, "embed_tokens", hidden)
        assert codes.shape == (self.facts.vocab, self.blocks(hidden), lanes)
        assert scales.shape == (self.facts.vocab, -(-self.blocks(hidden) * lanes // group))
        return [
            sat(
                rs(
                    scales.at(token, k // group)
                    * (codes.at(token, k // lanes, k % lanes) - 2 ** (codes.bits - 1)),
                    shift,
                ),
                32,
            )
            for k in range(hidden)
        ]

    def params(self, layer: int) -> dict[str, int]:
        words = TOP_WORDS if layer == -1 else LAYER_WORDS
        return dict(zip(words, self.roms[layer, "params"].elements, strict=True))


# ---------------------------------------------------------------------------------------------------------------------
# numerics.md sections 3 to 11: the units


def rms_norm(r: Vector, gains: Vector, e: int, shift: int, width: int) -> Vector:
    """Section 3."""
    m = max(abs(x) for x in r)
    s = max(0, bitlen(m) - 24)
    q = [rs(x, s) for x in r]
    v = max(1, sum(x * x for x in q) + (e >> (2 * s)))
    y, n = rsqrt(v)
    u = [rs(x * y, n // 2 - 1) for x in q]
    return [sat(rs(x * g, shift), width) for x, g in zip(u, gains, strict=True)]


def rsqrt(v: int) -> tuple[int, int]:
    """Section 3.1."""
    n = bitlen(v) + bitlen(v) % 2
    m = (v << 64) >> (32 + n)
    assert 2**30 <= m < 2**32
    y = table_rsqrt()[(m >> 24) - 64] << 14
    for _ in range(2):
        a = (y * y) >> 28
        b = (m * a) >> 32
        y = (y * (3 * 2**28 - b)) >> 29
    return y, n


def rom_linear(
    x: Vector, matrix: Linear, shift: int, bias_shift: int, width: int, more: Vector | None = None
) -> Vector:
    """Section 4; ``more`` is what section 14 adds to the accumulators."""
    y = []
    for o, (codes, scales) in enumerate(zip(matrix.codes, matrix.scales, strict=True)):
        acc = matrix.bias[o] << bias_shift if matrix.bias is not None else 0
        acc += more[o] if more is not None else 0
        for g, scale in enumerate(scales):
            group = slice(g * matrix.group, (g + 1) * matrix.group)
            acc += scale * sum(c * v for c, v in zip(codes[group], x[group], strict=True))
        y.append(sat(rs(acc, shift), width))
    return y


def rope(a: Vector, head_dim: int, cos: Vector, sin: Vector, shift: int, width: int) -> Vector:
    """Section 5, head after head."""
    y = [0] * len(a)
    half = head_dim // 2
    for head in range(0, len(a), head_dim):
        for i in range(half):
            low, high, c, s = a[head + i], a[head + i + half], cos[i], sin[i]
            y[head + i] = sat(rs(low * c - high * s, shift), width)
            y[head + i + half] = sat(rs(high * c + low * s, shift), width)
    return y


def exp2n(z: int) -> int:
    """Section 7.1."""
    table = table_exp2()
    n = min(z >> 16, 31)
    i, low = (z % 2**16) >> 9, z % 2**9
    t = table[i] - rs((table[i] - table[i + 1]) * low, 9)
    return rs(t, 4 + n)


def scores(q: Vector, keys: Sequence[Vector], facts: Facts) -> Matrix:
    """Section 7: s[t][h]."""
    d = facts.head_dim
    shared = facts.heads // facts.kv_heads
    return [
        [sum(q[h * d + j] * key[h // shared * d + j] for j in range(d)) for h in range(facts.heads)]
        for key in keys
    ]


def softmax(s: Matrix, facts: Facts, shift: int) -> Matrix:
    """Section 7: the weights w[t][h]."""
    sm = softmax_multiplier(facts.head_dim)
    m = [max(row[h] for row in s) for h in range(facts.heads)]
    return [[exp2n(rs((m[h] - row[h]) * sm, shift)) for h in range(facts.heads)] for row in s]


def recip(total: int) -> tuple[int, int]:
    """Section 8.1."""
    b = bitlen(total)
    m = (total << 32) >> b
    assert 2**31 <= m < 2**32
    y = table_recip()[(m >> 24) - 128] << 14
    for _ in range(2):
        a = (m * y) >> 32
        y = (y * (2 * 2**28 - a)) >> 28
    return y, b


def attention_output(w: Matrix, values: Sequence[Vector], facts: Facts, shift: int) -> Vector:
    """Section 8."""
    d, shared = facts.head_dim, facts.heads // facts.kv_heads
    out = []
    for h in range(facts.heads):
        y, b = recip(sum(row[h] for row in w))
        for j in range(d):
            acc = sum(row[h] * value[h // shared * d + j] for row, value in zip(w, values, strict=True))
            out.append(sat(rs(rs(acc, b - 18) * y, shift), facts.activation_bits))
    return out


def swiglu(gate: Vector, up: Vector, gate_shift: int, shift: int, width: int) -> Vector:
    """Section 9."""
    table = table_sigmoid()
    h = []
    for g, u in zip(gate, up, strict=True):
        a = min(abs(g) << gate_shift, 2**20 - 1)
        i, low = a >> 11, a % 2**11
        t = table[i] + rs((table[i + 1] - table[i]) * low, 11)
        sigma = t if g >= 0 else 2**20 - t
        h.append(sat(rs(g * sigma * u, shift), width))
    return h


def residual(r: Vector, y: Vector, shift: int) -> Vector:
    """Section 10."""
    return [sat(x + (z << shift), 32) for x, z in zip(r, y, strict=True)]


def greedy(logits: Vector) -> int:
    """Section 11."""
    return logits.index(max(logits))


# ---------------------------------------------------------------------------------------------------------------------
# numerics.md section 14: adapters, and how one is written to the load port (adapters.md, "On the chip")


@dataclass(frozen=True)
class Lora:
    """One linear of an adapter: a (r x inputs), b (outputs x r)."""

    a: Matrix
    b: Matrix
    a_shift: int
    b_shift: int

    def products(self, x: Vector) -> tuple[Vector, Vector]:
        """h and d of section 14."""
        h = [sat(rs(sum(c * v for c, v in zip(row, x, strict=True)), self.a_shift), 16) for row in self.a]
        return h, [sum(c * v for c, v in zip(row, h, strict=True)) for row in self.b]


def read_frame(
    words: Sequence[int], shapes: Mapping[str, tuple[int, int]], lanes: int
) -> tuple[int, dict[tuple[int, str], Lora]]:
    """The slot and the linears, by layer and name, of a frame of 32-bit words; ``shapes`` are (outputs, inputs)."""
    magic, slot, length = words[:3]
    assert magic == int.from_bytes(b"LORA", "little")
    assert len(words) == length + 4
    raw = b"".join(word.to_bytes(4, "little") for word in words[:-1])
    assert zlib.crc32(raw) == words[-1]
    found: dict[tuple[int, str], Lora] = {}
    at = 3

    def elements(count: int) -> Vector:
        """Two of 16 bits in a word, the low half first."""
        nonlocal at
        halves = [half for word in words[at : at + count // 2] for half in (word & 0xFFFF, word >> 16)]
        at += count // 2
        return [half - ((half >> 15) << 16) for half in halves]  # two's complement

    while at < length + 3:
        head, shifts = words[at], words[at + 1]
        at += 2
        name, rank, layer = PROJECTIONS[head >> 24], head >> 16 & 0xFF, head & 0xFFFF
        outputs, inputs = shapes[name]
        in_blocks, out_blocks = -(-inputs // lanes), -(-outputs // lanes)
        a = []
        for _ in range(rank):
            row = elements(in_blocks * lanes)
            assert not any(row[inputs:]), "elements outside the matrix are zero"
            a.append(row[:inputs])
        b: Matrix = [[] for _ in range(out_blocks * lanes)]
        for block in range(out_blocks):
            for _ in range(rank):
                for lane, value in enumerate(elements(lanes)):
                    b[block * lanes + lane].append(value)
        assert not any(value for row in b[outputs:] for value in row), "elements outside the matrix are zero"
        assert (layer, name) not in found
        assert shifts >> 16 == 0
        found[layer, name] = Lora(a, b[:outputs], shifts & 0xFF, shifts >> 8)
    assert at == length + 3
    return slot, found


# ---------------------------------------------------------------------------------------------------------------------
# The chip


class Chip:
    """All layers, and the key/value cache of section 6; one sequence, with the adapter of a frame or none."""

    def __init__(self, folder: Path, facts: Facts, frame: Sequence[int] | None = None) -> None:
        self.facts = facts
        self.roms = read_roms(folder)
        self.geometry = geometry = Geometry(facts, self.roms)
        hidden, ffn, d = facts.hidden, facts.ffn, facts.head_dim
        shapes = {
            "q_proj": (facts.heads * d, hidden),
            "k_proj": (facts.kv_heads * d, hidden),
            "v_proj": (facts.kv_heads * d, hidden),
            "o_proj": (hidden, facts.heads * d),
            "gate_proj": (ffn, hidden),
            "up_proj": (ffn, hidden),
            "down_proj": (hidden, ffn),
        }
        self.loras = {} if frame is None else read_frame(frame, shapes, facts.tile_rows)[1]
        self.linears = {
            (layer, name): geometry.linear(layer, name, *shape)
            for layer in range(facts.layers)
            for name, shape in shapes.items()
        }
        self.head = geometry.linear(-1, "lm_head", facts.vocab, hidden)
        self.gains = {
            (layer, name): geometry.vector(layer, f"{name}.gains", hidden)
            for layer in range(facts.layers)
            for name in ("attn_norm", "mlp_norm")
        }
        self.gains[-1, "final_norm"] = geometry.vector(-1, "final_norm.gains", hidden)
        self.words = {layer: geometry.params(layer) for layer in range(-1, facts.layers)}
        self.e = eps_term(hidden, facts.eps)
        self.keys: list[list[Vector]] = [[] for _ in range(facts.layers)]
        self.values: list[list[Vector]] = [[] for _ in range(facts.layers)]
        self.taps: Taps = {}

    def run(self, tokens: Sequence[int]) -> Taps:
        for position, token in enumerate(tokens):
            self._token(position, token)
        return self.taps

    def _tap(self, layer: int, name: str, vector: Vector) -> Vector:
        self.taps.setdefault((layer, name), []).append(vector)
        return vector

    def _token(self, position: int, token: int) -> None:
        width, words = self.facts.activation_bits, self.words[-1]
        r = self._tap(-1, "embedding", self.geometry.embedding(token, words["embedding.shift"]))
        for layer in range(self.facts.layers):
            r = self._layer(layer, position, r)
        x = rms_norm(r, self.gains[-1, "final_norm"], self.e, words["final_norm.shift"], width)
        self._tap(-1, "final_norm", x)
        logits = self._tap(-1, "logits", rom_linear(x, self.head, words["lm_head.shift"], 0, 16))
        self._tap(-1, "token", [greedy(logits)])

    def _layer(self, layer: int, position: int, r: Vector) -> Vector:
        facts, words = self.facts, self.words[layer]
        a, k_bits, d = facts.activation_bits, facts.kv_bits, facts.head_dim

        def norm(name: str, x: Vector) -> Vector:
            shift = words[f"{name}.shift"]
            return self._tap(layer, name, rms_norm(x, self.gains[layer, name], self.e, shift, a))

        def linear(name: str, x: Vector, width: int) -> Vector:
            shift, bias_shift = words[f"{name}.shift"], words[f"{name}.bias_shift"]
            more = None
            if (layer, name) in self.loras:
                lora = self.loras[layer, name]
                h, d = lora.products(x)
                self._tap(layer, f"{name}.lora_a", h)
                self._tap(layer, f"{name}.lora_b", d)
                more = [value << lora.b_shift for value in d]
            y = rom_linear(x, self.linears[layer, name], shift, bias_shift, width, more)
            return self._tap(layer, name, y)

        x = norm("attn_norm", r)
        q, k, v = linear("q_proj", x, a), linear("k_proj", x, a), linear("v_proj", x, k_bits)
        pairs = slice(position * (d // 2), (position + 1) * (d // 2))
        cos, sin = (self.roms[-1, name].elements[pairs] for name in ("rope.cos", "rope.sin"))
        q = self._tap(layer, "q_rope", rope(q, d, cos, sin, 14, a))
        k = self._tap(layer, "k_rope", rope(k, d, cos, sin, words["k_rope.shift"], k_bits))
        self.keys[layer].append(k)  # section 6
        self.values[layer].append(v)
        s = scores(q, self.keys[layer], facts)
        self._tap(layer, "scores", [value for row in s for value in row])
        w = softmax(s, facts, words["softmax.shift"])
        self._tap(layer, "softmax", [value for row in w for value in row])
        o = attention_output(w, self.values[layer], facts, words["attn_out.shift"])
        self._tap(layer, "attn_out", o)
        y = linear("o_proj", o, a)
        r = self._tap(layer, "attn_residual", residual(r, y, words["o_proj.residual_shift"]))
        x = norm("mlp_norm", r)
        gate, up = linear("gate_proj", x, a), linear("up_proj", x, a)
        h = swiglu(gate, up, words["swiglu.gate_shift"], words["swiglu.shift"], a)
        self._tap(layer, "swiglu", h)
        y = linear("down_proj", h, a)
        return self._tap(layer, "mlp_residual", residual(r, y, words["down_proj.residual_shift"]))


def recompute(folder: Path, facts: Facts, tokens: Sequence[int], frame: Sequence[int] | None = None) -> Taps:
    """Every tap of every token, from the images in ``folder`` and the frame of an adapter."""
    return Chip(folder, facts, frame).run(tokens)


# ---------------------------------------------------------------------------------------------------------------------
# A run's folder (cli.md, "The run folder")


def facts_of(folder: Path) -> Facts:
    """rom-format.md, "Which architecture constants a third party also needs", from the folder's ``model/``."""
    config = json.loads((folder / "model" / "config.json").read_text(encoding="utf-8"), parse_float=Decimal)
    recipe = json.loads((folder / "model" / "recipe.json").read_text(encoding="utf-8"))
    layers, heads = config["num_hidden_layers"], config["num_attention_heads"]
    modules = {(-1, "embed_tokens"): "model.embed_tokens", (-1, "lm_head"): "lm_head"}
    for layer in range(layers):
        for name in PROJECTIONS:
            block = "self_attn" if name in PROJECTIONS[:4] else "mlp"
            modules[layer, name] = f"model.layers.{layer}.{block}.{name}"
    return Facts(
        hidden=config["hidden_size"],
        ffn=config["intermediate_size"],
        vocab=config["vocab_size"],
        layers=layers,
        heads=heads,
        kv_heads=config.get("num_key_value_heads") or heads,
        head_dim=config.get("head_dim") or config["hidden_size"] // heads,
        eps=Decimal(config.get("rms_norm_eps", Decimal("1e-6"))),
        activation_bits=recipe["activation_bits"],
        kv_bits=recipe["kv_bits"],
        tile_rows=recipe["tile"]["rows"],
        tile_inputs=recipe["tile"]["inputs"],
        groups={key: recipe["formats"][module]["group_size"] for key, module in modules.items()},
    )


def recompute_run(folder: Path) -> list[Taps]:
    """Every tap of each sequence that ``run.json`` records; the chip's choices must be those that it records."""
    run = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    facts = facts_of(folder)
    assert rom_sha256(folder / "rom") == run["rom_sha256"], "the images are not the run's"
    sequences = []
    for sequence in run["sequences"]:
        frame = None
        if sequence["adapter"] is not None:
            index = sequence["adapter"]
            file = folder / "adapters" / f"{index}.slot{run['adapters'][index]['slot']}.bin"
            frame = np.frombuffer(file.read_bytes(), dtype="<u4").tolist()
        prompt, generated = sequence["prompt_tokens"], sequence["generated_tokens"]
        taps = recompute(folder / "rom", facts, [*prompt, *generated[:-1]], frame)
        chosen = [token for (token,) in taps[-1, "token"]][len(prompt) - 1 :]
        assert chosen == generated, f"the chip chose {generated}, the book {chosen}"
        elements = sum(len(vector) for vectors in taps.values() for vector in vectors)
        assert elements == sequence["elements_compared"], "other taps were compared"
        sequences.append(taps)
    return sequences


def compare_dump(sequences: Sequence[Taps], dump: Path) -> int:
    """Hold the chip's side of a dump (taps.md, "Kept taps") against the book; returns the number of elements."""
    compared = 0
    with np.load(dump) as arrays:
        for name in arrays.files:
            if name.startswith("chip."):
                _, number, layer, tap = name.split(".", 3)
                expected = [x for vector in sequences[int(number)][int(layer), tap] for x in vector]
                assert arrays[name].reshape(-1).tolist() == expected, f"{name} differs"
                compared += len(expected)
    return compared


def main(arguments: Sequence[str]) -> int:
    """Recompute a run from its folder; with the file of ``--dump-taps``, hold every element of the chip against it."""
    folder, *dumps = map(Path, arguments)
    sequences = recompute_run(folder)
    count = sum(len(vector) for taps in sequences for vectors in taps.values() for vector in vectors)
    print(f"{count} elements recomputed; the tokens are those of run.json")
    for dump in dumps:
        compared = compare_dump(sequences, dump)
        assert compared == count, f"the dump has {compared} elements"
        print(f"{compared} elements of the chip are the same")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
