"""Every unit of the chip of a plan: ``[diagnose] units`` of ``etchproof.toml``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from etchproof.checkpoint.linears import INPUTS, LINEARS, LORA_PRODUCTS, module_name
from etchproof.contract.diagnosis import Place
from etchproof.contract.taps import TapKey
from etchproof.quantize.quantized_model import (
    QuantizedAdapter,
    QuantizedGains,
    QuantizedMatrix,
    QuantizedModel,
)
from models import chip
from models.chip import ChipPlan
from models.diagnosis import families
from models.diagnosis.arithmetic import Exponential, Reciprocal, Root, Sigmoid, table
from models.diagnosis.units import (
    Argmax,
    AttnOut,
    Embedding,
    Heads,
    Linear,
    LoraA,
    LoraB,
    Norm,
    Residual,
    Rope,
    Scores,
    Softmax,
    Swiglu,
    Unit,
)
from models.numerics import tables
from models.numerics.params import layer_params, top_params

_NORMS: Final = {"attn_norm": "input_layernorm", "mlp_norm": "post_attention_layernorm"}


def units(model: QuantizedModel, plan: ChipPlan, adapters: Sequence[QuantizedAdapter]) -> tuple[Unit, ...]:
    """Every unit, in dataflow order.

    Args:
        adapters: of the run, by their index.
    """
    bench = families.Bench(model, plan)
    found = bench.units = tuple(_Maker(model, plan, adapters, bench).units())
    return found


class _Maker:
    def __init__(
        self,
        model: QuantizedModel,
        plan: ChipPlan,
        adapters: Sequence[QuantizedAdapter],
        bench: families.Bench,
    ) -> None:
        self._model, self._plan, self._adapters = model, plan, adapters
        self._root = Root(table("RSQRT"))
        self._cos, self._sin = tables.rope_tables(model.config, plan.context)
        self._bench = bench

    def units(self) -> Iterator[Unit]:
        model, plan, top = self._model, self._plan, top_params(self._model)
        embedding = model.embedding
        yield Embedding(
            *self._facts("model.embed_tokens", "embedding", (-1, "embedding"), "u_embedding"),
            codes=embedding.codes,
            scales=embedding.scales,
            group_size=embedding.group_size,
            shift=top["embedding.shift"],
        )
        residual: TapKey = (-1, "embedding")
        for layer in range(plan.n_layers):
            yield from self._layer(layer, residual)
            residual = (layer, "mlp_residual")
        yield self._norm(
            "model.norm", (-1, "final_norm"), residual, model.final_norm, top["final_norm.shift"]
        )
        yield self._linear(
            "lm_head",
            (-1, "logits"),
            (-1, "final_norm"),
            model.lm_head,
            top["lm_head.shift"],
            chip.LOGIT_BITS,
        )
        yield Argmax(
            *self._facts("argmax", "argmax", (-1, "token"), "u_tail.u_argmax"), source=(-1, "logits")
        )

    def _layer(self, layer: int, residual: TapKey) -> Iterator[Unit]:
        model, plan = self._model.layers[layer], self._plan
        words, at = layer_params(self._model, layer), f"model.layers.{layer}"
        inside = f"u_layer{layer}"

        def norm(name: str, source: TapKey, gains: QuantizedGains) -> Norm:
            return self._norm(f"{at}.{_NORMS[name]}", (layer, name), source, gains, words[f"{name}.shift"])

        def linear(name: str) -> Iterator[Unit]:
            yield from self._lora(layer, name)
            yield self._linear(
                module_name(layer, name),
                (layer, name),
                (layer, INPUTS[name]),
                model.linears[name],
                words[f"{name}.shift"],
                plan.linears(layer)[name].out_bits,
            )

        def facts(name: str, module: str, tap: str) -> tuple[str, str, TapKey, Place, int, families.Family]:
            return self._facts(f"{at}.{name}", module, (layer, tap), f"{inside}.u_{module}")

        def rope(tap: str, heads: int, shift: int, bits: int) -> Rope:
            name, module, key, place, lanes, family = facts(f"self_attn.{tap}", "rope", tap)
            place = Place(instance=f"{inside}.u_{tap}", file=place.file)
            return Rope(
                *(name, module, key, place, lanes, family),
                source=(layer, f"{tap[0]}_proj"),
                cos=self._cos,
                sin=self._sin,
                heads=heads,
                shift=shift,
                bits=bits,
            )

        def added(name: str, tap: str, before: TapKey) -> Residual:
            return Residual(
                *facts(tap, "residual", tap),
                before=before,
                added=(layer, name),
                shift=words[f"{name}.residual_shift"],
            )

        heads = Heads(plan.n_heads, plan.n_kv_heads, plan.head_dim)
        yield norm("attn_norm", residual, model.attn_norm)
        for name in LINEARS[:3]:
            yield from linear(name)
        yield rope("q_rope", plan.n_heads, tables.ROPE_FRAC, plan.act_bits)
        yield rope("k_rope", plan.n_kv_heads, words["k_rope.shift"], plan.kv_bits)
        yield Scores(
            *facts("self_attn.scores", "attention", "scores"),
            source=(layer, "q_rope"),
            cached=(layer, "k_rope"),
            heads=heads,
        )
        yield Softmax(
            *facts("self_attn.softmax", "attention", "softmax"),
            source=(layer, "scores"),
            heads=heads.queries,
            scale=plan.softmax_scale,
            shift=words["softmax.shift"],
            exponential=Exponential(table("EXP2")),
        )
        yield AttnOut(
            *facts("self_attn.attn_out", "attention", "attn_out"),
            source=(layer, "softmax"),
            cached=(layer, "v_proj"),
            heads=heads,
            shift=words["attn_out.shift"],
            bits=plan.act_bits,
            reciprocal=Reciprocal(table("RECIP")),
        )
        yield from linear("o_proj")
        yield added("o_proj", "attn_residual", residual)
        yield norm("mlp_norm", (layer, "attn_residual"), model.mlp_norm)
        yield from linear("gate_proj")
        yield from linear("up_proj")
        yield Swiglu(
            *facts("mlp.swiglu", "swiglu", "swiglu"),
            gate=(layer, "gate_proj"),
            up=(layer, "up_proj"),
            gate_shift=words["swiglu.gate_shift"],
            shift=words["swiglu.shift"],
            bits=plan.act_bits,
            sigmoid=Sigmoid(table("SIGMOID")),
        )
        yield from linear("down_proj")
        yield added("down_proj", "mlp_residual", (layer, "attn_residual"))

    def _facts(
        self, name: str, module: str, result: TapKey, instance: str
    ) -> tuple[str, str, TapKey, Place, int, families.Family]:
        place = Place(instance=instance, file=f"ep_{module}.sv")
        return name, module, result, place, self._plan.tile_rows, self._bench.families

    def _norm(self, name: str, result: TapKey, source: TapKey, gains: QuantizedGains, shift: int) -> Norm:
        stage = "u_tail" if result[0] < 0 else f"u_layer{result[0]}"
        return Norm(
            *self._facts(name, "rmsnorm", result, f"{stage}.u_{result[1]}"),
            source=source,
            gains=gains.values,
            epsilon=self._plan.norm_epsilon,
            shift=shift,
            bits=self._plan.act_bits,
            root=self._root,
        )

    def _linear(
        self, name: str, result: TapKey, source: TapKey, matrix: QuantizedMatrix, shift: int, bits: int
    ) -> Linear:
        stage = "u_tail" if result[0] < 0 else f"u_layer{result[0]}"
        shifts = {
            index: adapter.linears[result].b_shift
            for index, adapter in enumerate(self._adapters)
            if result in adapter.linears
        }
        added = ((result[0], LORA_PRODUCTS[result[1]][1]), shifts) if shifts else None
        return Linear(
            *self._facts(name, "linear", result, f"{stage}.u_{name.rpartition('.')[2]}"),
            source=source,
            codes=matrix.codes,
            scales=matrix.scales,
            bias=matrix.bias,
            code_bits=matrix.bits,
            group_size=matrix.group_size,
            shift=shift,
            bias_shift=matrix.bias_shift,
            bits=bits,
            added=added,
        )

    def _lora(self, layer: int, name: str) -> Iterator[Unit]:
        held = {
            index: adapter.linears[layer, name]
            for index, adapter in enumerate(self._adapters)
            if (layer, name) in adapter.linears
        }
        if not held:
            return
        first, second = LORA_PRODUCTS[name]
        where = f"u_layer{layer}.u_{name}_lora"
        yield LoraA(
            *self._facts(f"{module_name(layer, name)}.lora_a", "lora", (layer, first), where),
            source=(layer, INPUTS[name]),
            matrices={index: (matrix.a, matrix.a_shift) for index, matrix in held.items()},
        )
        yield LoraB(
            *self._facts(f"{module_name(layer, name)}.lora_b", "lora", (layer, second), where),
            source=(layer, first),
            matrices={index: matrix.b for index, matrix in held.items()},
        )
