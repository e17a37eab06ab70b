"""From float weights to ROM integers: rounding, GPTQ, calibration of fractional bits, and a cache of the result."""

from etchproof.quantize.calibrate import CalibrationText, calibrate, calibration_text, sample_text
from etchproof.quantize.matrix import dequantize, quantize_matrix
from etchproof.quantize.model import QUANTIZER_VERSION, quantize_model

__all__ = [
    "QUANTIZER_VERSION",
    "CalibrationText",
    "calibrate",
    "calibration_text",
    "dequantize",
    "quantize_matrix",
    "quantize_model",
    "sample_text",
]
