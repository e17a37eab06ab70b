"""Quantized models on disk: a folder of two files, and a cache of such folders.

``model.json`` holds formats, exponents and fractional bits, ``weights.safetensors`` the integers. The same model gives
the same bytes, and ``content_sha256`` in the first covers both: a folder that was damaged does not load.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import filelock
import numpy as np
from pydantic import BaseModel, ConfigDict, Field
from safetensors import SafetensorError
from safetensors.numpy import save_file

from etchproof.checkpoint import Checkpoint, ModelConfig
from etchproof.checkpoint.linears import LINEARS, module_name
from etchproof.checkpoint.safetensors_file import open_safetensors
from etchproof.errors import InputError, shown_name
from etchproof.files.json_record import read_json_record
from etchproof.project.sources import engine_sha256
from etchproof.quantize.quantized_model import QuantizedGains, QuantizedLayer, QuantizedMatrix, QuantizedModel
from etchproof.quantize.recipe import EMBEDDING_MODULE, LM_HEAD_MODULE, Recipe

QUANTIZER_VERSION: Final = 1
"""Raised whenever the same checkpoint and recipe give other integers."""

HEADER_FILE: Final = "model.json"
WEIGHTS_FILE: Final = "weights.safetensors"

_INTEGERS: Final = frozenset(f"{sign}{bits}" for sign in "IU" for bits in (8, 16, 32, 64))
_FINAL_NORM: Final = "model.norm"

Arrays = dict[str, np.ndarray[Any, Any]]


class _Matrix(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    bits: int
    group_size: int
    exponent: int
    bias_shift: int


class _Header(BaseModel):
    """``model.json``: everything but the arrays. ``frac`` is by layer as text, "-1" outside the decoder layers."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1] = 1
    quantizer_version: int
    config: ModelConfig
    recipe: Recipe
    checkpoint_sha256: str
    matrices: dict[str, _Matrix]
    gain_exponents: dict[str, int]
    frac: dict[str, dict[str, int]]
    content_sha256: Annotated[str, Field(pattern="^([0-9a-f]{64})?$")] = ""


def save_quantized(model: QuantizedModel, folder: Path) -> None:
    """Write a model into a folder, made if need be; the same model gives the same bytes.

    Raises:
        OSError: the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    header, arrays = _parts(model)
    sealed = header.model_copy(update={"content_sha256": _hash(header, arrays)})
    save_file(arrays, folder / WEIGHTS_FILE)
    text = json.dumps(sealed.model_dump(mode="json"), indent=1, sort_keys=True)
    (folder / HEADER_FILE).write_text(text + "\n", encoding="utf-8")


def load_quantized(folder: Path) -> QuantizedModel:
    """Read a folder that ``save_quantized`` wrote.

    Raises:
        InputError: a file is missing, not what was written, or of another format.
    """
    header = read_json_record(folder / HEADER_FILE, _Header)
    arrays, _ = read_arrays(folder / WEIGHTS_FILE)
    try:
        model = _model(header, arrays)
    except KeyError as error:
        raise InputError(f"is damaged: {error}", source=folder, hint="quantize again") from None
    if _hash(header, arrays) != header.content_sha256:
        raise InputError("does not hold what was written", source=folder, hint="quantize again")
    return model


def read_arrays(file: Path) -> tuple[Arrays, dict[str, str]]:
    """Every array of a safetensors file, by name, and its metadata.

    Raises:
        InputError: it cannot be read, or holds an array of no integers; NumPy lacks some types of the format.
    """
    with open_safetensors(file, framework="numpy") as stored:
        arrays = {}
        for name in stored.keys():  # noqa: SIM118  # it is no mapping
            dtype = str(stored.get_slice(name).get_dtype())
            if dtype not in _INTEGERS:
                raise InputError(f"has dtype {dtype}, expected integers", source=file, key=shown_name(name))
            arrays[name] = stored.get_tensor(name)
        return arrays, dict(stored.metadata() or {})


def content_sha256(model: QuantizedModel) -> str:
    """Hash of every integer of a model and of what gives it meaning; names of model and recipe do not count."""
    return _hash(*_parts(model))


def tensor_sha256(model: QuantizedModel) -> dict[str, str]:
    """Hash of each tensor's name, type, shape and integers, by its Hugging Face name: ``lm_head.codes``."""
    return {name: sealed_sha256("", {name: array}) for name, array in _parts(model)[1].items()}


def quantize_cached(
    checkpoint: Checkpoint,
    recipe: Recipe,
    cache_dir: Path,
    *,
    progress: Callable[[str], None] | None = None,
) -> QuantizedModel:
    """``quantize_model``, or what it gave before, from a folder below ``cache_dir``.

    An entry is known by checkpoint, recipe and quantizer version. Processes side by side wait for the one that builds
    it; a damaged entry is built again.

    Raises:
        InputError: as ``quantize_model``, or the cache cannot be written.
    """
    entry = _entry(checkpoint, recipe, cache_dir)
    # Without a lock: an entry is complete or not there, and a cache that cannot be written to serves what it has.
    if (found := _cached(entry, checkpoint, recipe)) is not None:
        return found
    try:
        cache_dir.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(cache_dir / f"{entry.name}.lock"):
            model = _cached(entry, checkpoint, recipe)
            if model is None:
                # Slow to import, with PyTorch, and not needed for what the cache has.
                from etchproof.quantize.model import quantize_model

                model = quantize_model(checkpoint, recipe, progress=progress)
                _publish(model, entry)
            return model
    except (OSError, SafetensorError) as error:  # the latter of a disk that is full while it writes
        said = getattr(error, "strerror", None) or error
        raise InputError(
            f"cannot be used: {said}", source=cache_dir, hint="name another with ETCHPROOF_CACHE"
        ) from error


