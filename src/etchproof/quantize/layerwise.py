"""The float forward pass one layer at a time, with the linears left to the caller.

Calibration and GPTQ walk a model this way, so that no more than one layer's weights are in memory and each linear
can be replaced by its rounded self the moment its inputs are known. It computes what
``etchproof.float_model.llama`` does.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from etchproof.checkpoint.config import ModelConfig
from etchproof.checkpoint.rope import rope_cos_sin
from etchproof.float_model.llama import rotate

Linear = Callable[[str, Tensor], Tensor]
"""``linear(tap, x)``: the output of the layer's linear of that name for inputs x (B, T, cols)."""
See = Callable[[str, Tensor], None]
"""``see(tap, value)``: every tap of the layer, as (B, T, elements); scores and softmax as (B, T, n_heads, T)."""


def run_layer(
    config: ModelConfig, x: Tensor, attn_gain: Tensor, mlp_gain: Tensor, linear: Linear, see: See
) -> Tensor:
    """One decoder layer on sequences that start at position 0.

    Args:
        x: the residual stream, (B, T, hidden), of the dtype that everything is computed in.
        attn_gain: RMSNorm gains before attention, (hidden,).
        mlp_gain: RMSNorm gains before the MLP, (hidden,).
        linear: computes the linears; it is called once for each name of ``taps.LINEARS``, in that order.
        see: is handed the taps in dataflow order.

    Returns:
        The residual stream after the layer, (B, T, hidden).
    """
    batch, count, _ = x.shape
    heads, kv_heads, head_dim = config.n_heads, config.n_kv_heads, config.head_dim
    cos, sin = (
        torch.from_numpy(angle).to(x.dtype)[:, None] for angle in rope_cos_sin(config, np.arange(count))
    )
    to_come = torch.ones(count, count, dtype=torch.bool).triu(1)  # (T, T)

    h = rms_norm(config, x, attn_gain)  # (B, T, hidden)
    see("attn_norm", h)
    q, k, v = (linear(name, h) for name in ("q_proj", "k_proj", "v_proj"))  # (B, T, heads * head_dim)
    see("q_proj", q)
    see("k_proj", k)
    see("v_proj", v)
    q = rotate(q.view(batch, count, heads, head_dim), cos, sin)  # (B, T, heads, head_dim)
    k = rotate(k.view(batch, count, kv_heads, head_dim), cos, sin)  # (B, T, kv_heads, head_dim)
    see("q_rope", q.flatten(2))
    see("k_rope", k.flatten(2))
    keys = k.repeat_interleave(heads // kv_heads, dim=2)  # (B, T, heads, head_dim)
    values = v.view(batch, count, kv_heads, head_dim).repeat_interleave(heads // kv_heads, dim=2)
    scores = torch.einsum("bthd,bshd->bths", q, keys) / math.sqrt(head_dim)  # (B, T, heads, T)
    see("scores", scores)
    softmax = scores.masked_fill(to_come[:, None], -math.inf).softmax(dim=-1)  # (B, T, heads, T)
    see("softmax", softmax)
    attended = torch.einsum("bths,bshd->bthd", softmax, values).flatten(2)  # (B, T, heads * head_dim)
    see("attn_out", attended)
    o = linear("o_proj", attended)  # (B, T, hidden)
    see("o_proj", o)
    x = x + o
    see("attn_residual", x)

    h = rms_norm(config, x, mlp_gain)  # (B, T, hidden)
    see("mlp_norm", h)
    gate, up = linear("gate_proj", h), linear("up_proj", h)  # (B, T, intermediate)
    see("gate_proj", gate)
    see("up_proj", up)
    gated = torch.nn.functional.silu(gate) * up  # (B, T, intermediate)
    see("swiglu", gated)
    down = linear("down_proj", gated)  # (B, T, hidden)
    see("down_proj", down)
    x = x + down
    see("mlp_residual", x)
    return x


def rms_norm(config: ModelConfig, x: Tensor, gain: Tensor) -> Tensor:
    """x / sqrt(mean(x^2) + eps) * gain over the last axis."""
    return gain * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + config.rms_norm_eps))
