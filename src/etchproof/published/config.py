"""``quantization_config`` of a checkpoint: which format its linears are stored in."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

from etchproof.errors import shown
from etchproof.published.awq import Awq
from etchproof.published.compressed_tensors import CompressedTensors
from etchproof.published.gptq import Gptq
from etchproof.published.matrix import PublishedMatrix
from etchproof.published.mxfp4 import Mxfp4
from etchproof.published.stored import Keys

if TYPE_CHECKING:
    from torch import Tensor

_METHOD: Final = "quant_method"
_KNOWN: Final = "expected gptq, awq, compressed-tensors or mxfp4"
_REFUSED: Final = {
    "bitsandbytes": "its codes are places in a table of floating-point numbers, or are made when a model is loaded",
    "bitsandbytes_4bit": "its codes are places in a table of floating-point numbers",
    "bitsandbytes_8bit": "its codes are made when a model is loaded",
}


class Quantization(Protocol):
    """A format of quantized linears, with what the config says of it."""

    def read(
        self, module: str, shape: tuple[int, int], tensors: Mapping[str, Tensor], source: Path
    ) -> PublishedMatrix:
        """One linear; errors as of ``etchproof.published.gptq.Gptq.read``."""
        ...


def read_quantization(raw: object, source: Path) -> Quantization:
    """The format that ``quantization_config`` describes.

    Args:
        raw: the object.
        source: ``config.json``, for messages.

    Raises:
        InputError: the format is not known or not read, or a key is missing, bad or unknown.
    """
    keys = Keys(raw, source)
    method = keys.take(_METHOD)
    if method == "gptq":
        return Gptq.read_config(keys)
    if method == "awq":
        return Awq.read_config(keys)
    if method == "compressed-tensors":
        return CompressedTensors.read_config(keys, source)
    if method == "mxfp4":
        return Mxfp4.read_config(keys)
    why = f": {_REFUSED[method]}" if isinstance(method, str) and method in _REFUSED else ""
    keys.refuse(f"is {'missing' if method is None else shown(method)}, {_KNOWN}{why}", _METHOD)
