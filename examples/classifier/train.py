"""Makes ``model/``: draws noisy digits, trains the classifier on them in floating point, and turns it into integers.

Everything is drawn from one seed. The files that it made are kept with the example, since the linear algebra of another
machine may round differently and end in other weights, which are as good.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from golden import Session
from model import SIZES, load
from safetensors.numpy import save_file

Array = npt.NDArray[Any]

FOLDER: Final = Path(__file__).parent / "model"
SEED: Final = 8
ONE: Final = 127.0
"""The input byte that is 1.0 for the float model."""

GLYPHS: Final = """
.####. ..##.. .####. .####. ...##. ###### ..###. ###### .####. .####.
##..## .###.. ##..## ##..## ..###. ##.... .##... ....## ##..## ##..##
##..## ..##.. ....## ....## .#.##. ##.... ##.... ...##. ##..## ##..##
##..## ..##.. ...##. ..###. ##.##. #####. #####. ...##. .####. .#####
##..## ..##.. ..##.. ....## ###### ....## ##..## ..##.. ##..## ....##
##..## ..##.. .##... ##..## ...##. ##..## ##..## ..##.. ##..## ...##.
.####. .####. ###### .####. ...##. .####. .####. ..##.. .####. .###..
"""


def glyphs() -> Array:
    """The ten digits, (10, 8, 8), of 0.0 and 1.0."""
    found = np.zeros((10, 8, 8))
    for row, line in enumerate(GLYPHS.split("\n")[1:-1]):
        for digit, signs in enumerate(line.split()):
            found[digit, row, 1:7] = [sign == "#" for sign in signs]
    return found


def draw(rng: np.random.Generator, count: int) -> tuple[Array, Array]:
    """Digits as bytes, (count, 64), and which they are: moved by a pixel, pale, with holes, on a noisy ground."""
    digits = rng.integers(0, 10, count)
    images = glyphs()[digits]
    for image, (down, right) in zip(images, rng.integers((0, -1), (2, 2), (count, 2)), strict=True):
        image[:] = np.roll(image, (down, right), (0, 1))
    images *= rng.uniform(0.5, 1.0, (count, 1, 1)) * (rng.random(images.shape) > 0.06)
    images += rng.normal(0.0, 0.14, images.shape)
    return (images.clip(0, 1) * ONE).round().astype(np.int8).reshape(count, -1), digits


def forward(layers: list[tuple[Array, Array]], values: Array) -> list[Array]:
    """The input and every layer's output, in floating point."""
    found = [values]
    for n, (weight, bias) in enumerate(layers):
        sums = found[-1] @ weight.T + bias
        found.append(sums if n == len(layers) - 1 else np.maximum(sums, 0))
    return found


def train(rng: np.random.Generator, images: Array, digits: Array) -> list[tuple[Array, Array]]:
    """Weights and biases of each layer, by stochastic gradient descent with momentum."""
    layers = [
        (rng.normal(0, (2 / fan_in) ** 0.5, (fan_out, fan_in)), np.zeros(fan_out))
        for fan_in, fan_out in pairwise(SIZES)
    ]
    moving = [(np.zeros_like(weight), np.zeros_like(bias)) for weight, bias in layers]
    epochs, batch = 30, 32
    for epoch in range(epochs):
        rate = 0.03 * (1 - epoch / epochs)
        for chosen in rng.permutation(len(images)).reshape(-1, batch):
            values = forward(layers, images[chosen] / ONE)
            odds = np.exp(values[-1] - values[-1].max(axis=1, keepdims=True))
            slope = (odds / odds.sum(axis=1, keepdims=True) - np.eye(10)[digits[chosen]]) / batch
            for n in reversed(range(len(layers))):
                weight, bias = layers[n]
                steps = slope.T @ values[n] + 1e-4 * weight, slope.sum(axis=0)
                slope = slope @ weight * (values[n] > 0)
                for parameter, motion, step in zip((weight, bias), moving[n], steps, strict=True):
                    motion[:] = 0.9 * motion - rate * step
                    parameter[:] += motion
    return layers


def quantize(layers: list[tuple[Array, Array]], images: Array) -> dict[str, Array]:
    """The tensors of the integer model.

    A layer's weights are scaled by the power of two with which the largest just fits a byte. The shift after it is the
    one with which all but the largest hundredth of its outputs on ``images`` fit a byte; those saturate.
    """
    tensors: dict[str, Array] = {}
    shifts = []
    scale = ONE  # of the integers that enter the layer
    outputs = forward(layers, images / ONE)[1:]
    for n, (weight, bias) in enumerate(layers):
        weight_scale = 2.0 ** np.floor(np.log2(127 / abs(weight).max()))
        scale *= weight_scale
        tensors[f"weight{n}"] = np.round(weight * weight_scale).astype(np.int8)
        tensors[f"bias{n}"] = np.round(bias * scale).astype(np.int32)
        if n < len(layers) - 1:
            shifts.append(int(np.ceil(np.log2(np.quantile(outputs[n], 0.99) * scale / 127))))
            scale /= 2.0 ** shifts[-1]
    return tensors | {"shifts": np.array(shifts, np.int32)}


def vectors(rng: np.random.Generator) -> Array:
    """What the chip is tested with: digits, then noise, and the vectors at the ends of the range."""
    digits, _ = draw(rng, 34)
    noise = rng.integers(0, 128, (4, SIZES[0]), np.int8)
    ends = np.repeat(np.array([[0], [127]], np.int8), SIZES[0], axis=1)
    return np.concatenate([digits, noise, ends])


def main() -> None:
    rng = np.random.default_rng(SEED)
    images, digits = draw(rng, 6400)
    unseen, truth = draw(rng, 2000)
    layers = train(rng, images, digits)
    FOLDER.mkdir(exist_ok=True)
    save_file(quantize(layers, images), FOLDER / "weights.safetensors")
    np.save(FOLDER / "inputs.npy", vectors(rng), allow_pickle=False)

    answers = Session(load(FOLDER)).predict(unseen, True)[-1, "class"][:, 0]
    guesses = forward(layers, unseen / ONE)[-1].argmax(axis=1)
    print(f"of {len(truth)} digits that were not trained on, right are:")
    print(f"float    {np.mean(guesses == truth):.1%}")
    print(f"integer  {np.mean(answers == truth):.1%}")


if __name__ == "__main__":
    main()
