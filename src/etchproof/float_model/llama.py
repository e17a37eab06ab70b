"""The float reference: Llama's forward pass as Hugging Face defines it, in PyTorch, read top to bottom.

It is what quantization error is measured against, and what calibration text is sampled from. The chip is
never compared with it: that is the integer golden's part.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from etchproof.adapter import Adapter
from etchproof.checkpoint.config import ModelConfig
from etchproof.checkpoint.linears import LORA_PRODUCTS
from etchproof.checkpoint.rope import rope_cos_sin
from etchproof.checkpoint.tensors import expected_tensors
from etchproof.errors import InputError

Observer = Callable[[int, str, Tensor], None]
"""``observe(layer, tap, value)``: an operation by its name in docs/taps.md; ``layer`` is -1 outside the layers."""


class KvCache:
    """Keys (after RoPE) and values of the positions so far, of B sequences of up to ``length`` positions."""

    def __init__(self, config: ModelConfig, batch: int, length: int, dtype: torch.dtype) -> None:
        shape = (config.n_layers, batch, length, config.n_kv_heads, config.head_dim)
        self.keys = torch.zeros(shape, dtype=dtype)  # (n_layers, B, length, n_kv_heads, head_dim)
        self.values = torch.zeros(shape, dtype=dtype)  # (n_layers, B, length, n_kv_heads, head_dim)
        self.filled = 0  # positions held


class FloatModel:
    """Llama in floating point, perhaps with a LoRA adapter.

    Args:
        config: the architecture.
        weights: a tensor by its Hugging Face name (``Checkpoint.tensor``); each is fetched once, here, and
            kept.
        dtype: of weights and arithmetic; float64 keeps rounding far from what sampling decides.
        adapter: what is added to its linears, none of whose weights it changes.

    Raises:
        InputError: the adapter was loaded for another architecture.
    """

    def __init__(
        self,
        config: ModelConfig,
        weights: Callable[[str], Tensor],
        dtype: torch.dtype = torch.float32,
        adapter: Adapter | None = None,
    ) -> None:
        self.config, self.dtype = config, dtype
        self._weights = {name: weights(name).to(dtype) for name in expected_tensors(config)}
        self._lora = {} if adapter is None else self._checked(adapter)  # by module: scaling, A, B

    def forward(self, tokens: Sequence[int] | Tensor, observe: Observer | None = None) -> Tensor:
        """Logits of every position of one sequence, (T, vocab_size), causal, from position 0.

        ``observe`` is handed every tap but ``token``, as (T, elements of the tap's vector), those of an adapter before
        their linear's (``lora_b`` with its scaling), except ``scores`` and ``softmax``, which are (T, n_heads, T):
        scores are q . k / sqrt(head_dim) before the causal mask (positions to come hold what the mask then removes),
        softmax the probabilities (0 at positions to come).

        Raises:
            InputError: no token, one outside the vocabulary, or more than the context.
        """
        ids = torch.as_tensor(tokens, dtype=torch.int64)  # (T,)
        with torch.no_grad():
            return self._forward(ids[None], KvCache(self.config, 1, len(ids), self.dtype), observe)[0]

    def step(self, tokens: Tensor, cache: KvCache) -> Tensor:
        """Logits of ``tokens`` (B, T), placed after the positions that ``cache`` holds: (B, T, vocab_size)."""
        with torch.no_grad():
            return self._forward(tokens, cache, None)

    def _forward(self, tokens: Tensor, cache: KvCache, observe: Observer | None) -> Tensor:
        config = self.config
        batch, count = tokens.shape
        start, total = cache.filled, cache.filled + count  # these tokens are positions start..total-1
        self._check(tokens, total)
        see = observe or (lambda layer, tap, value: None)
        heads, kv_heads, head_dim = config.n_heads, config.n_kv_heads, config.head_dim
        group = heads // kv_heads  # query heads that share a key head

        cos, sin = map(
            torch.from_numpy, rope_cos_sin(config, np.arange(start, total))
        )  # 2 of (T, head_dim/2) float64
        cos, sin = cos.to(self.dtype)[:, None], sin.to(self.dtype)[:, None]  # (T, 1, head_dim/2), over heads
        to_come = torch.arange(total) > torch.arange(start, total)[:, None]  # (T, total) bool

        x = self._weights["model.embed_tokens.weight"][tokens]  # (B, T, hidden)
        see(-1, "embedding", x[0])
        for layer in range(config.n_layers):
            # Attention
            h = self._norm(x, f"model.layers.{layer}.input_layernorm")  # (B, T, hidden)
            see(layer, "attn_norm", h[0])
            q = self._linear(
                h, f"model.layers.{layer}.self_attn.q_proj", layer, see
            )  # (B, T, heads * head_dim)
            k = self._linear(
                h, f"model.layers.{layer}.self_attn.k_proj", layer, see
            )  # (B, T, kv_heads * head_dim)
            v = self._linear(
                h, f"model.layers.{layer}.self_attn.v_proj", layer, see
            )  # (B, T, kv_heads * head_dim)
            see(layer, "q_proj", q[0])
            see(layer, "k_proj", k[0])
            see(layer, "v_proj", v[0])
            q = rotate(q.view(batch, count, heads, head_dim), cos, sin)  # (B, T, heads, head_dim)
            k = rotate(k.view(batch, count, kv_heads, head_dim), cos, sin)  # (B, T, kv_heads, head_dim)
            see(layer, "q_rope", q[0].flatten(1))
            see(layer, "k_rope", k[0].flatten(1))

            cache.keys[layer, :, start:total] = k
            cache.values[layer, :, start:total] = v.view(batch, count, kv_heads, head_dim)
            # Query head h attends with key head h // group.
            keys = cache.keys[layer, :, :total].repeat_interleave(group, dim=2)  # (B, total, heads, head_dim)
            values = cache.values[layer, :, :total].repeat_interleave(group, dim=2)  # the same
            scores = torch.einsum("bthd,bshd->bths", q, keys) / math.sqrt(head_dim)  # (B, T, heads, total)
            see(layer, "scores", scores[0])
            past = scores.masked_fill(to_come[:, None], -math.inf)  # (B, T, heads, total)
            softmax = past.softmax(dim=-1)  # (B, T, heads, total)
            see(layer, "softmax", softmax[0])
            attended = torch.einsum("bths,bshd->bthd", softmax, values)  # (B, T, heads, head_dim)
            attended = attended.flatten(2)  # (B, T, heads * head_dim)
            see(layer, "attn_out", attended[0])
            o = self._linear(attended, f"model.layers.{layer}.self_attn.o_proj", layer, see)  # (B, T, hidden)
            see(layer, "o_proj", o[0])
            x = x + o
            see(layer, "attn_residual", x[0])

            # MLP
            h = self._norm(x, f"model.layers.{layer}.post_attention_layernorm")  # (B, T, hidden)
            see(layer, "mlp_norm", h[0])
            gate = self._linear(h, f"model.layers.{layer}.mlp.gate_proj", layer, see)  # (B, T, intermediate)
            see(layer, "gate_proj", gate[0])
            up = self._linear(h, f"model.layers.{layer}.mlp.up_proj", layer, see)  # (B, T, intermediate)
            see(layer, "up_proj", up[0])
            gated = torch.nn.functional.silu(gate) * up  # (B, T, intermediate)
            see(layer, "swiglu", gated[0])
            down = self._linear(gated, f"model.layers.{layer}.mlp.down_proj", layer, see)  # (B, T, hidden)
            see(layer, "down_proj", down[0])
            x = x + down
            see(layer, "mlp_residual", x[0])
        cache.filled = total

        x = self._norm(x, "model.norm")  # (B, T, hidden)
        see(-1, "final_norm", x[0])
        head = "model.embed_tokens" if config.tie_word_embeddings else "lm_head"
        logits = self._linear(x, head, -1, see)  # (B, T, vocab)
        see(-1, "logits", logits[0])
        return logits

    def _norm(self, x: Tensor, name: str) -> Tensor:
        """RMSNorm over the last axis: x / sqrt(mean(x^2) + eps) * weight."""
        mean_square = x.pow(2).mean(-1, keepdim=True)
        return self._weights[f"{name}.weight"] * (x * torch.rsqrt(mean_square + self.config.rms_norm_eps))

    def _linear(self, x: Tensor, name: str, layer: int, see: Observer) -> Tensor:
        """W x + b, and where an adapter stands + scaling * B (A x), whose two products are seen."""
        y = torch.nn.functional.linear(x, self._weights[f"{name}.weight"], self._weights.get(f"{name}.bias"))
        if name in self._lora:
            scaling, a, b = self._lora[name]
            h = x @ a.T  # (B, T, r)
            d = scaling * (h @ b.T)  # (B, T, out_features)
            tap_a, tap_b = LORA_PRODUCTS[name.rpartition(".")[2]]
            see(layer, tap_a, h[0])
            see(layer, tap_b, d[0])
            y = y + d
        return y

    def _checked(self, adapter: Adapter) -> dict[str, tuple[float, Tensor, Tensor]]:
        """The adapter in the model's dtype; each of its linears must be one of this model's."""
        for lora in adapter.linears.values():
            weight = self._weights.get(f"{lora.module}.weight")  # (out_features, in_features)
            expected = None if weight is None else list(weight.shape)
            shape = [lora.B.shape[0], lora.A.shape[1]]
            if shape != expected:
                raise InputError(
                    f"adapts a linear of shape {shape}, but that of {self.config.name} is {expected}",
                    source=adapter.path,
                    key=lora.module,
                    hint="load the adapter for this architecture",
                )
        return {
            lora.module: (lora.scaling, lora.A.to(self.dtype), lora.B.to(self.dtype))
            for lora in adapter.linears.values()
        }

    def _check(self, tokens: Tensor, total: int) -> None:
        if tokens.numel() == 0:
            raise InputError(
                "no token to compute", source=self.config.source, hint="give at least one token id"
            )
        if total > self.config.context:
            raise InputError(
                f"{total} tokens exceed the context of {self.config.context}", source=self.config.source
            )
        outside = tokens[(tokens < 0) | (tokens >= self.config.vocab_size)]
        if outside.numel():
            raise InputError(
                f"token id {int(outside[0])} is outside the vocabulary of {self.config.vocab_size}",
                source=self.config.source,
            )


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """RoPE by rotate-half: elements i and i + head_dim/2 of ``x`` (..., head_dim) turn by angle i."""
    first, second = x.chunk(2, dim=-1)  # 2 of (..., head_dim/2)
    return torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1)


def sample(model: FloatModel, n: int, length: int, seed: int, temperature: float = 1.0) -> Tensor:
    """``n`` texts drawn from the model, (n, length) int64.

    Column 0 is BOS, so that a row can be scored as it stands. BOS and EOS are never drawn (their logits are masked), so
    that every row has the full length. Drawing is by inverse CDF in float64, text i at position t taking the uniform
    (i, t - 1) of numpy's PCG64(seed); with a float64 model, another machine's rounding could change a draw only within
    about 1e-12 of a border.

    Raises:
        InputError: the model has no BOS token, or ``length`` or ``temperature`` is out of range.
    """
    config = model.config
    if config.bos_token_id is None:
        raise InputError(
            "is null, but sampling starts from it", source=config.source, key=config.key("bos_token_id")
        )
    if not 1 <= length <= config.context:
        raise InputError(
            f"length is {length}, expected 1 to {config.context} (the context)", source=config.source
        )
    if not temperature > 0:
        raise InputError(f"temperature is {temperature}, expected more than 0", source=config.source)
    uniforms = np.random.Generator(np.random.PCG64(seed)).random((n, length - 1))  # (n, length - 1) float64
    masked = [config.bos_token_id, *config.eos_token_ids]
    tokens = torch.full((n, length), config.bos_token_id, dtype=torch.int64)  # (n, length)
    cache = KvCache(config, n, length, model.dtype)
    for position in range(1, length):
        logits = (
            model.step(tokens[:, position - 1 : position], cache)[:, 0].double() / temperature
        )  # (n, vocab)
        logits[:, masked] = -math.inf
        cdf = logits.softmax(dim=-1).cumsum(dim=-1).numpy()  # (n, vocab) float64, ends near 1
        below_end = np.nextafter(
            cdf[:, -1], 0
        )  # (n,) a draw must stay below the end: a masked token could be there
        draws = np.minimum(uniforms[:, position - 1] * cdf[:, -1], below_end)  # (n,)
        tokens[:, position] = torch.from_numpy(
            (cdf <= draws[:, None]).sum(axis=1)
        )  # first index whose cdf exceeds it
    return tokens


def greedy(model: FloatModel, prompt_ids: Sequence[int], n: int) -> list[int]:
    """Up to ``n`` ids after the prompt: the most likely each time, ties to the lowest id; an EOS is the last."""
    cache = KvCache(model.config, 1, min(len(prompt_ids) + n, model.config.context), model.dtype)
    generated: list[int] = []
    tokens = torch.tensor([list(prompt_ids)], dtype=torch.int64)  # (1, T)
    while len(generated) < n:
        token = int(model.step(tokens, cache)[0, -1].argmax())
        generated.append(token)
        if token in model.config.eos_token_ids:
            break
        tokens = torch.tensor([[token]], dtype=torch.int64)  # (1, 1)
    return generated
