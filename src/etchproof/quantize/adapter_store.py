"""Quantized adapters on disk: one file each, below the cache of models.

In safetensors' form: the arrays, and beside them, as metadata, the numbers and a hash over everything, so that a
damaged file does not load.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import filelock
from pydantic import BaseModel, ConfigDict, Field
from safetensors import SafetensorError
from safetensors.numpy import save_file

from etchproof.checkpoint.linears import LINEARS, module_name
from etchproof.errors import InputError
from etchproof.files.json_record import parse_json_record
from etchproof.project.sources import engine_sha256
from etchproof.quantize.quantized_model import AdapterMatrix, QuantizedAdapter, QuantizedModel
from etchproof.quantize.store import Arrays, read_arrays, sealed_sha256

if TYPE_CHECKING:
    from etchproof.adapter import Adapter
    from etchproof.checkpoint import Checkpoint

ADAPTER_QUANTIZER_VERSION: Final = 1
"""Raised whenever the same adapter, checkpoint and recipe give other integers."""

_HEADER: Final = "etchproof"


class _Linear(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    layer: int
    name: str
    a_shift: int
    b_shift: int
    a_exponent: int
    b_exponent: int
    h_frac: int


class _Header(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    version: int
    adapter_sha256: str
    linears: tuple[_Linear, ...]
    content_sha256: Annotated[str, Field(pattern="^([0-9a-f]{64})?$")] = ""


def save_adapter(adapter: QuantizedAdapter, file: Path) -> None:
    """Write an adapter; the same adapter gives the same bytes.

    Raises:
        OSError: the file cannot be written.
    """
    arrays: Arrays = {}
    linears = []
    for (layer, name), matrix in adapter.linears.items():
        arrays[f"{module_name(layer, name)}.a"] = matrix.a
        arrays[f"{module_name(layer, name)}.b"] = matrix.b
        linears.append(
            _Linear(
                layer=layer,
                name=name,
                a_shift=matrix.a_shift,
                b_shift=matrix.b_shift,
                a_exponent=matrix.a_exponent,
                b_exponent=matrix.b_exponent,
                h_frac=matrix.h_frac,
            )
        )
    header = _Header(version=ADAPTER_QUANTIZER_VERSION, adapter_sha256=adapter.sha256, linears=tuple(linears))
    sealed = header.model_copy(update={"content_sha256": _hash(header, arrays)})
    save_file(arrays, file, metadata={_HEADER: sealed.model_dump_json()})


def load_quantized_adapter(file: Path, name: str) -> QuantizedAdapter:
    """Read a file that ``save_adapter`` wrote, under a name for reports.

    Raises:
        InputError: it is missing, or not what was written.
    """
    arrays, metadata = read_arrays(file)
    header = parse_json_record(metadata.get(_HEADER, ""), file, _Header)
    try:
        linears = {
            (linear.layer, linear.name): AdapterMatrix(
                a=arrays[f"{module_name(linear.layer, linear.name)}.a"],
                b=arrays[f"{module_name(linear.layer, linear.name)}.b"],
                **linear.model_dump(exclude={"layer", "name"}),
            )
            for linear in header.linears
            if linear.name in LINEARS
        }
    except KeyError as error:
        raise InputError(f"is damaged: {error}", source=file, hint="quantize again") from None
    if header.version != ADAPTER_QUANTIZER_VERSION or _hash(header, arrays) != header.content_sha256:
        raise InputError("does not hold what was written", source=file, hint="quantize again")
    return QuantizedAdapter(name, header.adapter_sha256, linears)


def quantize_adapter_cached(
    model: QuantizedModel,
    adapter: Adapter,
    checkpoint: Checkpoint,
    cache_dir: Path,
    *,
    progress: Callable[[str], None] | None = None,
) -> QuantizedAdapter:
    """``quantize_adapter``, or what it gave before, from a file below ``cache_dir``; a damaged one is made again.

    Raises:
        InputError: as ``quantize_adapter``, or the cache cannot be written.
    """
    lora = model.recipe.lora
    key = (checkpoint.sha256, model.recipe.sha256, f"{lora.slots} {lora.max_rank}", adapter.sha256)
    digest = hashlib.sha256("\n".join(key).encode()).hexdigest()
    entry = cache_dir / f"adapter-{digest[:32]}-{engine_sha256()[:16]}.safetensors"
    # Without a lock: an entry is complete or not there, and a cache that cannot be written to serves what it has.
    if (found := _cached(entry, adapter.name)) is not None:
        return found
    try:
        cache_dir.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(entry.with_suffix(".lock")):
            if (found := _cached(entry, adapter.name)) is not None:
                return found
            # Slow to import, with PyTorch.
            from etchproof.quantize.adapter import quantize_adapter

            made = quantize_adapter(model, adapter, checkpoint, progress=progress)
            with tempfile.TemporaryDirectory(dir=cache_dir, prefix=".new-") as folder:
                fresh = Path(folder) / entry.name
                save_adapter(made, fresh)
                os.replace(fresh, entry)
            return made
    except (OSError, SafetensorError) as error:  # the latter of a disk that is full while it writes
        said = getattr(error, "strerror", None) or error
        raise InputError(
            f"cannot be used: {said}", source=cache_dir, hint="name another with ETCHPROOF_CACHE"
        ) from error


def _cached(entry: Path, name: str) -> QuantizedAdapter | None:
    """The entry, None where there is none that is whole."""
    try:
        return load_quantized_adapter(entry, name)
    except InputError:
        return None


def _hash(header: _Header, arrays: Arrays) -> str:
    return sealed_sha256(header.model_dump_json(exclude={"content_sha256"}), arrays)
