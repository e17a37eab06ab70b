"""The golden model: the classifier in integers, without a rounding that is not written down here."""

from __future__ import annotations

import numpy as np
from model import Array, Model

from etchproof.contract.golden import Given, unchanged


class Session:
    """Classifies vectors, each by itself."""

    def __init__(self, model: Model) -> None:
        self._model = model

    def predict(self, vectors: Array, first: bool, given: Given = unchanged) -> dict[tuple[int, str], Array]:
        """Every tap of consecutive vectors of signed bytes; none depends on those before it."""
        model, values = self._model, given((-1, "input"), np.asarray(vectors).astype(np.int8))
        taps: dict[tuple[int, str], Array] = {(-1, "input"): values}
        for layer, (weight, bias) in enumerate(zip(model.weights, model.biases, strict=True)):
            # The chip's sums wrap at 32 bits, and so does the cast.
            sums = (values.astype(np.int64) @ weight.T.astype(np.int64) + bias).astype(np.int32)
            taps[layer, "acc"] = sums = given((layer, "acc"), sums)
            if layer < len(model.shifts):
                shift = int(model.shifts[layer])
                rounded = (sums.astype(np.int64) + (1 << shift >> 1)) >> shift  # a half rounds up
                taps[layer, "act"] = values = given((layer, "act"), rounded.clip(0, 127).astype(np.int8))
            else:
                chosen = sums.argmax(axis=1, keepdims=True).astype(np.uint8)  # the first of equals
                taps[-1, "class"] = given((-1, "class"), chosen)
        return taps
