"""What may be wrong with the logic of the embedding and of the argmax."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Final

import numpy as np

from models.chip import ChipPlan
from models.diagnosis.logic.common import Array, Wrong, cut, offsets
from models.diagnosis.units import Argmax, Embedding, Index


def embedding(unit: Embedding, plan: ChipPlan) -> Iterator[Wrong]:
    """Token ids cut, rows and codes taken wrongly."""
    width = max(1, (plan.vocab_size - 1).bit_length())
    for bits in range(1, width):
        yield (
            "token id truncated",
            f"the token id is cut to {bits} bits",
            replace(
                unit,
                row=cut(bits),
                scale_row=cut(bits),
            ),
        )
    for what, of in _NEIGHBOURS:
        yield "neighbour row", f"reads the row {what}", replace(unit, row=of, scale_row=of)
    for what, changed in offsets(unit.codes.astype(np.int64), plan.embedding.bits):
        yield "offset of codes", what, replace(unit, codes=changed)


_NEIGHBOURS: Final[tuple[tuple[str, Callable[[Array], Array]], ...]] = (
    ("of the token whose last bit is inverted", lambda token: token ^ 1),
    ("of the next token id", lambda token: token + 1),
    ("of the token id before", lambda token: token - 1),
    ("of token 0", lambda token: 0 * token),
)


def argmax(unit: Argmax, plan: ChipPlan) -> Iterator[Wrong]:
    """Ties, signs, padding and indices taken wrongly."""
    vocab, lanes = plan.vocab_size, plan.tile_rows

    def last(logits: Array) -> Array:
        return np.asarray(vocab - 1 - logits[:, ::-1].argmax(axis=1))

    def unsigned(logits: Array) -> Array:
        return np.asarray((logits & 0xFFFF).argmax(axis=1))

    def padded(logits: Array) -> Array:
        return np.where(logits.max(axis=1) < 0, vocab, logits.argmax(axis=1))

    def kept(start: int, logits: Array) -> Array:
        found, best, token = [], np.int64(start), 0
        for row in logits:
            if row.max() > best:
                best, token = row.max(), int(row.argmax())
            found.append(token)
        return np.array(found)

    for kind, what, choose in (
        ("argmax tie", "of equal logits the last is chosen", last),
        ("logits without sign", "logits are compared without a sign", unsigned),
        ("least logit", "the least logit is chosen", lambda logits: logits.argmin(axis=1)),
        (
            "largest of all tokens",
            "the largest logit of the tokens before is kept",
            partial(kept, -(1 << 62)),
        ),
        (
            "largest of all tokens",
            "the largest logit of the tokens before is kept, which began with 0",
            partial(kept, 0),
        ),
        ("padding takes part", "padding takes part, which is 0", padded),
        (
            "lane in place of index",
            "the lane is given, not the index",
            lambda logits: logits.argmax(axis=1) % lanes,
        ),
        (
            "last block left out",
            "the last block is left out",
            lambda logits: logits[:, : max(1, (vocab - 1) // lanes * lanes)].argmax(axis=1),
        ),
        (
            "last block alone",
            "the last block alone counts",
            lambda logits: (
                logits[:, (vocab - 1) // lanes * lanes :].argmax(axis=1) + (vocab - 1) // lanes * lanes
            ),
        ),
    ):
        yield kind, what, replace(unit, choose=choose)
    index = np.arange(vocab)
    for lane in range(lanes):
        yield (
            "lane left out",
            f"lane {lane} is left out",
            replace(unit, choose=_chosen(index % lanes != lane)),
        )
    for block in range(-(-vocab // lanes)):
        counts = index // lanes != block
        yield "block left out", f"block {block} is left out", replace(unit, choose=_chosen(counts))
    swapped = ((index // lanes) ^ 1) * lanes + index % lanes
    moved = np.where(swapped < vocab, swapped, index)
    yield (
        "blocks exchanged",
        "logits of blocks are exchanged in pairs",
        replace(unit, choose=lambda logits: logits[:, moved].argmax(axis=1)),
    )
    for bits in range(1, (vocab - 1).bit_length()):
        yield (
            "index truncated",
            f"the index is cut to {bits} bits",
            replace(unit, choose=_truncated(bits)),
        )


def _chosen(counts: Array) -> Index:
    return lambda logits: np.where(counts, logits, np.iinfo(np.int64).min).argmax(axis=1)


def _truncated(bits: int) -> Index:
    return lambda logits: np.asarray(logits.argmax(axis=1) & ((1 << bits) - 1))
