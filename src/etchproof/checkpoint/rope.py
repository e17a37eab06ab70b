"""Rotary position embedding: the angles by which pairs of a head's elements are turned.

In the rotate-half convention of Hugging Face's Llama, elements i and i + head_dim/2 of a head form pair i.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from etchproof.checkpoint.config import FactorScaling, LinearScaling, ModelConfig
from etchproof.errors import InputError


def rope_inv_freq(config: ModelConfig) -> npt.NDArray[np.float64]:
    """Radians per position of each pair, (head_dim/2,) float64.

    The formulas are those of transformers' ``modeling_rope_utils`` ("default", "linear", "llama3"), which
    computes them in float32; here they are float64, so that positions in the ten thousands keep their angle.
    """
    exponent = np.arange(0, config.head_dim, 2, dtype=np.float64) / config.head_dim  # (head_dim/2,)
    with np.errstate(over="ignore"):  # rope_cos_sin refuses what is not finite
        inv_freq: npt.NDArray[np.float64] = config.rope.theta**-exponent  # (head_dim/2,)
    scaling = config.rope.scaling
    if scaling is None:
        return inv_freq
    if isinstance(scaling, LinearScaling):
        slowed: npt.NDArray[np.float64] = inv_freq / scaling.factor
        return slowed
    if isinstance(scaling, FactorScaling):
        divided: npt.NDArray[np.float64] = inv_freq / np.array(scaling.factors)
        return divided

    # Llama 3: turns made within the original context decide. Many turns: kept; few: slowed by factor;
    # between: a ramp.
    turns = scaling.original_max_position_embeddings * inv_freq / (2 * math.pi)  # (head_dim/2,)
    kept = (turns - scaling.low_freq_factor) / (scaling.high_freq_factor - scaling.low_freq_factor)
    kept = kept.clip(0, 1)  # (head_dim/2,) 0: slowed, 1: kept
    mixed: npt.NDArray[np.float64] = (1 - kept) * inv_freq / scaling.factor + kept * inv_freq
    return mixed


def rope_cos_sin(
    config: ModelConfig, positions: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Cosine and sine of each position's angles, two of (len(positions), head_dim/2) float64.

    Raises:
        InputError: an angle is not finite.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        angles = positions.astype(np.float64)[:, None] * rope_inv_freq(config)  # (T, head_dim/2)
        finite = bool(np.isfinite(angles.astype(np.float32)).all())
    if not finite:
        raise InputError(
            f"is {config.rope.theta!r}: angles of positions up to {int(positions.max())} are not finite in float32, in "
            "which transformers computes them",
            source=config.source,
            key=config.key("rope_theta"),
            hint="Llamas have 10,000 or more",
        )
    return np.cos(angles), np.sin(angles)
