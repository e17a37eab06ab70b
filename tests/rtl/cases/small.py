"""ep_residual, ep_argmax, ep_embedding and the functions of ep_pkg (docs/numerics.md sections 1, 2, 10, 11)."""

from __future__ import annotations

import numpy as np
import torch

from etchproof.render.images import Image
from models.golden import greedy_token
from models.numerics import ops
from tests.rtl.harness import Case, Stimulus, ctl, extremes, lanes
from verif.rom_port.units import signature

RESIDUALS = ((4, 16, 16), (1, 4, 8), (3, 8, 16), (5, 4, 8))  # blocks, lanes, activation bits
RESIDUAL_VECTORS = 64


def _residual(blocks: int, width: int, bits: int) -> Case:
    """New vectors and additions on top of the last result, from both addends, to saturation at both ends."""

    def make(number: int, draw: np.random.Generator) -> Stimulus:
        shape = (RESIDUAL_VECTORS, blocks * width)
        r, attn, mlp = (
            extremes(draw, shape, 32),
            extremes(draw, shape, bits)[::-1],
            extremes(draw, shape, bits),
        )
        words, y = [], []
        state = torch.zeros(blocks * width, dtype=torch.int64)
        for i in range(RESIDUAL_VECTORS):
            write, second = int(i % 3 == 0), int(draw.integers(0, 2))
            shift = [int(draw.choice([0, 1, 5, 16, 31, 32 - bits])) for _ in range(2)]
            words.append((write, second, *shift))
            state = torch.from_numpy(r[i].copy()) if write else state
            state = ops.residual_add(
                state, torch.from_numpy((mlp if second else attn)[i].copy()), shift[second]
            )
            y.append(state.numpy())
        images = [
            lanes(number, "r", r, blocks, width, 32),
            lanes(number, "attn", attn, blocks, width, bits),
            lanes(number, "mlp", mlp, blocks, width, bits),
            ctl(number, words),
        ]
        return Stimulus(images, {"y": y}, [blocks + 1] * RESIDUAL_VECTORS, prep=blocks)

    params = {"Vectors": RESIDUAL_VECTORS, "Blocks": blocks, "Lanes": width, "ActW": bits}
    return Case("residual", f"{blocks}x{width}-a{bits}", params, make)


VOCABULARIES = ((1, 4), (5, 16), (16, 16), (17, 16), (37, 8), (397, 32))  # vocabulary, lanes
ARGMAX_VECTORS = 120


