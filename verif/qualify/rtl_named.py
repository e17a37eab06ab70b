"""What a diagnosis should say of each declared fault of the RTL: in which units, and of which kind.

``bench/named.py`` holds diagnoses against it. Where several kinds are listed, each of them is a right answer: they say
the same thing in other words, or are the same in a chip. Patterns are those of ``fnmatch``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Named:
    """What a right diagnosis names.

    Attributes:
        units: classes of units or taps, one of which is at fault, and no other; "*" for all.
        kinds: right answers; none where only "unexplained, in this unit" is honest.
    """

    units: tuple[str, ...]
    kinds: tuple[str, ...] = ()


NO_TAP: Final = Named(())
"""Nothing that a tap shows: answers of the host or the load port, and signatures of the ROM port."""

_ALL: Final = ("*",)
_ATTENTION: Final = ("scores", "softmax", "attn_out")
_CLAMPS: Final = ("saturation: *",)
_OFFSETS: Final = ("offset of codes",)
_ADAPTED: Final = ("linear", "lora")
_CONTROL: Final = Named(_ALL)
"""Control: what mixes steps or tokens may spoil any unit of the stage, in a way that has no name."""

_PRIMITIVES: Final = {
    "rounded down": Named(_ALL, ("rounding: down",)),
    "rounded towards zero": Named(_ALL, ("rounding: to zero",)),
    "tie to even": Named(_ALL, ("rounding: tie to even",)),
    "tie down": Named(_ALL, ("rounding: tie down",)),
    "tie away from zero": Named(_ALL, ("rounding: tie from zero",)),
    "largest value one low": Named(_ALL, ("saturation: top one low",)),
    "smallest value one high": Named(_ALL, ("saturation: bottom one high",)),
    "no clamp above": Named(_ALL, ("saturation: no clamp above", "saturation: wrap")),
    "no clamp below": Named(_ALL, ("saturation: no clamp below", "saturation: wrap")),
    "no clamp": Named(_ALL, ("saturation: wrap", "saturation: no clamp *")),
    "signature of another polynomial": NO_TAP,
    "signature without order": NO_TAP,
    "checksum not reflected": NO_TAP,
}
_EMBEDDING: Final = {
    "codes of the neighbour row": Named(("embedding",), ("address bit inverted (*)",)),
    "scales of the neighbour row": Named(("embedding",), ("address bit inverted (*)",)),
    "row rounded down": Named(("embedding",), ("rounding: down",)),
    "scale of the next group": Named(("embedding",), ("neighbour *", "address bit inverted (*)")),
}
_NORM: Final = {
    "block exponent's threshold one high": Named(("rmsnorm",), ("block exponent",)),
    "block exponent one low": Named(("rmsnorm",), ("block exponent",)),
    "magnitude of negatives as they stand": Named(("rmsnorm",), ("magnitude",)),
    "magnitude of negatives left out": Named(("rmsnorm",), ("magnitude",)),
    "magnitude of negatives one low": Named(("rmsnorm",), ("magnitude",)),
    "squares without block exponent": Named(("rmsnorm",), ("block exponent left out",)),
    "gain of the neighbour": Named(("rmsnorm",), ("neighbour *",)),
    "odd exponent of the root": Named(("rmsnorm",), ("odd exponent",)),
    "index without its last bit": Named(("rmsnorm",), ("table index",)),
    "one Newton step": Named(("rmsnorm",), ("newton steps",)),
    "epsilon by s in place of 2s": Named(("rmsnorm",), ("epsilon's shift",)),
    "epsilon left out": Named(("rmsnorm",), ("epsilon",)),
    "gains of the first block": Named(("rmsnorm",), ("first *",)),
}
_LINEAR: Final = {
    "scale of the neighbour row": Named(("linear",), ("neighbour *",)),
    "scale with a sign": Named(("linear",), ("scale with a sign",)),
    "offset of the codes one low": Named(("linear",), _OFFSETS),
    "word of the next tile": Named(("linear",), ("neighbour word",)),
    "shift one more": Named(("linear",), ("shift one more", "rounding: shifted one more")),
    "accumulator of 32 bits": Named(("linear",), ("accumulator of *",)),
    "done a cycle early": _CONTROL,
    "bubble": _CONTROL,
    "word of the neighbour read back": NO_TAP,
    "bytes of a slice in falling order": NO_TAP,
    "scales read back by group and row": NO_TAP,
    "scale of the next group": Named(("linear",), ("neighbour *", "address bit inverted (*)")),
    "inputs of the first chunk": Named(("linear",), ("inputs moved",)),
    "each chunk begins anew": Named(("linear",), ("chunk alone",)),
    "sum kept over blocks": Named(("linear",), ("sum kept over blocks",)),
    "block of the next word": Named(("linear",), ("outputs moved",)),
    "scale of a row's first group": Named(("linear",), ("first *", "address bit stuck (*)")),
    "bias left out": Named(("linear",), ("bias left out", "image blank")),
    "bias of the neighbour": Named(("linear",), ("neighbour *",)),
    "bias not shifted": Named(("linear",), ("bias not shifted", "shift one less")),
    "adapter where it adapts nothing": Named(_ADAPTED),
    "adapter not shifted": Named(("linear",), ("adapter scaled wrongly",)),
    "adapter of the first block": Named(("linear",), ("blocks of *", "first *")),
    "adapter at each chunk": Named(("linear",), ("adapter at each chunk", "adapter twice")),
}
_ROPE: Final = {
    "pairs interleaved": Named(("rope",), ("pairs interleaved",)),
    "rotated the other way": Named(("rope",), ("rotated the other way",)),
    "cosine and sine exchanged": Named(("rope",), ("cosine and sine exchanged",)),
    "frequencies in falling order": Named(("rope",), ("frequencies in falling order",)),
    "position one high": Named(("rope",), ("position",)),
    "sine of the cosines": Named(("rope",), ("sine of the cosines", "image of another matrix")),
}
_ATTENTION_FAULTS: Final = {
    "keys in place of values": Named(("attn_out",), ("reads k_rope",)),
    "values in place of keys": Named(("scores",), ("reads v_proj",)),
    "keys into the next row": Named(("scores",), ("cache row (keys)",)),
    "values into the neighbour row": Named(("attn_out",), ("cache row (values)",)),
    "one row too few": Named(_ATTENTION, ("last row *", "own row *", "mask")),
    "one row too many": Named(_ATTENTION),
    "own row not weighed": Named(("attn_out",), ("own row not weighed",)),
    "maximum of the token before": Named(("softmax",), ("softmax's maximum",)),
    "sum of the token before": Named(("attn_out",), ("sum kept",)),
    "values of the token before": Named(("attn_out",), ("values kept",)),
    "scale a power of two": Named(("softmax",), ("softmax's scale",)),
    "exponent not limited": Named(("softmax",), ("exponent not limited",)),
    "next entry of the exponential": Named(("softmax",), ("table index",)),
    "exponential not interpolated": Named(("softmax",), ("not interpolated",)),
    "exponential interpolated upwards": Named(("softmax",), ("interpolated the other way",)),
    "reciprocal: second Newton step left out": Named(("attn_out",), ("newton steps",)),
    "reciprocal: index without its last bit": Named(("attn_out",), ("table index",)),
    "reduction rounded down": Named(("attn_out",), ("rounding of reduce: down",)),
    "maximum of the first head": Named(("softmax",), ("softmax's maximum",)),
    "mantissa of the next head": Named(("attn_out",), ("mantissa of the next head",)),
    "result of the next head": Named(("attn_out",), ("result of the next head",)),
    "head map of keys interleaved": Named(("scores",), ("head map of keys",)),
    "head map of values interleaved": Named(("attn_out",), ("head map of values",)),
    "values interleaved by head": Named(("attn_out",), ("values by element",)),
}
_SWIGLU: Final = {
    "gate and up exchanged": Named(("swiglu",), ("gate_proj and up_proj exchanged",)),
    "sigmoid not mirrored": Named(("swiglu",), ("sigmoid not mirrored",)),
    "argument not limited": Named(("swiglu",), ("argument not limited",)),
    "sigmoid not interpolated": Named(("swiglu",), ("not interpolated",)),
    "sigmoid interpolated downwards": Named(("swiglu",), ("interpolated the other way",)),
    "next entry of the sigmoid": Named(("swiglu",), ("table index",)),
    "rounded before the second product": Named(("swiglu",), ("rounded before the second product",)),
}
_RESIDUAL: Final = {
    "residual added twice": Named(("residual",), ("residual twice",)),
    "residual wraps": Named(("residual",), _CLAMPS),
    "shifts exchanged": Named(("residual",), ("residual shifts exchanged",)),
    "addends exchanged": Named(("residual",), ("addends exchanged",)),
    "residual of the token before": Named(_ALL, ("reads * of the token before",)),
    "blocks exchanged": Named(_ALL, ("blocks of the residual", "blocks of *")),
}
_ARGMAX: Final = {
    "last of equal logits": Named(("argmax",), ("argmax tie",)),
    "logits without sign": Named(("argmax",), ("logits without sign",)),
    "largest of the token before": Named(("argmax",), ("largest of all tokens",)),
    "lane in place of index": Named(("argmax",), ("lane in place of index",)),
    "padding takes part": Named(("argmax",), ("padding takes part",)),
}
_LORA: Final = {
    "adapter in a sequence without one": Named(_ADAPTED),
    "slot cleared for one linear": Named(_ADAPTED),
    "shift of B for A": Named(("lora",), ("shift *",)),
    "h rounded down": Named(("lora",), ("rounding: down",)),
    "h of the next rank": Named(("lora",), ("h of the next rank",)),
    "A of the neighbour slot": Named(("lora",), ("adapter of another slot", "adapter absent")),
    "B of the neighbour slot": Named(("lora",), ("adapter of another slot", "adapter absent")),
    "inputs of the neighbour block": Named(("lora",), ("inputs moved",)),
    "B by rank and block": Named(("lora",), ("B by rank and block",)),
    "slots of A as far apart as of B": Named(("lora",)),
    "adapter of a layer in every layer": Named(_ADAPTED),
}
_LOAD: Final = {
    "A and B exchanged": Named(("lora",)),
    "scaling shifted by half": Named(_ADAPTED, ("adapter scaled wrongly",)),
    "A of as many words as B": Named(_ADAPTED),
    "adapter of a layer in the next": Named(_ADAPTED, ("adapter absent",)),
}
_HOST: Final = {
    "token id without its highest bit": Named(("embedding",), ("token id truncated",)),
    "position not reset": Named(("rope", "attention"), ("position kept",)),
    "position kept over a close": Named(("rope", "attention"), ("position kept",)),
    "slot of every token": Named(_ADAPTED),
    "slot held a cycle late": Named(_ADAPTED),
}
_MOVED: Final = {
    "first block sent again": Named(_ALL, ("blocks of *",)),
    "blocks of the tail exchanged": Named(("rmsnorm",), ("blocks of *",)),
    "clock of an adapter of slot 0 alone": Named(_ADAPTED),
}

NAMED: Final[Mapping[str, Mapping[str, Named]]] = {
    "ep_pkg.sv": _PRIMITIVES,
    "ep_embedding.sv": _EMBEDDING,
    "ep_rmsnorm.sv": _NORM,
    "ep_linear.sv": _LINEAR,
    "ep_rope.sv": _ROPE,
    "ep_rope_table.sv": _ROPE,
    "ep_attention.sv": _ATTENTION_FAULTS,
    "ep_swiglu.sv": _SWIGLU,
    "ep_residual.sv": _RESIDUAL,
    "ep_argmax.sv": _ARGMAX,
    "ep_lora.sv": _LORA,
    "ep_lora_load.sv": _LOAD,
    "ep_host_port.sv": _HOST,
    "ep_stage_ctrl.sv": {
        name: _CONTROL
        for name in (
            *("a credit too few", "step done as it starts"),
            "last step left out",
        )
    }
    | {"clock stands while sending": Named(_ALL, ("blocks of *",))},
    "ep_layer_0.sv": {
        **_MOVED,
        "queries not waited for": _CONTROL,
        "rotation of queries not waited for": _CONTROL,
    },
    "ep_chip.sv": _MOVED,
    "ep_tail.sv": _MOVED,
    "ep_rom_port.sv": {},
    "ep_rom_station.sv": {},
    "ep_param_rom.sv": {},
}
"""By source and fault; what a source does not list, no tap shows."""

UNITS: Final[Mapping[str, tuple[str, ...]]] = {
    "ep_argmax": ("argmax",),
    "ep_attention": _ATTENTION,
    "ep_embedding": ("embedding",),
    "ep_linear": ("linear",),
    "ep_lora": _ADAPTED,
    "ep_lora_load": _ADAPTED,
    "ep_residual": ("residual", "rmsnorm"),
    "ep_rmsnorm": ("rmsnorm",),
    "ep_rope": ("rope",),
    "ep_rope_table": ("rope",),
    "ep_swiglu": ("swiglu",),
}
"""The units that a fault of the generic operators is in, by RTL module. Those of other modules, which count positions,
pass vectors on and say when a step ends, may be in any: no unit of theirs is wrong."""


def named(file: str, what: str) -> Named:
    """What a diagnosis should say of a declared fault."""
    return NAMED.get(file, {}).get(what, NO_TAP)
