"""What may be wrong with the logic of a linear."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from models.chip import ChipPlan
from models.diagnosis.logic.common import Array, Wrong, offsets, wrapped
from models.diagnosis.units import Linear


def linear(unit: Linear, plan: ChipPlan) -> Iterator[Wrong]:
    """Scales, codes, sums, chunks, inputs, bias and adapter taken wrongly."""
    bits, lanes, inputs = unit.code_bits, plan.tile_rows, plan.tile_inputs
    codes = unit.codes.astype(np.int64)
    yield (
        "scale with a sign",
        "scales are read with a sign",
        replace(unit, scales=unit.scales.astype(np.int16)),
    )
    for what, changed in offsets(codes, bits):
        yield "offset of codes", what, replace(unit, codes=changed)
    for width in (24, 28, 31, 32, 33, 36, 40, 48):
        yield (
            f"accumulator of {width} bits",
            f"the accumulator wraps at {width} bits",
            replace(unit, finish=wrapped(width)),
        )
    chunks = -(-codes.shape[1] // inputs)
    of = np.arange(codes.shape[1]) // inputs
    for chunk in range(chunks if chunks > 1 else 0):
        for kind, what, kept in (
            ("chunk alone", f"chunk {chunk} of the inputs alone is summed", (of == chunk).astype(np.int64)),
            ("chunk missing", f"chunk {chunk} of the inputs is not summed", (of != chunk).astype(np.int64)),
            (
                "chunk twice",
                f"chunk {chunk} of the inputs is summed twice",
                1 + (of == chunk).astype(np.int64),
            ),
        ):
            yield kind, what, replace(unit, codes=codes * kept)
    for what, which in (
        ("of the first chunk in each", lambda k: k % inputs),
        ("of chunks whose number is cut to one bit", lambda k: (k // inputs & 1) * inputs + k % inputs),
        ("of the next block", lambda k: k + lanes),
        ("of the block before", lambda k: k - lanes),
        ("of the block whose last bit is inverted", lambda k: ((k // lanes) ^ 1) * lanes + k % lanes),
        ("of the next lane", lambda k: k // lanes * lanes + (k + 1) % lanes),
        ("of the lane before", lambda k: k // lanes * lanes + (k - 1) % lanes),
    ):
        yield "inputs moved", f"takes the inputs {what}", replace(unit, input=which)
    for lane in range(min(lanes, codes.shape[1])):
        kept = (np.arange(codes.shape[1]) % lanes != lane).astype(np.int64)
        yield "lane missing", f"inputs of lane {lane} are not summed", replace(unit, codes=codes * kept)
    if unit.bias is None:
        yield (
            "sum kept over blocks",
            "a block of rows begins with the sums of the block before",
            replace(unit, finish=lambda sums: _cumulated(sums, lanes)),
        )
    else:
        yield "bias left out", "the bias is left out", replace(unit, bias=None)
        yield "bias not shifted", "the bias is not shifted", replace(unit, bias_shift=0)
        yield "bias negated", "the bias is subtracted", replace(unit, bias=-unit.bias.astype(np.int64))
    if unit.added is not None:
        key, shifts = unit.added
        yield "adapter absent", "what the adapter adds is left out", replace(unit, added=None)
        yield "adapter twice", "what the adapter adds is added twice", replace(unit, times=2)
        yield "adapter negated", "what the adapter adds is subtracted", replace(unit, times=-1)
        yield "adapter at each chunk", "is added at each chunk of inputs", replace(unit, times=chunks)
        for what, scaled in (
            ("is not shifted", dict.fromkeys(shifts, 0)),
            ("is shifted by one more", {one: shift + 1 for one, shift in shifts.items()}),
            ("is shifted by one less", {one: max(0, shift - 1) for one, shift in shifts.items()}),
            ("is shifted by half", {one: shift >> 1 for one, shift in shifts.items()}),
        ):
            yield (
                "adapter scaled wrongly",
                f"what the adapter adds {what}",
                replace(unit, added=(key, scaled)),
            )


def _cumulated(sums: Array, lanes: int) -> Array:
    padded = np.zeros((len(sums), -(-sums.shape[1] // lanes) * lanes), np.int64)
    padded[:, : sums.shape[1]] = sums
    found = padded.reshape(len(sums), -1, lanes).cumsum(axis=1).reshape(len(sums), -1)
    return found[:, : sums.shape[1]]
