"""The views that the templates are rendered with: names, widths and counts, worked out here, never in a template."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from etchproof.checkpoint.linears import LINEARS, LORA_PRODUCTS
from etchproof.render.templates import Rendering
from models.chip import LAYER_STEPS, TAIL_STEPS, ChipPlan
from models.numerics import tables
from models.numerics.params import LAYER_WORDS, TOP_WORDS
from models.rom.units import ROM_BITS, RomUnit, front_roms, layer_roms, tail_roms
from models.taps import bits


@dataclass(frozen=True)
class Vector:
    """How a vector of ``size`` elements is held (docs/rom-format.md, "Geometry")."""

    size: int
    blocks: int
    padded_blocks: int  # as the input of a linear
    index_bits: int  # of a block


@dataclass(frozen=True)
class TapView:
    """One tap of a module: which array, its dimensions, and the step after which it stands."""

    name: str
    rows: int
    cols: int
    width: int
    count: str  # SystemVerilog expression: elements that count
    step: str
    only: str = ""  # SystemVerilog expression: whether there is one at all

    @property
    def signal(self) -> str:
        """The array's name."""
        return self.name.replace(".", "_")

    @property
    def valid(self) -> str:
        """SystemVerilog expression: whether it is taken now."""
        return f"done[{_parameter(self.step)}]" + (f" && {self.only}" if self.only else "")


def _parameter(step: str) -> str:
    """The SystemVerilog name of a step's number."""
    return "Step" + "".join(word.title() for word in step.split("_"))


def _parameters(steps: tuple[str, ...]) -> Mapping[str, int]:
    return {_parameter(step): number for number, step in enumerate(steps)}


def _index_bits(count: int) -> int:
    return max(1, (count - 1).bit_length())


def _vector(plan: ChipPlan, size: int) -> Vector:
    blocks = plan.blocks(size)
    return Vector(size, blocks, plan.padded_blocks(size), _index_bits(blocks))


