"""Where in the chip's SRAM a bit of an adapter is that ``--inject lora:...`` names (docs/cli.md)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from etchproof.checkpoint.linears import LINEARS
from etchproof.checkpoint.linears import MODULES as MODULE_OF
from etchproof.errors import InputError
from models.chip import ChipPlan

if TYPE_CHECKING:
    from etchproof.adapter import Adapter

_SITE: Final = re.compile(
    r"lora:(?P<slot>\d{1,4}):model\.layers\.(?P<layer>\d{1,6})\.(?P<module>\w+\.\w+)\.lora_(?P<matrix>[AB])"
    r"\[(?P<row>\d{1,9}),(?P<col>\d{1,9})\]\^(?P<bit>\d{1,4})"
)
_BITS: Final = 16  # of an element in SRAM


def site(text: str, adapters: Sequence[Adapter], plan: ChipPlan) -> dict[str, int | str]:
    """One bit of an adapter's element, as the testbench inverts it after the slot's first load.

    Args:
        text: ``lora:0:model.layers.1.self_attn.v_proj.lora_B[3,2]^4``. A is (rank, columns), B is (rows, rank).
        adapters: the one that each slot is loaded with first.

    Raises:
        InputError: it names no bit of what is loaded.
    """
    match = _SITE.fullmatch(text)
    if match is None:
        raise InputError(
            f"{text!r} is no site",
            key="--inject",
            hint="write lora:SLOT:MODULE.lora_A[ROW,COLUMN]^BIT, such as "
            "lora:0:model.layers.1.self_attn.v_proj.lora_B[3,2]^4",
        )
    key = f"--inject {text}"
    slot, layer, row, col, bit = (int(match[name]) for name in ("slot", "layer", "row", "col", "bit"))
    if slot >= len(adapters):
        raise InputError(f"slot {slot} is never loaded: 0 .. {len(adapters) - 1} are", key=key)
    if layer >= plan.n_layers:
        raise InputError(f"layer {layer} of {plan.n_layers}", key=key, hint="layers count from 0")
    adapter = adapters[slot]
    linear = match["module"].rpartition(".")[2]
    if linear not in LINEARS or MODULE_OF[linear] != match["module"]:
        raise InputError(f"{match['module']} is no linear of a layer", key=key, hint="use Hugging Face names")
    lora = adapter.linears.get((layer, linear))
    if lora is None:
        raise InputError(f"{adapter.name}, in slot {slot}, does not adapt this linear", key=key)
    shape = tuple((lora.A if match["matrix"] == "A" else lora.B).shape)
    if row >= shape[0] or col >= shape[1]:
        raise InputError(f"element is outside [{shape[0]},{shape[1]}]", key=key, hint="indices count from 0")
    if bit >= _BITS:
        raise InputError(f"bit {bit} of {_BITS}", key=key, hint="bit 0 is the lowest")
    return {
        "slot": slot,
        "layer": layer,
        "linear": linear,
        "matrix": match["matrix"],
        "row": row,
        "col": col,
        "bit": bit,
    }
