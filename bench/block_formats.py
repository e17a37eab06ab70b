"""``python -m bench.block_formats MODEL``: what block formats of weights cost beside integers, as a table.

The weights of the layers' linears are rounded to nearest; embedding, LM head, gains and all arithmetic stay in float64.
Integers are those of the recipes, with groups of 16 inputs and scales of 16 bits. Text is sampled from the model
itself, seeded, as ``etchproof quality`` does.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from etchproof.checkpoint import Checkpoint, load_checkpoint
from etchproof.checkpoint.linears import LINEARS, module_name
from etchproof.errors import InputError
from etchproof.float_model.llama import FloatModel
from etchproof.published.block_scaled import BLOCK_FORMATS, BlockFormat
from etchproof.quantize.block_formats import quantize_blocks
from etchproof.quantize.calibrate import sample_text
from etchproof.quantize.matrix import dequantize, quantize_matrix
from etchproof.quantize.quality import kl_divergence, log_likelihoods, perplexity, same_top1

Rounded = Callable[[npt.NDArray[np.float32]], npt.NDArray[Any]]
"""A matrix as its rounded weights."""


def _integers(bits: int, weight: npt.NDArray[np.float32]) -> npt.NDArray[Any]:
    return dequantize(quantize_matrix(weight, bits, 16), np.float64)


def _blocks(form: BlockFormat, weight: npt.NDArray[np.float32]) -> npt.NDArray[Any]:
    return quantize_blocks(weight, form).published().weights()


def formats() -> dict[str, tuple[float, Rounded]]:
    """Each format's bits of a weight, its share of the scales included, and the rounding to it, by name."""
    integers = {f"integers of {bits} bits": (bits + 16 / 16, partial(_integers, bits)) for bits in (4, 6, 8)}
    blocks = {
        form.name: (form.element.bits + 8 / form.size, partial(_blocks, form)) for form in BLOCK_FORMATS
    }
    return {**integers, **blocks}


def rounded_model(checkpoint: Checkpoint, rounded: Rounded) -> tuple[FloatModel, float]:
    """The float model with rounded linears, and the error of their weights over the weights, both as RMS."""
    names = {
        f"{module_name(layer, linear)}.weight"
        for layer in range(checkpoint.config.n_layers)
        for linear in LINEARS
    }
    noise = signal = 0.0

    def tensor(name: str) -> Tensor:
        nonlocal noise, signal
        weight = checkpoint.tensor(name)
        if name not in names:
            return weight
        exact = weight.to(torch.float32).numpy()
        made = rounded(exact)
        noise += float(np.square(made - exact.astype(np.float64)).sum())
        signal += float(np.square(exact.astype(np.float64)).sum())
        return torch.from_numpy(made)

    return FloatModel(checkpoint.config, tensor, torch.float64), (noise / signal) ** 0.5


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m bench.block_formats", description=__doc__.splitlines()[0]
    )
    parser.add_argument("model", type=Path, help="a checkpoint's folder")
    parser.add_argument("--sequences", type=int, default=16)
    parser.add_argument("--length", type=int, default=200, help="tokens of each")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    checkpoint = load_checkpoint(arguments.model)
    text = sample_text(checkpoint, arguments.sequences, arguments.length, arguments.seed)  # (n, T)
    model = FloatModel(checkpoint.config, checkpoint.tensor, torch.float64)
    reference = torch.stack([model.forward(row) for row in text])  # (n, T, V)
    print("| weights | bits a weight | error | perplexity | mean KL, nats | same top 1 |")
    print("| --- | --- | --- | --- | --- | --- |")
    print(f"| as they are | | | {perplexity(log_likelihoods(reference, text)):.4f} | | |")
    for name, (bits, rounded) in formats().items():
        other, error = rounded_model(checkpoint, rounded)
        logits = torch.stack([other.forward(row) for row in text])
        print(
            f"| {name} | {bits:g} | {error:.2%} | {perplexity(log_likelihoods(logits, text)):.4f} | "
            f"{float(kl_divergence(reference, logits).mean()):.5f} | "
            f"{float(same_top1(reference, logits).double().mean()):.2%} |",
            flush=True,
        )
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