def _argmax(vocab: int, width: int) -> Case:
    """Few different logits, so that the largest is often repeated; the lanes beyond the vocabulary hold the largest
    number there is."""
    blocks = -(-vocab // width)

    def make(number: int, draw: np.random.Generator) -> Stimulus:
        x = draw.integers(-3, 4, (ARGMAX_VECTORS, vocab)) << draw.integers(0, 13, (ARGMAX_VECTORS, 1))
        x[::4] = draw.integers(-(2**15), 2**15, x[::4].shape)
        x[:3] = np.array([-(2**15), 0, 2**15 - 1])[:, None]
        x[3] = -(2**15)
        x[3, -1] = -(2**15) + 1
        x[5] = -np.abs(x[5]) - 1
        filled = np.full((ARGMAX_VECTORS, blocks * width), 2**15 - 1)
        filled[:, :vocab] = x
        y = [greedy_token(torch.from_numpy(row[None])).numpy() for row in x]
        assert all(token == row.tolist().index(row.max()) for (token,), row in zip(y, x, strict=True))
        images = [lanes(number, "logits", filled, blocks, width, 16)]
        return Stimulus(images, {"y": y}, [blocks + 1] * ARGMAX_VECTORS)

    return Case(
        "argmax",
        f"{vocab}-of-{width}-lanes",
        {"Vectors": ARGMAX_VECTORS, "Vocab": vocab, "Lanes": width},
        make,
    )


EMBEDDINGS = (  # vocabulary, hidden size, lanes, bits, group size (None: a row)
    (397, 48, 16, 8, 16),
    (5, 13, 4, 3, 16),
    (64, 40, 8, 6, 32),
    (33, 20, 16, 4, None),
    (1, 4, 4, 8, 16),
    (9, 50, 32, 6, 16),
)
EMBEDDING_VECTORS = 48


def _embedding(vocab: int, hidden: int, width: int, bits: int, group: int | None) -> Case:
    """Codes of all patterns, scales up to 65535; saturation needs none: 8 + 16 bits fit in 32."""
    blocks = -(-hidden // width)
    padded = blocks * width if group is None or group >= hidden else group

    def make(number: int, draw: np.random.Generator) -> Stimulus:
        codes = draw.integers(-(1 << (bits - 1)), 1 << (bits - 1), (vocab, hidden))
        codes[0] = -(1 << (bits - 1))
        groups = -(-hidden // padded)
        scales = draw.integers(0, 65536, (vocab, groups))
        scales[0] = 65535
        tokens = [0, vocab - 1, *draw.integers(0, vocab, EMBEDDING_VECTORS - 2).tolist()]
        words, rows = [], []
        for i, token in enumerate(tokens):
            shift = (0, 1, 3, 8, 17, 62)[i % 6]
            words.append((token, shift, 0 if i % 3 == 0 else int(draw.integers(1, 2**31))))
            product = torch.from_numpy(codes[token] * np.repeat(scales[token], padded)[:hidden])
            row = np.zeros(blocks * width, np.int64)
            row[:hidden] = ops.saturate(ops.round_shift(product, shift), 32).numpy()
            rows.append(row)
        etched = np.full((vocab, blocks * width), 1 << (bits - 1), np.uint8)
        etched[:, :hidden] = codes + (1 << (bits - 1))
        all_scales = np.zeros((vocab, -(-blocks * width // padded)), np.uint16)
        all_scales[:, :groups] = scales
        images = [
            Image(-1, "embed_tokens.codes", bits, etched.reshape(vocab, blocks, width)),
            Image(-1, "embed_tokens.scales", 16, all_scales),
            ctl(number, words),
        ]
        return Stimulus(images, {"y": rows, "stream": rows})

    params = {
        "Vectors": EMBEDDING_VECTORS,
        "Vocab": vocab,
        "Blocks": blocks,
        "Lanes": width,
        "Bits": bits,
        "GroupSize": padded,
    }
    return Case("embedding", f"{vocab}x{hidden}-of-{width}-lanes-w{bits}", params, make, solo=True)


PKG_COLS = 64


def _pkg(number: int, draw: np.random.Generator) -> Stimulus:
    """Small numbers exhaustively, then any: round_shift and saturate against Python's integers."""
    pairs = [(x, n) for x in range(-70, 71) for n in range(9)]
    for n in range(63):
        half = 1 << n >> 1
        pairs += [(k * (1 << n) + half + d, n) for k in (-2, -1, 0, 1) for d in (-1, 0, 1) if n < 60]
        pairs += [
            (sign * (1 << n) + d, m) for sign in (-1, 1) for d in (-1, 0, 1) for m in (n, max(0, n - 1), 62)
        ]
    pairs += [(int(x) >> int(s), int(n)) for x, s, n in zip(
        draw.integers(-(2**62), 2**62, 3000), draw.integers(0, 62, 3000), draw.integers(0, 63, 3000), strict=True
    )]  # fmt: skip
    pairs += [(0, 0)] * (PKG_VECTORS * PKG_COLS - len(pairs))
    x, n = (np.array(part).reshape(-1, PKG_COLS) for part in zip(*pairs, strict=True))

    def each(function: object) -> list[np.ndarray]:
        results = [function(value, count) for value, count in pairs]  # type: ignore[operator]
        return list(np.array(results, dtype=np.int64).reshape(-1, PKG_COLS))

    expected = {
        "rounded": each(lambda value, count: (value + (1 << count >> 1)) >> count),
        "saturated": each(lambda value, count: max(-(1 << count), min((1 << count) - 1, value))),
        "length": each(lambda value, count: (value & (2**63 - 1)).bit_length()),
        "signature": [
            np.array([signature(words.astype("<i8").view("<u4"))], np.uint32).view(np.int32) for words in x
        ],
    }
    return Stimulus(
        [Image(number, "x", 64, x.astype(np.int64)), Image(number, "n", 8, n.astype(np.uint8))], expected
    )


PKG_VECTORS = 96

CASES = (
    *(_residual(*shape) for shape in RESIDUALS),
    *(_argmax(*shape) for shape in VOCABULARIES),
    *(_embedding(*shape) for shape in EMBEDDINGS),
    Case("pkg", "functions", {"Vectors": PKG_VECTORS, "Cols": PKG_COLS}, _pkg),
)
