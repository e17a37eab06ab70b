"""A checkpoint under a recipe, in integers: matrices, gains, biases and fractional bits put together."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from etchproof.checkpoint import Checkpoint
from etchproof.checkpoint.linears import INPUTS, LINEARS, module_name
from etchproof.quantize.bias import with_bias
from etchproof.quantize.calibrate import CalibrationText, Ranges, calibrate, calibration_text, weight_of
from etchproof.quantize.frac import layer_fracs, tail_fracs
from etchproof.quantize.gains import quantize_gains
from etchproof.quantize.gptq import gptq_matrices
from etchproof.quantize.matrix import EMBEDDING_RANGE, EXPONENT_RANGE, quantize_matrix
from etchproof.quantize.quantized_model import (
    QuantizedGains,
    QuantizedLayer,
    QuantizedMatrix,
    QuantizedModel,
)
from etchproof.quantize.recipe import EMBEDDING_MODULE, LM_HEAD_MODULE, MatrixFormat, Recipe, resolve

Progress = Callable[[str], None]


def quantize_model(
    checkpoint: Checkpoint,
    recipe: Recipe,
    *,
    progress: Progress | None = None,
    text: CalibrationText | None = None,
) -> QuantizedModel:
    """Quantize a checkpoint: weights, gains, biases, fractional bits (docs/numerics.md sections 3, 4 and 12).

    The float model writes the calibration text and says how large each tap gets; the result is a function of the
    checkpoint's content and the recipe alone. Memory holds one float32 matrix at a time beside the codes, except that
    sampling the text holds the whole float model, and GPTQ a float64 matrix of columns by columns.

    Args:
        progress: is handed a line for each stage and layer.
        text: the recipe's calibration text, where it is known already.

    Raises:
        InputError: the recipe does not fit the architecture, or a tensor's magnitude is beyond the arithmetic.
    """
    say = progress or (lambda line: None)
    formats = resolve(recipe, checkpoint.config)
    if text is None:
        if recipe.calibration.source == "sampled":
            say("sampling the calibration text")
        text = calibration_text(checkpoint, recipe)
    ranges = calibrate(checkpoint, text, progress)
    if recipe.method == "gptq":
        matrices = gptq_matrices(checkpoint, recipe, formats, text, say)
    else:
        matrices = _round_to_nearest(checkpoint, formats, say)
    return assemble(checkpoint, recipe, ranges, matrices)


def assemble(
    checkpoint: Checkpoint, recipe: Recipe, ranges: Ranges, matrices: Mapping[str, QuantizedMatrix]
) -> QuantizedModel:
    """The model of matrices by module name: gains rounded, fractional bits chosen, biases rounded with them.

    Raises:
        InputError: a magnitude is beyond the arithmetic.
    """
    config = checkpoint.config
    layers = []
    for layer in range(config.n_layers):
        linears = {name: matrices[module_name(layer, name)] for name in LINEARS}
        attn_norm = _gains(checkpoint, f"model.layers.{layer}.input_layernorm.weight")
        mlp_norm = _gains(checkpoint, f"model.layers.{layer}.post_attention_layernorm.weight")
        exponents = {name: matrix.exponent for name, matrix in linears.items()}
        norms = (attn_norm.exponent, mlp_norm.exponent)
        frac = layer_fracs(config, recipe, ranges, layer, exponents, norms, file_of=checkpoint.file_of)
        for name, matrix in linears.items():
            bias = f"{module_name(layer, name)}.bias"
            if bias in checkpoint.weights.shapes:
                values = checkpoint.tensor(bias).numpy()
                linears[name] = with_bias(
                    matrix, values, frac[INPUTS[name]], name=bias, source=checkpoint.file_of(bias)
                )
        layers.append(QuantizedLayer(linears, attn_norm, mlp_norm, frac))
    final_norm, lm_head = _gains(checkpoint, "model.norm.weight"), matrices[LM_HEAD_MODULE]
    return QuantizedModel(
        config=config,
        recipe=recipe,
        checkpoint_sha256=checkpoint.sha256,
        embedding=matrices[EMBEDDING_MODULE],
        layers=tuple(layers),
        final_norm=final_norm,
        lm_head=lm_head,
        frac=tail_fracs(
            config, recipe, ranges, final_norm.exponent, lm_head.exponent, file_of=checkpoint.file_of
        ),
    )


def _round_to_nearest(
    checkpoint: Checkpoint, formats: Mapping[str, MatrixFormat], say: Progress
) -> dict[str, QuantizedMatrix]:
    matrices = {}
    for module, form in formats.items():
        say(f"rounding {module}")
        name, weight = weight_of(checkpoint, module)
        matrices[module] = quantize_matrix(
            weight,
            form.bits,
            form.group_size,
            span=EMBEDDING_RANGE if module == EMBEDDING_MODULE else EXPONENT_RANGE,
            name=name,
            source=checkpoint.file_of(name),
        )
    return matrices


def _gains(checkpoint: Checkpoint, name: str) -> QuantizedGains:
    return quantize_gains(checkpoint.tensor(name).numpy(), name=name, source=checkpoint.file_of(name))
