"""Import of LoRA adapters in PEFT form: what the chip holds in SRAM, beside the weights that are etched."""

from etchproof.adapter.config import AdapterConfig, read_adapter_config
from etchproof.adapter.load import Adapter, LoraLinear, load_adapter
from etchproof.adapter.synthetic import write_adapter, write_synthetic_adapter

__all__ = [
    "Adapter",
    "AdapterConfig",
    "LoraLinear",
    "load_adapter",
    "read_adapter_config",
    "write_adapter",
    "write_synthetic_adapter",
]
