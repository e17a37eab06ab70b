"""Reading one safetensors file: every way in which it can be bad is one ``InputError``."""

from __future__ import annotations

import math
from collections.abc import Container, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from safetensors import SafetensorError, safe_open

from etchproof.errors import InputError
from etchproof.files.regular import check_regular

if TYPE_CHECKING:
    from torch import Tensor

DTYPES: Final = ("BF16", "F16", "F32")


@contextmanager
def open_safetensors(path: Path, framework: Literal["pt", "numpy"] = "pt") -> Iterator[Any]:
    """The library's handle of a file, memory-mapped; only its header is read.

    Args:
        framework: what values are read as; "numpy", for headers alone, does without loading PyTorch.

    Raises:
        InputError: the file is missing, unreadable, empty, truncated or not safetensors.
    """
    check_regular(path)
    with _translated(path):
        file = safe_open(path, framework=framework)
    with file as opened:
        yield opened


def check_header(
    file: Any, name: str, expected: tuple[int, ...], source: Path, hint: str | None = None
) -> None:
    """A tensor's shape must be ``expected``, its dtype one of ``DTYPES``; no value is read."""
    with _translated(source):
        header = file.get_slice(name)
        shape, dtype = tuple(header.get_shape()), str(header.get_dtype())
    if shape != expected:
        raise InputError(
            f"has shape {list(shape)}, expected {list(expected)}", source=source, key=name, hint=hint
        )
    if dtype not in DTYPES:
        raise InputError(f"has dtype {dtype}, expected one of {', '.join(DTYPES)}", source=source, key=name)


def refuse_missing(held: Container[str], expected: Mapping[str, tuple[int, ...]], source: Path) -> None:
    """``InputError`` naming the first tensor of ``expected`` (by name, with shapes) that is not ``held``."""
    missing = [name for name in expected if name not in held]
    if missing:
        more = f", and {len(missing) - 1} more with it" if len(missing) > 1 else ""
        raise InputError(
            f"is missing, expected shape {list(expected[missing[0]])}{more}", source=source, key=missing[0]
        )


def own_float32(values: Tensor) -> Tensor:
    """A float32 copy: without one, an F32 tensor would still be the mapped file."""
    import torch

    return values.to(torch.float32, copy=True)


def check_finite(values: Tensor, name: str, source: Path) -> None:
    """``InputError`` naming the first value that is NaN or infinite."""
    import torch

    if values.numel() and all(math.isfinite(end) for end in torch.aminmax(values)):
        return  # NaN is passed on by aminmax: one look, and nothing as large as the tensor beside it
    finite = torch.isfinite(values)
    if not bool(finite.all()):
        bad = (~finite).nonzero()
        where = tuple(bad[0].tolist())
        raise InputError(
            f"is NaN or infinite in {len(bad)} of {values.numel()} values, "
            f"the first is {float(values[where])} at {list(where)}",
            source=source,
            key=name,
        )


@contextmanager
def _translated(path: Path) -> Iterator[None]:
    """What the safetensors library says of a bad file, as an ``InputError``."""
    try:
        yield
    except SafetensorError as error:
        size = path.stat().st_size if path.is_file() else 0
        problem = "is empty" if size == 0 else f"is not a valid safetensors file of {size} bytes: {error}"
        raise InputError(problem, source=path, hint="it may be truncated; fetch it again") from None
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror or error}", source=path) from None
