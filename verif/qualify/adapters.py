"""Wrong integers of adapters beside the right ones in the chip's slots: what the host's software might get wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np

from etchproof.qualify.wrong import FlowFault
from etchproof.quantize.quantized_model import AdapterMatrix, QuantizedAdapter

_Change = Callable[[AdapterMatrix], AdapterMatrix]


def faults(seed: int) -> Iterator[FlowFault]:
    """Each kind, of the first and of the last linear that an adapter adapts."""
    kinds: tuple[tuple[str, str, _Change], ...] = (
        ("scaling", "twice", lambda m: replace(m, b_shift=m.b_shift + 1)),
        ("scaling", "left out by a power of two", lambda m: replace(m, b_shift=max(0, m.b_shift - 1))),
        ("shift", "of the first product one less", lambda m: replace(m, a_shift=max(0, m.a_shift - 1))),
        ("rows late", "B by one row", lambda m: replace(m, b=np.roll(m.b, 1, axis=0))),
        ("columns late", "A by one column", lambda m: replace(m, a=np.roll(m.a, 1, axis=1))),
        ("sign", "B negated", lambda m: replace(m, b=np.where(m.b == -(2**15), m.b, -m.b))),
        ("rank", "the last one is 0", _rank),
        ("one value", "of A one more", _one_value),
    )
    for operator, becomes, change in kinds:
        for place, at in (("first linear", 0), ("last linear", -1)):
            yield FlowFault(
                f"adapter {operator}", f"adapters, {place}", becomes, "golden", adapters=_of_each(change, at)
            )
    yield FlowFault("adapter exchanged", "adapters", "each is the next one", "golden", adapters=_next)
    yield FlowFault(
        "adapter left out", "adapters", "one linear of each is not adapted", "golden", adapters=_fewer
    )
    yield FlowFault(
        "adapter neighbour", "adapters", "A and B of the next linear that fits", "golden", adapters=_other
    )


def _of_each(change: _Change, at: int) -> Callable[[Sequence[QuantizedAdapter]], list[QuantizedAdapter]]:
    def changed(adapters: Sequence[QuantizedAdapter]) -> list[QuantizedAdapter]:
        found = []
        for adapter in adapters:
            linears = dict(adapter.linears)
            if linears:
                key = list(linears)[at]
                linears[key] = change(linears[key])
            found.append(replace(adapter, linears=linears))
        return found

    return changed


def _rank(matrix: AdapterMatrix) -> AdapterMatrix:
    b = matrix.b.copy()
    b[:, -1] = 0
    return replace(matrix, b=b)


def _one_value(matrix: AdapterMatrix) -> AdapterMatrix:
    a = matrix.a.copy()
    a[0, 0] += 1 if a[0, 0] < 2**15 - 1 else -1
    return replace(matrix, a=a)


def _next(adapters: Sequence[QuantizedAdapter]) -> list[QuantizedAdapter] | None:
    """Linears that one has and the other has not would differ in their taps alone; the same places are exchanged."""
    found = [adapter.linears for adapter in adapters]
    for at, linears in enumerate(found):
        for other in range(at + 1, len(found)):
            if linears.keys() == found[other].keys() and adapters[at].ranks == adapters[other].ranks:
                turned = list(adapters)
                turned[at] = replace(adapters[at], linears=adapters[other].linears)
                turned[other] = replace(adapters[other], linears=adapters[at].linears)
                return turned
    return None


def _fewer(adapters: Sequence[QuantizedAdapter]) -> list[QuantizedAdapter]:
    """Its products are 0: the taps stay, as the chip has them."""
    return _of_each(lambda m: replace(m, b=np.zeros_like(m.b)), 0)(adapters)


def _other(adapters: Sequence[QuantizedAdapter]) -> list[QuantizedAdapter]:
    found = []
    for adapter in adapters:
        linears = dict(adapter.linears)
        keys = list(linears)
        for one, other in pairwise(keys):
            mine, theirs = linears[one], linears[other]
            if (mine.a.shape, mine.b.shape) == (theirs.a.shape, theirs.b.shape):
                linears[one] = theirs
                break
        found.append(replace(adapter, linears=linears))
    return found