def renderings(plan: ChipPlan) -> tuple[Rendering, ...]:
    """Every rendered file of the chip, in compilation order; depends on the plan alone."""
    lanes = plan.tile_rows
    hidden, query = _vector(plan, plan.hidden_size), _vector(plan, plan.q_size)
    key_value, ffn = _vector(plan, plan.kv_size), _vector(plan, plan.intermediate_size)
    vocab = _vector(plan, plan.vocab_size)
    cache_rows = 1 << _index_bits(plan.context)
    width = bits(plan)
    common: dict[str, Any] = {
        "plan": plan,
        "lanes": lanes,
        "hidden": hidden,
        "query": query,
        "key_value": key_value,
        "ffn": ffn,
        "pairs": plan.head_dim // 2,
        "cache_rows": cache_rows,
        "act_bits": plan.act_bits,
        "kv_bits": plan.kv_bits,
    }

    def blocked(name: str, vector: Vector, step: str, *, padded: bool = False) -> TapView:
        rows = vector.padded_blocks if padded else vector.blocks
        return TapView(name, rows, lanes, width[name], str(vector.size), step)

    def heads(name: str, count: int, step: str) -> TapView:
        return TapView(name, count, plan.head_dim, width[name], str(count * plan.head_dim), step)

    def positions(name: str, step: str) -> TapView:
        return TapView(name, cache_rows, plan.n_heads, width[name], "visible", step)

    def linear(name: str, vector: Vector, step: str, *, padded: bool = False) -> Iterator[TapView]:
        """The products of its adapter, if the chip can have one, and its own result."""
        if plan.lora_slots:
            on, (first, second) = f"{name}_lora_on", LORA_PRODUCTS[name]
            yield TapView(first, 1, plan.lora_max_rank, width[first], f"{name}_lora_rank", step, on)
            yield replace(blocked(second, vector, step), only=on)
        yield blocked(name, vector, step, padded=padded)

    layer_taps = (
        blocked("attn_norm", hidden, "attn_norm", padded=True),
        *linear("q_proj", query, "qkv"),
        *linear("k_proj", key_value, "qkv"),
        *linear("v_proj", key_value, "qkv"),
        heads("q_rope", plan.n_heads, "rope"),
        heads("k_rope", plan.n_kv_heads, "rope"),
        positions("scores", "attention"),
        positions("softmax", "attention"),
        blocked("attn_out", query, "attention", padded=True),
        *linear("o_proj", hidden, "o_proj"),
        blocked("attn_residual", hidden, "attn_residual"),
        blocked("mlp_norm", hidden, "mlp_norm", padded=True),
        *linear("gate_proj", ffn, "gate_up", padded=True),
        *linear("up_proj", ffn, "gate_up", padded=True),
        blocked("swiglu", ffn, "swiglu", padded=True),
        *linear("down_proj", hidden, "down_proj"),
        blocked("mlp_residual", hidden, "mlp_residual"),
    )
    tail_taps = (
        blocked("final_norm", hidden, "final_norm", padded=True),
        blocked("logits", vocab, "lm_head"),
        TapView("token", 1, 1, width["token"], "1", "argmax"),
    )
    layer_inputs = ("in_valid_i", "rom_chain_i", *(("lora_select_i",) if plan.lora_slots else ()))
    modules = tuple(f"ep_layer_{kind}" for kind in range(len(plan.layer_kinds)))
    layer_words, top_words = _indices(LAYER_WORDS), _indices(TOP_WORDS)
    whole_row = plan.embedding.group_size >= plan.hidden_size
    embedding_group = hidden.blocks * lanes if whole_row else plan.embedding.group_size
    return (
        Rendering(
            "ep_tables_pkg.sv.j2",
            "ep_tables_pkg.sv",
            {
                "rsqrt": tables.rsqrt_table(),
                "recip": tables.recip_table(),
                "exp2": tables.exp2_table(),
                "sigmoid": tables.sigmoid_table(),
            },
        ),
        *(
            Rendering(
                "ep_layer.sv.j2",
                f"{module}.sv",
                common
                | {
                    "module": module,
                    "words": layer_words,
                    "linears": {item.name: item for item in kind},
                    "linear_numbers": _indices(LINEARS),
                    "taps": layer_taps,
                    "steps": _parameters(LAYER_STEPS),
                }
                | _roms(layer_roms(plan, number)),
            )
            for number, (module, kind) in enumerate(zip(modules, plan.layer_kinds, strict=True))
        ),
        Rendering(
            "ep_tail.sv.j2",
            "ep_tail.sv",
            common
            | {"head": plan.lm_head, "taps": tail_taps, "steps": _parameters(TAIL_STEPS)}
            | _roms(tail_roms(plan)),
        ),
        Rendering(
            "ep_chip.sv.j2",
            "ep_chip.sv",
            common
            | {
                "words": top_words,
                "embedding_group": embedding_group,
                "layer_modules": tuple(modules[kind] for kind in plan.layers),
                "layer_clocks": 2 if plan.lora_slots else 1,
                "lora_in_blocks": tuple(item.in_blocks for item in plan.layer_kinds[0]),
                "lora_out_blocks": tuple(item.blocks for item in plan.layer_kinds[0]),
                "taps": (blocked("embedding", hidden, "embedding"),),
            }
            | _roms(front_roms(plan)),
        ),
        Rendering("build.vlt.j2", "build.vlt", {"layer_modules": modules, "layer_inputs": layer_inputs}),
    )


def _roms(roms: tuple[RomUnit, ...]) -> dict[str, Any]:
    """What a stage's station is rendered with: one signal of slices for each module, which may hold several ROMs."""
    owners = dict.fromkeys(unit.name.partition(".")[0] for unit in roms)
    return {
        "rom_geometry": {
            "words": _padded([unit.words for unit in roms]),
            "slices": _padded([unit.slices for unit in roms]),
        },
        "rom_numbers": _indices(tuple(unit.name for unit in roms)),
        "rom_slices": tuple(f"{owner}_slice" for owner in owners),
    }


def _padded(sizes: list[int]) -> list[int]:
    """Of every number that a ROM can have."""
    return sizes + [0] * ((1 << ROM_BITS) - len(sizes))


def _indices(words: tuple[str, ...]) -> Mapping[str, int]:
    return {word: index for index, word in enumerate(words)}
