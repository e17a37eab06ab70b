"""Import of Llama checkpoints, folders in Hugging Face form and GGUF files: validated, resolved, read one tensor at a
time."""

from typing import TYPE_CHECKING

from etchproof.checkpoint.config import LinearScaling, Llama3Scaling, ModelConfig, RopeConfig, read_config
from etchproof.checkpoint.load import Checkpoint, load_checkpoint, load_config
from etchproof.checkpoint.tensors import expected_tensors
from etchproof.checkpoint.tokenizer import TextStream, Tokenizer
from etchproof.lazy import lazy_names

if TYPE_CHECKING:
    from etchproof.checkpoint.synthetic import cached_synthetic, write_synthetic

__getattr__ = lazy_names(__name__, dict.fromkeys(("cached_synthetic", "write_synthetic"), "synthetic"))

__all__ = [
    "Checkpoint",
    "LinearScaling",
    "Llama3Scaling",
    "ModelConfig",
    "RopeConfig",
    "TextStream",
    "Tokenizer",
    "cached_synthetic",
    "expected_tensors",
    "load_checkpoint",
    "load_config",
    "read_config",
    "write_synthetic",
]
