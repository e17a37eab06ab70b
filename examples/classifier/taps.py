"""What ``taps.sv`` observes."""

from __future__ import annotations

from model import LAYERS, Model

from etchproof.contract.taps import Tap


def plan(model: Model) -> list[Tap]:
    """The taps in dataflow order; the last layer's sums are the logits and have no activations."""
    inside = [tap for n in LAYERS for tap in (Tap("acc", n, "i32"), Tap("act", n, "i8"))]
    return [Tap("input", dtype="i8"), *inside[:-1], Tap("class", dtype="u8")]
