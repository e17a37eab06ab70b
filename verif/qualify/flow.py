"""Every fault of the flow that the reference project declares, for ``etchproof qualify``."""

from __future__ import annotations

from collections.abc import Iterator

from etchproof.qualify.wrong import FlowFault
from etchproof.quantize.quantized_model import QuantizedModel
from verif.qualify import adapters, integers, slips


def faults(model: QuantizedModel, seed: int) -> Iterator[FlowFault]:
    """Wrong integers of each layer and tensor, slips of the quantizer, slips of the golden model.

    Args:
        model: whose layers and tensors they are drawn over.
        seed: of the elements that are drawn.
    """
    yield from integers.faults(model, seed)
    yield from adapters.faults(seed)
    yield from slips.quantizer()
    yield from slips.golden()
