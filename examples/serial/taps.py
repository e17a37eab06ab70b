"""What ``taps.sv`` observes."""

from __future__ import annotations

from model import LAYERS, Model

from etchproof.contract.taps import Tap

UP_TO_ROPE = "attn_norm q_proj k_proj v_proj q_norm k_norm q_rope k_rope"
REST = "scores softmax attn_out o_proj attn_residual mlp_norm gate_proj up_proj swiglu down_proj mlp_residual"


def plan(model: Model) -> list[Tap]:
    """The taps in dataflow order; scores and logits are sums that are not rounded."""
    names = f"{UP_TO_ROPE} {REST}".split()
    layers = [Tap(name, n, "f32" if name == "scores" else "bf16") for n in LAYERS for name in names]
    final = [Tap("final_norm", dtype="bf16"), Tap("logits", dtype="f32"), Tap("token", dtype="u16")]
    return [Tap("embedding", dtype="bf16"), *layers, *final]