def is_cached(checkpoint: Checkpoint, recipe: Recipe, cache_dir: Path) -> bool:
    """Whether this checkpoint was quantized under this recipe before, and so its every value read."""
    return (_entry(checkpoint, recipe, cache_dir) / HEADER_FILE).is_file()


def _entry(checkpoint: Checkpoint, recipe: Recipe, cache_dir: Path) -> Path:
    """Where ``quantize_cached`` keeps that model, as this engine quantizes it."""
    return cache_dir / f"{checkpoint.sha256[:24]}-{recipe.sha256[:24]}-{engine_sha256()[:16]}"


def _cached(entry: Path, checkpoint: Checkpoint, recipe: Recipe) -> QuantizedModel | None:
    """The entry's model under today's names, or None where there is none that is whole."""
    if not entry.is_dir():
        return None
    try:
        model = load_quantized(entry)
    except InputError:
        return None
    if (model.checkpoint_sha256, model.recipe.sha256) != (checkpoint.sha256, recipe.sha256):
        return None
    return dataclasses.replace(model, config=checkpoint.config, recipe=recipe)


def _publish(model: QuantizedModel, entry: Path) -> None:
    """Write beside the entry, then rename: another process sees all of it or nothing."""
    with tempfile.TemporaryDirectory(dir=entry.parent, prefix=".new-") as parent:
        fresh = Path(parent) / "entry"
        save_quantized(model, fresh)
        if entry.is_dir():
            shutil.rmtree(entry)
        fresh.rename(entry)


def _parts(model: QuantizedModel) -> tuple[_Header, Arrays]:
    """The header, not yet sealed, and the arrays by name."""
    matrices = {EMBEDDING_MODULE: model.embedding}
    gains = {_FINAL_NORM: model.final_norm}
    frac = {"-1": dict(model.frac)}
    for index, layer in enumerate(model.layers):
        matrices |= {module_name(index, name): layer.linears[name] for name in LINEARS}
        gains[f"model.layers.{index}.input_layernorm"] = layer.attn_norm
        gains[f"model.layers.{index}.post_attention_layernorm"] = layer.mlp_norm
        frac[str(index)] = dict(layer.frac)
    matrices[LM_HEAD_MODULE] = model.lm_head

    arrays: Arrays = {}
    for module, matrix in matrices.items():
        arrays[f"{module}.codes"] = matrix.codes
        arrays[f"{module}.scales"] = matrix.scales
        if matrix.bias is not None:
            arrays[f"{module}.bias"] = matrix.bias
    for module, gain in gains.items():
        arrays[f"{module}.gains"] = gain.values
    header = _Header(
        quantizer_version=QUANTIZER_VERSION,
        config=model.config,
        recipe=model.recipe,
        checkpoint_sha256=model.checkpoint_sha256,
        matrices={
            module: _Matrix(
                bits=matrix.bits,
                group_size=matrix.group_size,
                exponent=matrix.exponent,
                bias_shift=matrix.bias_shift,
            )
            for module, matrix in matrices.items()
        },
        gain_exponents={module: gain.exponent for module, gain in gains.items()},
        frac=frac,
    )
    return header, arrays


def _model(header: _Header, arrays: Arrays) -> QuantizedModel:
    """Raises KeyError where something is missing."""

    def matrix(module: str) -> QuantizedMatrix:
        form = header.matrices[module]
        return QuantizedMatrix(
            bits=form.bits,
            group_size=form.group_size,
            codes=arrays[f"{module}.codes"],
            scales=arrays[f"{module}.scales"],
            exponent=form.exponent,
            bias=arrays.get(f"{module}.bias"),
            bias_shift=form.bias_shift,
        )

    def gains(module: str) -> QuantizedGains:
        return QuantizedGains(arrays[f"{module}.gains"], header.gain_exponents[module])

    layers = tuple(
        QuantizedLayer(
            linears={name: matrix(module_name(index, name)) for name in LINEARS},
            attn_norm=gains(f"model.layers.{index}.input_layernorm"),
            mlp_norm=gains(f"model.layers.{index}.post_attention_layernorm"),
            frac=header.frac[str(index)],
        )
        for index in range(header.config.n_layers)
    )
    return QuantizedModel(
        config=header.config,
        recipe=header.recipe,
        checkpoint_sha256=header.checkpoint_sha256,
        embedding=matrix(EMBEDDING_MODULE),
        layers=layers,
        final_norm=gains(_FINAL_NORM),
        lm_head=matrix(LM_HEAD_MODULE),
        frac=header.frac["-1"],
    )


def _hash(header: _Header, arrays: Arrays) -> str:
    meaning = header.model_dump(
        mode="json", exclude={"content_sha256": True, "config": {"name"}, "recipe": True}
    )
    meaning["recipe_sha256"] = header.recipe.sha256
    return sealed_sha256(json.dumps(meaning, sort_keys=True), arrays)


def sealed_sha256(header: str, arrays: Arrays) -> str:
    """Hash of a header's text, and of each array's name, type, shape and elements."""
    total = hashlib.sha256(header.encode())
    for name, array in sorted(arrays.items()):
        total.update(f"{name}\0{array.dtype.str}\0{array.shape}\0".encode())
        total.update(np.ascontiguousarray(array).data)
    return total.hexdigest()
