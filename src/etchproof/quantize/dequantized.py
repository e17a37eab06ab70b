"""The real-number model that the integers stand for.

Between it and the float model lies the rounding of weights; between it and the golden model, the rounding of
activations and the tables. Measuring against it shows the arithmetic alone.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from etchproof.checkpoint.linears import INPUTS, module_name
from etchproof.checkpoint.tensors import EMBEDDING, LM_HEAD
from etchproof.float_model.llama import FloatModel
from etchproof.quantize.matrix import dequantize
from etchproof.quantize.quantized_model import QuantizedGains, QuantizedModel


def dequantized_model(model: QuantizedModel, dtype: torch.dtype = torch.float64) -> FloatModel:
    """The float reference with the weights, gains and biases of a quantized model, its LM head apart."""
    tensors: dict[str, Tensor] = {
        EMBEDDING: torch.from_numpy(dequantize(model.embedding)),
        LM_HEAD: torch.from_numpy(dequantize(model.lm_head)),
        "model.norm.weight": _gains(model.final_norm),
    }
    for index, layer in enumerate(model.layers):
        prefix = f"model.layers.{index}"
        tensors[f"{prefix}.input_layernorm.weight"] = _gains(layer.attn_norm)
        tensors[f"{prefix}.post_attention_layernorm.weight"] = _gains(layer.mlp_norm)
        for name, matrix in layer.linears.items():
            module = module_name(index, name)
            tensors[f"{module}.weight"] = torch.from_numpy(dequantize(matrix))
            if matrix.bias is not None:
                frac = matrix.exponent + layer.frac[INPUTS[name]]
                bias = np.ldexp(matrix.bias.astype(np.float64), matrix.bias_shift - frac)
                tensors[f"{module}.bias"] = torch.from_numpy(bias)
    config = model.config.model_copy(update={"tie_word_embeddings": False})
    return FloatModel(config, tensors.__getitem__, dtype)


def _gains(gains: QuantizedGains) -> Tensor:
    """(hidden,) float64."""
    values = np.ldexp(gains.values.astype(np.float64), -gains.exponent)
    return torch.from_numpy(values / math.sqrt(len(values)))
