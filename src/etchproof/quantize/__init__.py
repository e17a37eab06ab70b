"""From float weights to ROM integers: rounding, GPTQ, calibration of fractional bits, and a cache of the result."""

from etchproof.quantize.calibrate import CalibrationText, calibrate, calibration_text, sample_text
from etchproof.quantize.dequantized import dequantized_model
from etchproof.quantize.matrix import dequantize, quantize_matrix
from etchproof.quantize.model import QUANTIZER_VERSION, quantize_model
from etchproof.quantize.store import (
    cached_folder,
    content_sha256,
    load_quantized,
    quantize_cached,
    save_quantized,
)

__all__ = [
    "QUANTIZER_VERSION",
    "CalibrationText",
    "cached_folder",
    "calibrate",
    "calibration_text",
    "content_sha256",
    "dequantize",
    "dequantized_model",
    "load_quantized",
    "quantize_cached",
    "quantize_matrix",
    "quantize_model",
    "sample_text",
    "save_quantized",
]
