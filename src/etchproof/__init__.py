"""Etchproof: proof that a chip with an etched language model computes exactly what the model computes."""

__version__ = "0.1.0"
