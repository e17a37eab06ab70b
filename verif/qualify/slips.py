"""Slips in code: of what reads and quantizes a checkpoint, and of the golden model. Each is another text in a function."""

# ruff: noqa: E501  # a slip's text stands on one line, as in the code that it is looked for in

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from etchproof.qualify.edits import Edit, place_of
from etchproof.qualify.wrong import FlowFault, Side

_Slip = tuple[str, str, str, str]
"""Operator, module, what stands there, what it becomes."""

_Q: Final = "etchproof.quantize"
_QUANTIZER: Final[tuple[_Slip, ...]] = (
    ("rounding", f"{_Q}.matrix", "np.rint(quotient, out=quotient)", "np.floor(quotient, out=quotient)"),
    ("rounding", f"{_Q}.matrix", "np.rint(quotient, out=quotient)", "np.ceil(quotient, out=quotient)"),
    ("rounding", f"{_Q}.matrix", "np.rint(quotient, out=quotient)", "np.trunc(quotient, out=quotient)"),
    (
        "rounding",
        f"{_Q}.matrix",
        "np.rint(quotient, out=quotient)",
        "np.floor(np.nextafter(quotient, 999) + 0.5, out=quotient)",
    ),
    (
        "clip range",
        f"{_Q}.matrix",
        "np.minimum(quotient, top, out=quotient)",
        "np.minimum(quotient, top - 1, out=quotient)",
    ),
    (
        "clip range",
        f"{_Q}.matrix",
        "np.maximum(quotient, -top, out=quotient)",
        "np.maximum(quotient, 0, out=quotient)",
    ),
    ("scale", f"{_Q}.matrix", "        ideal += 0.5\n", "        ideal += 0.0\n"),
    ("scale", f"{_Q}.matrix", "        ideal += 0.5\n", "        ideal += 1.0\n"),
    ("scale", f"{_Q}.matrix", "        ideal /= top\n", "        ideal /= top + 1\n"),
    ("scale", f"{_Q}.matrix", "split.max(axis=2, out=", "split.mean(axis=2, out="),
    ("scale", f"{_Q}.matrix", "magnitude = np.abs(weight[block])", "magnitude = weight[block].clip(0)"),
    (
        "scale of the next group",
        f"{_Q}.matrix",
        "split /= step[:, groups, None]",
        "split /= np.roll(step, 1, axis=1)[:, groups, None]",
    ),
    ("exponent", f"{_Q}.matrix", "< limit + 0.5:", "< limit / 2:"),
    ("gains", f"{_Q}.gains", "* math.sqrt(len(gain))  # (hidden,)", "* math.sqrt(len(gain) + 1)"),
    ("gains", f"{_Q}.gains", "* math.sqrt(len(gain))  # (hidden,)", "* 1.0"),
    ("gains", f"{_Q}.gains", "np.rint(np.ldexp(scaled, exponent))", "np.floor(np.ldexp(scaled, exponent))"),
    (
        "gains of another norm",
        f"{_Q}.model",
        '.post_attention_layernorm.weight")',
        '.input_layernorm.weight")',
    ),
    (
        "another layer's",
        f"{_Q}.model",
        "matrices[module_name(layer, name)] for",
        "matrices[module_name(max(layer - 1, 0), name)] for",
    ),
    (
        "fractional bits",
        f"{_Q}.frac",
        "max(width - 1 - ceil_log2(headroom * largest), low)",
        "max(width - ceil_log2(headroom * largest), low)",
    ),
    (
        "fractional bits",
        f"{_Q}.frac",
        "max(width - 1 - ceil_log2(headroom * largest), low)",
        "max(width - 2 - ceil_log2(headroom * largest), low)",
    ),
    (
        "headroom",
        f"{_Q}.frac",
        "max(width - 1 - ceil_log2(headroom * largest), low)",
        "max(width - 1 - ceil_log2(largest), low)",
    ),
    ("fractional bits", f"{_Q}.frac", 'wanted(wide, "q_proj", "q_rope")', 'wanted(kv, "k_proj")'),
    ("fractional bits", f"{_Q}.frac", 'wanted(wide, "swiglu")', 'wanted(wide, "up_proj")'),
    (
        "calibration",
        f"{_Q}.calibrate",
        "max(largest.get((layer, tap), 0.0), float(value.abs().max()))",
        "float(value.max())",
    ),
    (
        "calibration",
        f"{_Q}.calibrate",
        "max(largest.get((layer, tap), 0.0), float(value.abs().max()))",
        "float(value.abs().mean())",
    ),
    (
        "tied",
        f"{_Q}.calibrate",
        "module == LM_HEAD_MODULE and checkpoint.config.tie_word_embeddings",
        "module == LM_HEAD_MODULE",
    ),
    ("rope", f"{_Q}.layerwise", "np.arange(count))", "np.arange(count) + 1)"),
    (
        "import",
        "etchproof.checkpoint.load",
        "return self.weights.read(name)",
        'return self.weights.read(name.replace("gate_proj", "up_proj"))',
    ),
    (
        "import",
        "etchproof.checkpoint.load",
        "return self.weights.read(name)",
        'return self.weights.read(name.replace("layers.1.", "layers.0."))',
    ),
    (
        "import",
        "etchproof.checkpoint.load",
        "return self.weights.read(name)",
        'found = self.weights.read(name)\n        return found.view(-1, 2, len(found) // 2).swapaxes(0, 1).reshape(found.shape) if "q_proj.w" in name else found',
    ),
    (
        "import",
        "etchproof.checkpoint.load",
        "return self.weights.read(name)",
        "return self.weights.read(name).half().float()",
    ),
    (
        "theta",
        "etchproof.checkpoint.rope",
        "config.rope.theta**-exponent",
        "(config.rope.theta * 1.05)**-exponent",
    ),
    (
        "theta",
        "etchproof.checkpoint.rope",
        "config.head_dim, 2, dtype=np.float64) / config.head_dim",
        "config.head_dim, 2, dtype=np.float64) / (config.head_dim + 2)",
    ),
    (
        "position",
        "etchproof.checkpoint.rope",
        "positions.astype(np.float64)[:, None]",
        "(positions.astype(np.float64)[:, None] + 1)",
    ),
    (
        "position",
        "etchproof.checkpoint.rope",
        "return np.cos(angles), np.sin(angles)",
        "return np.sin(angles), np.cos(angles)",
    ),
    (
        "adapter scaling",
        f"{_Q}.adapter",
        "lora.scaling * _float64(lora.B)",
        "lora.scaling ** 2 * _float64(lora.B)",
    ),
    ("adapter scaling", f"{_Q}.adapter", "lora.scaling * _float64(lora.B)", "1.0 * _float64(lora.B)"),
    ("adapter scaling", f"{_Q}.adapter", "lora.scaling * _float64(lora.B)", "lora.alpha * _float64(lora.B)"),
    (
        "adapter shift",
        f"{_Q}.adapter",
        "b_shift = base.exponent + frac - b_exponent - h_frac\n",
        "b_shift = base.exponent + frac - b_exponent - h_frac + 1\n",
    ),
    (
        "adapter shift",
        f"{_Q}.adapter",
        "a_shift=a_exponent + frac - h_frac,",
        "a_shift=a_exponent + frac - h_frac - 1,",
    ),
    (
        "adapter rounding",
        f"{_Q}.adapter",
        "np.rint(np.ldexp(values, exponent))",
        "np.trunc(np.ldexp(values, exponent))",
    ),
    (
        "adapter range",
        f"{_Q}.adapter",
        "largest[layer, tap] = float(h.abs().max())",
        "largest[layer, tap] = float(h.abs().mean())",
    ),
    (
        "adapter scaling",
        "etchproof.adapter.load",
        "scaling=config.scaling(target.r, target.alpha)",
        "scaling=config.scaling(2 * target.r, target.alpha)",
    ),
    ("adapter neighbour", "etchproof.adapter.load", "A=a,\n", "A=a.flip(0),\n"),
)

