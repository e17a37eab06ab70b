"""GGUF: one file with a model's metadata, its tokenizer and its tensors, of which most have codes and scales."""

from etchproof.published.gguf.file import GgufFile, open_gguf

__all__ = ["GgufFile", "open_gguf"]
