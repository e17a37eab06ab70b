"""The golden model: the quantized Llama in integers, perhaps with an adapter, every tap of it (docs/numerics.md).

One pass over a whole sequence and one token at a time give the same integers: nothing depends on how many
tokens are computed together.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import torch
from torch import Tensor

from etchproof.checkpoint.linears import LINEARS, LORA_PRODUCTS
from etchproof.contract.taps import TapKey, TokenArrays
from etchproof.errors import InputError
from etchproof.fixed_point import round_shift, saturate
from etchproof.quantize.quantized_model import (
    AdapterMatrix,
    QuantizedAdapter,
    QuantizedMatrix,
    QuantizedModel,
)
from models import chip
from models.numerics import ops, params, tables

LORA_BITS: Final = 16
"""Of an adapter's matrices and of its first product."""

Observer = Callable[[int, str, Tensor], None]
"""Called with (layer, tap, value); value's first axis is the token."""


class Linear:
    """Section 4: one ROM linear.

    ``S * C`` is one integer weight. A small matrix keeps it; a large one makes it anew for some rows at a time, so that
    memory holds little more than the codes.
    """

    _KEPT = 1 << 22  # weights of a matrix that is kept, and of a block of rows that is made at once

    def __init__(self, matrix: QuantizedMatrix, shift: int, bits: int, act_bits: int) -> None:
        self._matrix = matrix
        largest = int(matrix.scales.max(initial=0)) << (matrix.bits - 1)
        self._bound = matrix.cols * largest << (act_bits - 1)
        self._rows = max(1, self._KEPT // matrix.cols)
        self._kept = self._weight(0, matrix.rows) if matrix.rows <= self._rows else None
        self._bias = None
        if matrix.bias is not None:
            self._bias = torch.from_numpy(matrix.bias.astype("int64")) << matrix.bias_shift
        self._shift, self._bits = shift, bits

    def _weight(self, start: int, stop: int) -> Tensor:
        """Rows of S * C, transposed: (cols, stop - start), in the type in which products with it are exact."""
        matrix = self._matrix
        dtype = torch.float64 if self._bound < ops.EXACT_FLOAT64 else torch.int64
        weight = torch.from_numpy(matrix.codes[start:stop]).to(dtype)
        scales = torch.from_numpy(matrix.scales[start:stop].astype("int32")).to(dtype)
        whole = matrix.cols // matrix.group_size * matrix.group_size  # columns in groups that are not short
        groups = weight[:, :whole].view(len(weight), whole // matrix.group_size, matrix.group_size)
        groups.mul_(scales[:, : whole // matrix.group_size, None])
        if whole < matrix.cols:
            weight[:, whole:] *= scales[:, -1:]
        return weight.T

    def __call__(self, x: Tensor, addition: Tensor | None = None) -> Tensor:
        """x (T, cols) -> (T, rows), int64; ``addition`` (T, rows) joins the accumulator before its rounding."""
        if self._kept is not None:
            acc = ops.exact_matmul(x, self._kept, self._bound)
        else:
            starts = range(0, self._matrix.rows, self._rows)
            parts = [
                ops.exact_matmul(x, self._weight(start, start + self._rows), self._bound) for start in starts
            ]
            acc = torch.cat(parts, dim=1)
        if self._bias is not None:
            acc = acc + self._bias
        if addition is not None:
            acc = acc + addition
        return saturate(round_shift(acc, self._shift), self._bits)


class Lora:
    """Section 14: an adapter's two products for one linear."""

    def __init__(self, matrix: AdapterMatrix, act_bits: int) -> None:
        self._a = torch.from_numpy(matrix.a.astype("int64")).T  # (cols, r)
        self._b = torch.from_numpy(matrix.b.astype("int64")).T  # (r, rows)
        self._a_shift, self.b_shift = matrix.a_shift, matrix.b_shift
        rank, cols = matrix.a.shape
        largest = 1 << (LORA_BITS - 1)
        self._bound_a = cols * largest << (act_bits - 1)
        self._bound_b = rank * largest * largest

    def __call__(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x (T, cols) -> h (T, r), d (T, rows), int64."""
        acc = ops.exact_matmul(x, self._a, self._bound_a)
        h = saturate(round_shift(acc, self._a_shift), LORA_BITS)
        return h, ops.exact_matmul(h, self._b, self._bound_b)


class Layer:
    """One decoder layer."""

    def __init__(self, model: QuantizedModel, plan: chip.ChipPlan, index: int) -> None:
        quantized = model.layers[index]
        self._plan = plan
        self._params = params.layer_params(model, index)
        self._linears = {
            name: Linear(
                quantized.linears[name],
                self._params[f"{name}.shift"],
                plan.linears(index)[name].out_bits,
                plan.act_bits,
            )
            for name in LINEARS
        }
        self._attn_gains = torch.from_numpy(quantized.attn_norm.values.astype("int64"))
        self._mlp_gains = torch.from_numpy(quantized.mlp_norm.values.astype("int64"))

    def __call__(
        self,
        r: Tensor,
        cos: Tensor,
        sin: Tensor,
        cache: Tensor,
        observe: Callable[[str, Tensor], None],
        adapter: Mapping[str, Lora],
    ) -> Tensor:
        """r (T, H) -> (T, H).

        Args:
            cache: (2, S, N_kv, D), keys and values of rows 0 .. S-1, the last T to be written.
            adapter: by linear, those that are adapted.
        """
        plan, shift = self._plan, self._params
        count, length = r.shape[0], cache.shape[1]
        act, groups = plan.act_bits, plan.n_heads // plan.n_kv_heads

        def linear(name: str, x: Tensor) -> Tensor:
            addition = None
            if name in adapter:
                h, d = adapter[name](x)
                for part, value in zip(LORA_PRODUCTS[name], (h, d), strict=True):
                    observe(part, value)
                addition = d << adapter[name].b_shift
            y = self._linears[name](x, addition)
            observe(name, y)
            return y

        def tap(name: str, value: Tensor) -> Tensor:
            observe(name, value)
            return value

        x = tap(
            "attn_norm", ops.rms_norm(r, self._attn_gains, plan.norm_epsilon, shift["attn_norm.shift"], act)
        )
        q = linear("q_proj", x).view(count, plan.n_heads, plan.head_dim)
        k = linear("k_proj", x).view(count, plan.n_kv_heads, plan.head_dim)
        v = linear("v_proj", x).view(count, plan.n_kv_heads, plan.head_dim)
        q = ops.rope(q, cos, sin, tables.ROPE_FRAC, act)
        k = ops.rope(k, cos, sin, shift["k_rope.shift"], plan.kv_bits)
        observe("q_rope", q.flatten(1))
        observe("k_rope", k.flatten(1))
        cache[0, length - count :], cache[1, length - count :] = k, v

        # Query heads of one key/value head side by side: (N_kv, T * groups, D) against (N_kv, D, S).
        keys, values = cache[0].transpose(0, 1), cache[1].transpose(0, 1)  # (N_kv, S, D)
        grouped = q.view(count, plan.n_kv_heads, groups, plan.head_dim).transpose(0, 1).flatten(1, 2)
        product = 1 << (act - 1 + plan.kv_bits - 1)
        scores = ops.exact_matmul(grouped, keys.transpose(1, 2), product * plan.head_dim)
        scores = (
            scores.view(plan.n_kv_heads, count, groups, length).transpose(0, 1).flatten(1, 2)
        )  # (T, N, S)
        rows = torch.arange(length - count, length)
        visible = (torch.arange(length) <= rows[:, None])[:, None]  # (T, 1, S)
        tap("scores", scores)
        weights = tap(
            "softmax", ops.softmax_weights(scores, visible, plan.softmax_scale, shift["softmax.shift"])
        )
        grouped = weights.view(count, plan.n_kv_heads, groups, length).transpose(0, 1).flatten(1, 2)
        acc = ops.exact_matmul(grouped, values, length << (20 + plan.kv_bits - 1))  # (N_kv, T * groups, D)
        acc = acc.view(plan.n_kv_heads, count, groups, plan.head_dim).transpose(0, 1).flatten(1, 2)
        o = ops.normalize_attention(acc, weights.sum(dim=-1), shift["attn_out.shift"], act)
        o = linear("o_proj", tap("attn_out", o.flatten(1)))
        r = tap("attn_residual", ops.residual_add(r, o, shift["o_proj.residual_shift"]))

        x = tap("mlp_norm", ops.rms_norm(r, self._mlp_gains, plan.norm_epsilon, shift["mlp_norm.shift"], act))
        gate, up = linear("gate_proj", x), linear("up_proj", x)
        h = tap("swiglu", ops.swiglu(gate, up, shift["swiglu.gate_shift"], shift["swiglu.shift"], act))
        h = linear("down_proj", h)
        return tap("mlp_residual", ops.residual_add(r, h, shift["down_proj.residual_shift"]))


@dataclass
class Cache:
    """Keys and values of the positions computed so far, per layer."""

    rows: list[Tensor]  # of (2, context, N_kv, D) int64
    length: int = field(default=0)


class Golden:
    """The integer model of the chip.

    Args:
        model: the quantized model.
        adapters: those that a sequence may choose, by their index.

    Raises:
        InputError: the chip cannot hold the model or an adapter (models.chip.plan, models.numerics.params).
    """

    def __init__(self, model: QuantizedModel, adapters: Sequence[QuantizedAdapter] = ()) -> None:
        self.model, self.adapters = model, tuple(adapters)
        self.plan = plan = chip.plan(model.config, model.recipe)
        self._params = params.top_params(model)
        self._embedding_codes = torch.from_numpy(model.embedding.codes)
        self._embedding_scales = torch.from_numpy(model.embedding.scales.astype("int32"))
        self._layers = [Layer(model, plan, index) for index in range(plan.n_layers)]
        self._loras = [self._check_adapter(adapter) for adapter in self.adapters]
        self._gains = torch.from_numpy(model.final_norm.values.astype("int64"))
        self._head = Linear(model.lm_head, self._params["lm_head.shift"], chip.LOGIT_BITS, plan.act_bits)
        cos, sin = tables.rope_tables(model.config, plan.context)
        self._cos, self._sin = torch.from_numpy(cos.astype("int64")), torch.from_numpy(sin.astype("int64"))

    def new_cache(self) -> Cache:
        """An empty key/value cache of the chip's context."""
        shape = (2, self.plan.context, self.plan.n_kv_heads, self.plan.head_dim)
        return Cache([torch.zeros(shape, dtype=torch.int64) for _ in self._layers])

    def forward(
        self,
        tokens: Tensor,
        cache: Cache | None = None,
        observe: Observer | None = None,
        adapter: int | None = None,
    ) -> Tensor:
        """Logits (T, V) int64 of tokens (T,), which follow what the cache holds; observes every tap.

        ``adapter`` is an index of ``adapters``, None for the base alone; what the cache holds was made with the same.

        Taps are (T, elements); ``scores`` and ``softmax`` are (T, N, S) over all S positions so far, of which
        token i of this call sees the first S - T + i + 1. ``token`` is (T, 1).

        Raises:
            ValueError: the sequence would pass the chip's context.
        """
        cache = cache if cache is not None else self.new_cache()
        start, end = cache.length, cache.length + len(tokens)
        if end > self.plan.context:
            raise ValueError(f"{end} positions are more than the chip's context of {self.plan.context}")
        seen: Observer = observe if observe is not None else lambda layer, tap, value: None

        loras = self._loras[adapter] if adapter is not None else [{}] * self.plan.n_layers
        r = self._embed(tokens)
        seen(-1, "embedding", r)
        for index, layer in enumerate(self._layers):
            rows = cache.rows[index][:, :end]
            r = layer(
                r,
                self._cos[start:end],
                self._sin[start:end],
                rows,
                lambda tap, value, index=index: seen(index, tap, value),  # type: ignore[misc]
                loras[index],
            )
        cache.length = end
        x = ops.rms_norm(
            r, self._gains, self.plan.norm_epsilon, self._params["final_norm.shift"], self.plan.act_bits
        )
        seen(-1, "final_norm", x)
        logits = self._head(x)
        seen(-1, "logits", logits)
        seen(-1, "token", greedy_token(logits)[:, None])
        return logits

    def _check_adapter(self, adapter: QuantizedAdapter) -> list[dict[str, Lora]]:
        """Its parts by layer and linear, within the bounds that section 14 proves."""
        plan, parts = self.plan, [dict[str, Lora]() for _ in self._layers]
        for (layer, name), matrix in adapter.linears.items():
            where = f"{adapter.name}: layer {layer} {name}"
            if layer >= plan.n_layers or name not in LINEARS:
                raise InputError("no such linear", source=where)
            linear = plan.linears(layer)[name]
            (rank, cols), (rows, b_rank) = matrix.a.shape, matrix.b.shape
            if (rows, cols, b_rank) != (linear.rows, linear.cols, rank):
                raise InputError(
                    f"a is {[rank, cols]} and b {[rows, b_rank]}, the linear is {[linear.rows, linear.cols]}",
                    source=where,
                )
            if not 1 <= rank <= plan.lora_max_rank:
                raise InputError(f"rank {rank}, the chip takes 1 .. {plan.lora_max_rank}", source=where)
            limit = plan.max_b_shift
            if not (0 <= matrix.a_shift <= params.MAX_SHIFT and 0 <= matrix.b_shift <= limit):
                raise InputError(
                    f"shifts {matrix.a_shift} and {matrix.b_shift}, the chip takes 0 .. {params.MAX_SHIFT} and "
                    f"0 .. {limit}",
                    source=where,
                )
            parts[layer][name] = Lora(matrix, plan.act_bits)
        return parts

    def session(self) -> Session:
        """Sequences of tokens, a few at a time, as a testbench wants them (``etchproof.sim.golden``)."""
        return Session(self)

    def _embed(self, tokens: Tensor) -> Tensor:
        """Section 2: (T,) -> (T, H)."""
        codes = self._embedding_codes[tokens].to(torch.int64)
        scales = self._embedding_scales[tokens].to(torch.int64)
        scaled = codes * scales.repeat_interleave(self.model.embedding.group_size, dim=1)[:, : codes.shape[1]]
        return saturate(round_shift(scaled, self._params["embedding.shift"]), 32)


class Session:
    """One sequence after the other through a golden model, with a cache of its own."""

    def __init__(self, golden: Golden) -> None:
        self._golden, self._cache = golden, golden.new_cache()
        self._adapter: int | None = None

    def predict(
        self, tokens: Sequence[int], first: bool, adapter: int | None = None
    ) -> dict[TapKey, TokenArrays]:
        """Every tap of consecutive tokens; ``first`` when they open a sequence, which keeps the adapter named then."""
        if first:
            self._cache, self._adapter = self._golden.new_cache(), adapter
        start = self._cache.length
        expected: dict[TapKey, TokenArrays] = {}

        def observe(layer: int, tap: str, value: Tensor) -> None:
            if tap in ("scores", "softmax"):  # (T, N, S): the chip has rows 0 .. position, heads side by side
                rows = value.transpose(1, 2).contiguous().numpy()
                expected[layer, tap] = [rows[i, : start + i + 1].reshape(-1) for i in range(len(tokens))]
            else:
                expected[layer, tap] = value.numpy()

        self._golden.forward(torch.tensor(tokens, dtype=torch.int64), self._cache, observe, self._adapter)
        return expected


def greedy_token(logits: Tensor) -> Tensor:
    """Section 11: the lowest index among the largest logits; (T, V) -> (T,)."""
    largest = logits == logits.amax(dim=-1, keepdim=True)
    return largest.to(torch.uint8).argmax(dim=-1)