_OPS, _GOLDEN, _TABLES = "models.numerics.ops", "models.golden", "models.numerics.tables"
_PARAMS, _FIXED = "models.numerics.params", "etchproof.fixed_point"
_NUMERICS: Final[tuple[_Slip, ...]] = (
    ("rounding", _FIXED, "return (x + (1 << (shift - 1))) >> shift if shift else x", "return x >> shift"),
    (
        "rounding",
        _FIXED,
        "return (x + (1 << (shift - 1))) >> shift if shift else x",
        "return (x + (1 << (shift - 1)) - (x < 0).to(x.dtype)) >> shift if shift else x",
    ),
    (
        "rounding",
        _FIXED,
        "return (x + (torch.ones_like(shift) << shift >> 1)) >> shift",
        "return (x + (torch.ones_like(shift) << shift >> 1) - 1) >> shift",
    ),
    (
        "saturation",
        _FIXED,
        "-(1 << (bits - 1)), (1 << (bits - 1)) - 1",
        "1 - (1 << (bits - 1)), (1 << (bits - 1)) - 1",
    ),
    (
        "saturation",
        _FIXED,
        "-(1 << (bits - 1)), (1 << (bits - 1)) - 1",
        "-(1 << (bits - 1)), (1 << (bits - 1)) - 2",
    ),
    ("shift", _OPS, "u = round_shift(q * y, (n >> 1) - 1)", "u = round_shift(q * y, (n >> 1) - 1) & ~1"),
    (
        "table",
        _OPS,
        "y = _RSQRT[(mantissa >> 24) - 64] << 14\n    for _ in range(2):",
        "y = _RSQRT[(mantissa >> 24) - 64] << 14\n    for _ in range(1):",
    ),
    (
        "table",
        _OPS,
        "y = _RECIP[(mantissa >> 24) - 128] << 14\n    for _ in range(2):",
        "y = _RECIP[(mantissa >> 24) - 128] << 14\n    for _ in range(0):",
    ),
    ("table", _OPS, "_EXP2[index + 1]) * low, 9)", "_EXP2[index + 1]) * low, 10)"),
    ("table", _OPS, "n = (z >> 16).clamp(max=31)", "n = (z >> 16).clamp(max=15)"),
    ("table", _OPS, "t = lower + round_shift((_SIGMOID[index + 1] - lower) * low, 11)", "t = lower"),
    ("table", _OPS, ".clamp(max=(1 << 20) - 1)", ".clamp(max=(1 << 18) - 1)"),
    ("sign", _OPS, "torch.where(g >= 0, t, (1 << 20) - t)", "torch.where(g > 0, t, (1 << 20) - t - 1)"),
    (
        "epsilon",
        _OPS,
        "(torch.full_like(s, epsilon) >> (2 * s))",
        "(torch.full_like(s, epsilon >> 1) >> (2 * s))",
    ),
    (
        "block exponent",
        _OPS,
        "(bit_length(magnitude) - 24).clamp(min=0)",
        "(bit_length(magnitude) - 16).clamp(min=0)",
    ),
    ("block exponent", _OPS, "q = round_shift(r, s)", "q = r >> s"),
    ("rope pairing", _OPS, "low, high = x.chunk(2, dim=-1)", "low, high = x[..., 0::2], x[..., 1::2]"),
    (
        "rope pairing",
        _OPS,
        "low * cos - high * sin, high * cos + low * sin",
        "low * cos + high * sin, high * cos - low * sin",
    ),
    (
        "softmax",
        _OPS,
        "torch.iinfo(torch.int64).min).amax(dim=-1, keepdim=True)",
        "torch.iinfo(torch.int64).min).amax(dim=(-2, -1), keepdim=True)",
    ),
    ("softmax", _OPS, "masked_fill(hidden, torch.iinfo(torch.int64).min)", "masked_fill(hidden, 0)"),
    (
        "softmax",
        _OPS,
        "round_shift(delta * scale, shift)).masked_fill(hidden, 0)",
        "(delta * scale) >> shift).masked_fill(hidden, 0)",
    ),
    ("normalization", _OPS, "round_shift(acc, b - 18) * y", "(acc >> (b - 18)) * y"),
    ("swiglu", _OPS, "gate * sigmoid(gate, gate_shift) * up", "up * sigmoid(up, gate_shift) * gate"),
    ("residual", _OPS, "saturate(r + (y << shift), 32)", "saturate(r + (y << shift), 24)"),
    (
        "mask",
        _GOLDEN,
        "(torch.arange(length) <= rows[:, None])[:, None]",
        "(torch.arange(length) < rows[:, None] + (rows[:, None] == 0))[:, None]",
    ),
    (
        "mask",
        _GOLDEN,
        "(torch.arange(length) <= rows[:, None])[:, None]",
        "(torch.arange(length) > rows[:, None] - 64)[:, None] & (torch.arange(length) <= rows[:, None])[:, None]",
    ),
    ("position", _GOLDEN, "self._cos[start:end],", "self._cos[start + 1 : end + 1],"),
    ("cache row", _GOLDEN, "cache[1, length - count :] = k, v", "cache[1, length - count :] = k, k"),
    (
        "cache row",
        _GOLDEN,
        "keys, values = cache[0].transpose(0, 1), cache[1].transpose(0, 1)",
        "keys, values = cache[0].transpose(0, 1), cache[1].roll(1, 0).transpose(0, 1)",
    ),
    (
        "head map",
        _GOLDEN,
        "grouped = q.view(count, plan.n_kv_heads, groups, plan.head_dim).transpose(0, 1).flatten(1, 2)",
        "grouped = q.view(count, groups, plan.n_kv_heads, plan.head_dim).transpose(1, 2).transpose(0, 1).flatten(1, 2)",
    ),
    (
        "head map",
        _GOLDEN,
        "grouped = weights.view(count, plan.n_kv_heads, groups, length).transpose(0, 1).flatten(1, 2)",
        "grouped = weights.view(count, groups, plan.n_kv_heads, length).transpose(1, 2).transpose(0, 1).flatten(1, 2)",
    ),
    (
        "norm",
        _GOLDEN,
        'ops.rms_norm(r, self._mlp_gains, plan.norm_epsilon, shift["mlp_norm.shift"], act)',
        'ops.rms_norm(r, self._attn_gains, plan.norm_epsilon, shift["mlp_norm.shift"], act)',
    ),
    (
        "residual",
        _GOLDEN,
        'ops.residual_add(r, h, shift["down_proj.residual_shift"])',
        'ops.residual_add(x, h, shift["down_proj.residual_shift"])',
    ),
    ("swiglu", _GOLDEN, "ops.swiglu(gate, up, shift", "ops.swiglu(up, gate, shift"),
    (
        "argmax tie",
        _GOLDEN,
        "return largest.to(torch.uint8).argmax(dim=-1)",
        "return largest.shape[-1] - 1 - largest.to(torch.uint8).flip(-1).argmax(dim=-1)",
    ),
    (
        "scales",
        _GOLDEN,
        "groups.mul_(scales[:, : whole // matrix.group_size, None])",
        "groups.mul_(scales[:, : whole // matrix.group_size, None].roll(1, 1))",
    ),
    (
        "saturation",
        _GOLDEN,
        "return saturate(round_shift(acc, self._shift), self._bits)",
        "return saturate(round_shift(acc, self._shift), self._bits - 1)",
    ),
    (
        "saturation",
        _GOLDEN,
        "return saturate(round_shift(acc, self._shift), self._bits)",
        "return round_shift(acc, self._shift)",
    ),
    (
        "adapter",
        _GOLDEN,
        "addition = d << adapter[name].b_shift",
        "addition = d << adapter[name].b_shift << 1",
    ),
    (
        "adapter",
        _GOLDEN,
        "h = saturate(round_shift(acc, self._a_shift), LORA_BITS)",
        "h = saturate(acc >> self._a_shift, LORA_BITS)",
    ),
    ("embedding", _GOLDEN, "return saturate(round_shift(scaled,", "return saturate(round_shift(scaled + 1,"),
    (
        "embedding",
        _GOLDEN,
        "codes = self._embedding_codes[tokens].to(torch.int64)",
        "codes = self._embedding_codes[(tokens + 1) % len(self._embedding_codes)].to(torch.int64)",
    ),
    ("norm", _GOLDEN, "logits = self._head(x)", "logits = self._head(x & ~1)"),
    ("position", _TABLES, "np.arange(context))", "np.arange(context) + 1)"),
    ("rounding", _TABLES, "np.floor(table * 2**ROPE_FRAC + 0.5)", "np.floor(table * 2**ROPE_FRAC)"),
    (
        "parameter",
        _PARAMS,
        '"softmax.shift": frac["q_proj"] + frac["k_rope"] + kappa - 16',
        '"softmax.shift": frac["q_proj"] + frac["k_rope"] + kappa - 15',
    ),
    ("parameter", _PARAMS, 'ROPE_FRAC + frac["k_proj"] - frac["k_rope"]', "ROPE_FRAC"),
    (
        "parameter",
        _PARAMS,
        'SIGMOID_FRAC + frac["gate_proj"] + frac["up_proj"] - frac["swiglu"]',
        'SIGMOID_FRAC + frac["gate_proj"] + frac["up_proj"] - frac["swiglu"] + 1',
    ),
    ("parameter", _PARAMS, 'GATE_FRAC - frac["gate_proj"]', 'GATE_FRAC - frac["gate_proj"] + 1'),
    ("parameter", _PARAMS, 'RESIDUAL_FRAC - frac["o_proj"]', 'RESIDUAL_FRAC - frac["o_proj"] - 1'),
)


def quantizer() -> Iterator[FlowFault]:
    """Golden model and chip are both made of what comes out, so both are wrong."""
    for operator, module, was, becomes in _QUANTIZER:
        edit = Edit(module, was, becomes)
        yield FlowFault(operator, _place(edit), _said(becomes), "both", making=(edit,))


def golden() -> Iterator[FlowFault]:
    """Each twice: the golden model alone, and a chip that shares the slip."""
    sides: tuple[Side, ...] = ("golden", "both")
    for operator, module, was, becomes in _NUMERICS:
        edit = Edit(module, was, becomes)
        for side in sides:
            yield FlowFault(operator, _place(edit), _said(becomes), side, computing=(edit,))


def _place(edit: Edit) -> str:
    return f"{edit.module}.{place_of(edit)}"


def _said(becomes: str) -> str:
    """In one line."""
    return " ".join(becomes.split())
