"""From float weights to ROM integers: rounding, GPTQ, calibration of fractional bits, and a cache of the result."""

from typing import TYPE_CHECKING

from etchproof.lazy import lazy_names

if TYPE_CHECKING:
    from etchproof.quantize.adapter import quantize_adapter
    from etchproof.quantize.adapter_store import load_quantized_adapter, quantize_adapter_cached, save_adapter
    from etchproof.quantize.block_formats import quantize_blocks
    from etchproof.quantize.calibrate import CalibrationText, calibration_text, sample_text
    from etchproof.quantize.dequantized import dequantized_model
    from etchproof.quantize.matrix import dequantize, quantize_matrix
    from etchproof.quantize.model import quantize_model
    from etchproof.quantize.store import (
        QUANTIZER_VERSION,
        content_sha256,
        is_cached,
        load_quantized,
        quantize_cached,
        save_quantized,
        tensor_sha256,
    )

__getattr__ = lazy_names(
    __name__,
    {
        "quantize_adapter": "adapter",
        **dict.fromkeys(
            ("load_quantized_adapter", "quantize_adapter_cached", "save_adapter"), "adapter_store"
        ),
        "quantize_blocks": "block_formats",
        **dict.fromkeys(("CalibrationText", "calibration_text", "sample_text"), "calibrate"),
        "dequantized_model": "dequantized",
        **dict.fromkeys(("dequantize", "quantize_matrix"), "matrix"),
        "quantize_model": "model",
        **dict.fromkeys(
            (
                "QUANTIZER_VERSION",
                "content_sha256",
                "is_cached",
                "load_quantized",
                "quantize_cached",
                "save_quantized",
                "tensor_sha256",
            ),
            "store",
        ),
    },
)

__all__ = [
    "QUANTIZER_VERSION",
    "CalibrationText",
    "calibration_text",
    "content_sha256",
    "dequantize",
    "dequantized_model",
    "is_cached",
    "load_quantized",
    "load_quantized_adapter",
    "quantize_adapter",
    "quantize_adapter_cached",
    "quantize_blocks",
    "quantize_cached",
    "quantize_matrix",
    "quantize_model",
    "sample_text",
    "save_adapter",
    "save_quantized",
    "tensor_sha256",
]
