"""The plan of the reference chip: every shape and width, worked out from architecture and recipe alone.

Nothing here sees a weight, so two checkpoints of one shape have equal plans and hence equal SystemVerilog
(docs/architecture.md). The plan also carries the proof that no accumulator can overflow (docs/numerics.md section 4).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from etchproof.checkpoint import ModelConfig
from etchproof.checkpoint.linears import LINEARS
from etchproof.checkpoint.rope import rope_cos_sin
from etchproof.errors import InputError
from etchproof.quantize.recipe import MatrixFormat, Recipe, resolve
from models.numerics import tables

ACC_BITS = 64
LOGIT_BITS = 16
SCALE_BITS = 16
BIAS_TERM_BITS = 46  # |B * 2**bias_shift| <= 2**46
ROUNDING_BITS = 61  # rounding constant of the largest shift
LORA_TERM_BITS = 60  # |d * 2**b_shift| <= 2**60, section 14
LORA_PRODUCT_BITS = 30  # |b * h| <= 2**30
MAX_HIDDEN = 1 << 14  # keeps RMSNorm's sum of squares below 2**63
MAX_CONTEXT = (1 << 18) - 1  # softmax's sum is at most T * 2**20, and the reciprocal takes less than 2**38
MAX_LAYERS = (1 << 11) - 2  # what a unit of the ROM test port can name, docs/rom-format.md
LAYER_STEPS = (
    *("attn_norm", "qkv", "rope", "attention", "o_proj", "attn_residual"),
    *("mlp_norm", "gate_up", "swiglu", "down_proj", "mlp_residual"),
)
"""The steps of a layer, in the order in which its stage runs them."""

TAIL_STEPS = ("final_norm", "lm_head", "argmax")
MODULES = {name: ("self_attn" if name[0] in "qkvo" else "mlp") for name in LINEARS}


@dataclass(frozen=True)
class LinearPlan:
    """One ROM linear: its shape, format and proven widths."""

    name: str  # q_proj .. down_proj, lm_head
    rows: int
    cols: int
    bits: int
    group_size: int  # padded: a whole row is chunks * tile_inputs
    out_bits: int
    has_bias: bool
    tile_rows: int
    tile_inputs: int
    act_bits: int
    lora_slots: int = 0  # 0: no adapter can be added
    lora_max_rank: int = 0

    @property
    def blocks(self) -> int:
        return -(-self.rows // self.tile_rows)

    @property
    def in_blocks(self) -> int:
        """Blocks of tile_rows lanes that hold the inputs, as an adapter reads them."""
        return -(-self.cols // self.tile_rows)

    @property
    def in_padded_blocks(self) -> int:
        """Blocks of the input vector, padded to whole chunks."""
        return self.chunks * self.tile_inputs // self.tile_rows

    @property
    def chunks(self) -> int:
        return -(-self.cols // self.tile_inputs)

    @property
    def depth(self) -> int:
        """Words of the code ROM; a word is tile_inputs x tile_rows codes."""
        return self.blocks * self.chunks

    @property
    def groups_per_word(self) -> int:
        return max(1, self.tile_inputs // self.group_size)

    @property
    def chunks_per_group(self) -> int:
        return max(1, self.group_size // self.tile_inputs)

    @property
    def scale_depth(self) -> int:
        """Words of the scale ROM; a word is groups_per_word x tile_rows scales."""
        if self.group_size <= self.tile_inputs:
            return self.depth
        return self.blocks * -(-self.chunks // self.chunks_per_group)

    @property
    def max_part(self) -> int:
        """Largest magnitude of one group's sum of products."""
        return self.group_size << (self.bits - 1 + self.act_bits - 1)

    @property
    def part_bits(self) -> int:
        """Container of a group's sum: 32 or 64 bits."""
        return 32 if self.max_part < 1 << 31 else 64

    @property
    def max_sum(self) -> int:
        """Largest magnitude of a row's sum and its bias, whatever the weights and the input."""
        padded = self.chunks * self.tile_inputs
        groups = -(-padded // self.group_size)
        bias = 1 << BIAS_TERM_BITS if self.has_bias else 0
        return groups * ((1 << SCALE_BITS) - 1) * self.max_part + bias

    @property
    def max_acc(self) -> int:
        """Largest magnitude of the accumulator, an adapter's product and the rounding constant included."""
        lora = 1 << LORA_TERM_BITS if self.lora_slots else 0
        return self.max_sum + lora + (1 << ROUNDING_BITS)


@dataclass(frozen=True)
class ChipPlan:
    """Everything that the templates and the image writer need to know."""

    vocab_size: int
    hidden_size: int
    intermediate_size: int
    n_layers: int
    n_heads: int
    n_kv_heads: int
    head_dim: int
    context: int
    act_bits: int
    kv_bits: int
    tile_rows: int
    tile_inputs: int
    norm_epsilon: int
    softmax_scale: int
    softmax_kappa: int
    embedding: MatrixFormat
    layer_kinds: tuple[
        tuple[LinearPlan, ...], ...
    ]  # distinct layers; each the linears of taps.LINEARS, in order
    layers: tuple[int, ...]  # kind of each layer
    lm_head: LinearPlan
    lora_slots: int  # adapters that the chip holds; 0: no hardware for any
    lora_max_rank: int

    @property
    def max_b_shift(self) -> int:
        """Largest b_shift of an adapter (docs/numerics.md section 14): keeps |d * 2**b_shift| within 2**60."""
        return LORA_TERM_BITS - LORA_PRODUCT_BITS - (self.lora_max_rank - 1).bit_length()

    @property
    def q_size(self) -> int:
        return self.n_heads * self.head_dim

    @property
    def kv_size(self) -> int:
        return self.n_kv_heads * self.head_dim

    def blocks(self, size: int) -> int:
        """Blocks of tile_rows lanes that hold a vector of ``size`` elements."""
        return -(-size // self.tile_rows)

    def padded_blocks(self, size: int) -> int:
        """Blocks of a vector that feeds a linear: padded to whole chunks of tile_inputs."""
        return -(-size // self.tile_inputs) * self.tile_inputs // self.tile_rows

    def linears(self, layer: int) -> dict[str, LinearPlan]:
        return {linear.name: linear for linear in self.layer_kinds[self.layers[layer]]}


def plan(config: ModelConfig, recipe: Recipe) -> ChipPlan:
    """Plan the chip for an architecture and a recipe.

    Raises:
        InputError: the architecture is too large for the chip's fixed widths, RoPE's angles are not finite, or the
            recipe could overflow an accumulator; the numbers are named.
    """
    formats = resolve(recipe, config)
    hidden, rows, inputs = config.hidden_size, recipe.tile.rows, recipe.tile.inputs
    if hidden > MAX_HIDDEN:
        raise InputError(
            f"{hidden} is more than {MAX_HIDDEN}",
            source=config.source,
            key="hidden_size",
            hint="RMSNorm's sum of squares would pass 63 bits",
        )
    if config.n_layers > MAX_LAYERS:
        raise InputError(
            f"{config.n_layers} is more than {MAX_LAYERS}",
            source=config.source,
            key=config.key("num_hidden_layers"),
            hint="the ROM test port could not name the last ones",
        )
    context = min(recipe.context, config.context)
    if context > MAX_CONTEXT:
        raise InputError(
            f"{context} is more than {MAX_CONTEXT}",
            source=recipe.source,
            key="context",
            hint="softmax's sum of more positions can pass 38 bits",
        )
    rope_cos_sin(config, np.array([context - 1]))  # the largest angles: before anything is made

    slots = recipe.lora.slots

    def linear(
        module: str, name: str, n_rows: int, n_cols: int, out_bits: int, bias: bool, slots: int = slots
    ) -> LinearPlan:
        fmt = formats[module]
        padded = -(-n_cols // inputs) * inputs
        result = LinearPlan(
            name=name,
            rows=n_rows,
            cols=n_cols,
            bits=fmt.bits,
            group_size=padded if fmt.group_size >= n_cols else fmt.group_size,
            out_bits=out_bits,
            has_bias=bias,
            tile_rows=rows,
            tile_inputs=inputs,
            act_bits=recipe.activation_bits,
            lora_slots=slots,
            lora_max_rank=recipe.lora.max_rank if slots else 0,
        )
        if result.max_part >= 1 << 63 or result.max_acc >= 1 << (ACC_BITS - 1):
            raise InputError(
                f"accumulator could reach {result.max_acc} (2^{result.max_acc.bit_length()}) of 2^{ACC_BITS - 1}",
                source=recipe.source,
                key=module,
                hint="use fewer code bits, 8-bit activations or larger groups",
            )
        return result

    act, kv = recipe.activation_bits, recipe.kv_bits
    q_size, kv_size, ffn = config.q_size, config.kv_size, config.intermediate_size
    shapes = {
        "q_proj": (q_size, hidden, act, config.attention_bias),
        "k_proj": (kv_size, hidden, act, config.attention_bias),
        "v_proj": (kv_size, hidden, kv, config.attention_bias),
        "o_proj": (hidden, q_size, act, config.attention_bias),
        "gate_proj": (ffn, hidden, act, config.mlp_bias),
        "up_proj": (ffn, hidden, act, config.mlp_bias),
        "down_proj": (hidden, ffn, act, config.mlp_bias),
    }
    per_layer = [
        tuple(linear(f"model.layers.{index}.{MODULES[name]}.{name}", name, *shapes[name]) for name in LINEARS)
        for index in range(config.n_layers)
    ]
    kinds = tuple(dict.fromkeys(per_layer))
    mantissa, kappa = tables.softmax_scale(config.head_dim)
    return ChipPlan(
        vocab_size=config.vocab_size,
        hidden_size=hidden,
        intermediate_size=ffn,
        n_layers=config.n_layers,
        n_heads=config.n_heads,
        n_kv_heads=config.n_kv_heads,
        head_dim=config.head_dim,
        context=context,
        act_bits=act,
        kv_bits=kv,
        tile_rows=rows,
        tile_inputs=inputs,
        norm_epsilon=tables.norm_epsilon(hidden, config.rms_norm_eps),
        softmax_scale=mantissa,
        softmax_kappa=kappa,
        embedding=formats["model.embed_tokens"],
        layer_kinds=kinds,
        layers=tuple(kinds.index(kind) for kind in per_layer),
        lm_head=linear("lm_head", "lm_head", config.vocab_size, hidden, LOGIT_BITS, False, slots=0),
        lora_slots=slots,
        lora_max_rank=recipe.lora.max_rank if slots else 0,
    )
