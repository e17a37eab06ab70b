"""What a failed run computed, put together again: every tap of the chip's, and every one of the golden model's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from etchproof.compare.differing import KeptTaps
from etchproof.contract.diagnosis import BASE, Array, Column, Seen
from etchproof.contract.element import bits_of, stored
from etchproof.contract.golden import Golden, GoldenSession
from etchproof.contract.taps import TapKey, TapPlan, TokenArrays


@dataclass(frozen=True)
class Evidence:
    """A run, as chip and golden model computed it.

    Attributes:
        chip: the chip's taps.
        golden: the golden model's, of the same tokens.
        differing: vectors that are not the same.
        left_out: items that say nothing: from the first one of a sequence on of which the chip gave no whole tap.
    """

    chip: Seen
    golden: Seen
    differing: int
    left_out: int


def gather(kept: KeptTaps, taps: TapPlan, golden: Golden) -> Evidence:
    """The taps of a run, from what it kept; whatever the golden model raises comes through."""
    session = golden.session()
    rows: list[tuple[int, int, int, int]] = []
    chip: list[dict[TapKey, Array]] = []
    expected: list[dict[TapKey, Array]] = []
    by_item: dict[tuple[int, int], dict[TapKey, Array | None]] = {}
    for (number, item, key), vector in kept.vectors.items():
        by_item.setdefault((number, item), {})[key] = vector
    position, vectors, is_whole, left_out = 0, 0, True, 0
    for number, call in enumerate(kept.calls):
        if call.first:
            position, is_whole = 0, True
        is_token = call.items.ndim == 1
        predicted = _predict(session, call.items, call.first, call.adapter)
        arrays = {key: _bits(taps, key, one) for key, one in predicted.items()}
        for item in range(len(call.items)):
            mine = {key: array[item].reshape(-1) for key, array in arrays.items()}
            other = dict(mine)
            for key, vector in by_item.get((number, item), {}).items():
                if key not in mine or vector is None or vector.size != mine[key].size:
                    is_whole = False
                    continue
                kind = taps.by_key[key].dtype
                other[key] = vector.view(stored(kind)).astype(mine[key].dtype)
                vectors += 1
            if is_whole:
                adapter = BASE if call.adapter is None else call.adapter
                token = int(call.items[item]) if is_token else len(rows) + left_out
                rows.append((token, position, call.sequence, adapter))
                chip.append(other)
                expected.append(mine)
            else:
                left_out += 1
            position += 1
    tokens, positions, sequences, adapters = np.array(rows, np.int64).reshape(-1, 4).T

    def seen(of: list[dict[TapKey, Array]]) -> Seen:
        return Seen(tokens, positions, sequences, adapters, _columns(taps, of))

    return Evidence(seen(chip), seen(expected), vectors, left_out)


def _predict(
    session: GoldenSession, items: Array, first: bool, adapter: int | None
) -> Mapping[TapKey, TokenArrays]:
    given: Any = items if items.ndim > 1 else items.tolist()
    return session.predict(given, first) if adapter is None else session.predict(given, first, adapter)


def _bits(taps: TapPlan, key: TapKey, arrays: TokenArrays) -> TokenArrays:
    kind = taps.by_key[key].dtype
    return bits_of(kind, arrays) if isinstance(arrays, np.ndarray) else [bits_of(kind, one) for one in arrays]


def _columns(taps: TapPlan, tokens: list[dict[TapKey, Array]]) -> dict[TapKey, Column]:
    found = {}
    for key in taps.by_key:
        at = np.array([token for token, held in enumerate(tokens) if key in held], np.intp)
        values: Any = [tokens[token][key] for token in at]
        if not values:
            continue
        if len({one.size for one in values}) == 1:
            values = np.stack(values)
        found[key] = Column(at, values)
    return found
