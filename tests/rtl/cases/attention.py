"""ep_attention against the golden's softmax and normalization (docs/numerics.md sections 6 to 8)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from etchproof.render.images import Image
from models.numerics import ops, tables
from tests.rtl.harness import Case, Integers, Stimulus, ctl, lanes


@dataclass(frozen=True)
class Shape:
    name: str
    heads: int
    kv_heads: int
    dim: int
    context: int
    lanes: int
    act: int = 16
    kv: int = 16
    spare_blocks: int = 0

    @property
    def lengths(self) -> tuple[int, ...]:
        """Sequences one after the other, the first to the last position."""
        t = self.context
        return (t, 1, max(1, t // 2), t, t, t, max(1, t - 1), t)


SHAPES = (
    Shape("mha", 3, 3, 6, 11, 4),
    Shape("gqa", 4, 2, 10, 24, 8, spare_blocks=1),
    Shape("mqa-kv8", 5, 1, 6, 7, 4, kv=8),
    Shape("a8-kv8", 4, 2, 8, 16, 16, act=8, kv=8),
    Shape("context-of-1", 2, 1, 4, 1, 8),
    Shape("one-head-odd-dim", 1, 1, 3, 5, 16),
    Shape("long", 8, 4, 8, 70, 16),
)

SOFTMAX_SHIFTS = (28, 26, 30, 34, 0, 40, 62, 23)  # at 16 bits; 8 less for each operand of 8 bits


@dataclass(frozen=True)
class Sequences:
    """Vectors of a shape: (count, heads, dim) and so on, and the words of ctl."""

    q: Integers
    k: Integers
    v: Integers
    words: list[tuple[int, int, int]]


def drawn(shape: Shape, draw: np.random.Generator) -> Sequences:
    """Random sequences, then flat (equal scores), dominated (one key far above all others), both ends."""
    q, k, v, words = [], [], [], []
    for number, length in enumerate(shape.lengths):
        a, b = 1 << (shape.act - 1), 1 << (shape.kv - 1)
        sq = draw.integers(-a, a, (length, shape.heads, shape.dim))
        sk = draw.integers(-b, b, (length, shape.kv_heads, shape.dim))
        sv = draw.integers(-b, b, (length, shape.kv_heads, shape.dim))
        if number == 3:  # flat
            sk[:] = sk[:1]
        elif number == 4:  # dominated, at a position in the middle
            sq[:] = np.where(sq[:1, :1] < 0, -a, a - 1)
            sk //= 64
            sk[length // 2] = np.where(sq[0, :1] < 0, -b, b - 1)
        elif number == 5:  # both ends
            sq, sk, sv = (np.where(x < 0, -end, end - 1) for x, end in ((sq, a), (sk, b), (sv, b)))
        elif number == 6:  # the largest score of all, and its opposite
            sq[:], sk[:], sv[:] = -a, -b, -b
            sk[1::2] = b - 1
        elif number == 7:  # small
            sq, sk, sv = sq >> shape.act // 3, sk >> shape.kv // 3, sv >> shape.kv // 2
        soft = max(0, SOFTMAX_SHIFTS[number] - (16 - shape.act) - (16 - shape.kv))
        fit = 46 + shape.kv - shape.act
        for pos in range(length):
            words.append((pos, soft, (fit, fit - 3, fit + 2, 62, 0)[pos % 5 if number else 0]))
        q.append(sq), k.append(sk), v.append(sv)
    return Sequences(*(np.concatenate(part).astype(np.int64) for part in (q, k, v)), words)


@dataclass(frozen=True)
class Token:
    """One vector's results: (S, N) scores and weights, (N, D) output, and what came before its division."""

    scores: Integers
    weights: Integers
    y: Integers
    delta: Integers  # z of section 7, (N, S)
    total: Integers  # (N,)


def golden(shape: Shape, sequences: Sequences) -> list[Token]:
    """Every token by the golden's operations."""
    scale, _ = tables.softmax_scale(shape.dim)
    groups = shape.heads // shape.kv_heads
    result, start = [], 0
    for vector, (pos, soft, out) in enumerate(sequences.words):
        start = vector if pos == 0 else start
        keys = np.repeat(sequences.k[start : vector + 1], groups, axis=1)  # (S, N, D)
        values = np.repeat(sequences.v[start : vector + 1], groups, axis=1)
        scores = np.einsum("nd,snd->ns", sequences.q[vector], keys)
        visible = torch.ones(1, 1, pos + 1, dtype=torch.bool)
        weights = ops.softmax_weights(torch.from_numpy(scores[None]), visible, scale, soft)[0]
        acc = torch.from_numpy(np.einsum("ns,snd->nd", weights.numpy(), values))
        y = ops.normalize_attention(acc[None], weights.sum(-1)[None], out, shape.act)[0]
        delta = scores.max(-1, keepdims=True) - scores
        z = (delta * scale + (1 << soft >> 1)) >> soft
        result.append(Token(scores.T, weights.T.numpy(), y.numpy(), z, weights.sum(-1).numpy()))
    return result


def _case(shape: Shape) -> Case:
    blocks = -(-shape.kv_heads * shape.dim // shape.lanes)
    out_blocks = -(-shape.heads * shape.dim // shape.lanes) + shape.spare_blocks
    vectors = sum(shape.lengths)

    def make(number: int, draw: np.random.Generator) -> Stimulus:
        sequences = drawn(shape, draw)
        tokens = golden(shape, sequences)
        padded = np.zeros((vectors, out_blocks * shape.lanes), np.int64)
        for index, token in enumerate(tokens):
            padded[index, : token.y.size] = token.y.ravel()
        act, kv = f"i{shape.act // 8}", f"i{shape.kv // 8}"
        images = [
            Image(number, "q", shape.act, sequences.q.astype(act)),
            Image(number, "k", shape.kv, sequences.k.astype(kv)),
            lanes(number, "v", sequences.v.reshape(vectors, -1), blocks, shape.lanes, shape.kv),
            ctl(number, sequences.words),
        ]
        expected = {
            "y": list(padded),
            "scores": [token.scores.ravel() for token in tokens],
            "softmax": [token.weights.ravel() for token in tokens],
        }
        return Stimulus(images, expected, [2 * (pos + 1) + shape.heads + 6 for pos, _, _ in sequences.words])

    params = {
        "Vectors": vectors,
        "Heads": shape.heads,
        "KvHeads": shape.kv_heads,
        "HeadDim": shape.dim,
        "Context": shape.context,
        "ActW": shape.act,
        "KvW": shape.kv,
        "Lanes": shape.lanes,
        "VBlocks": blocks,
        "OutBlocks": out_blocks,
        "Scale": tables.softmax_scale(shape.dim)[0],
    }
    return Case("attention", shape.name, params, make)


CASES = tuple(_case(shape) for shape in SHAPES)
