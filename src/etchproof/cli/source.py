"""What a command works on: a checkpoint folder, or a shape in its place."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from etchproof.errors import InputError


def check_source(model: Path | None, shape: str | None, of_shape: Mapping[str, int | None]) -> None:
    """Refuse both and neither.

    Args:
        model: MODEL_DIR.
        shape: ``--shape``.
        of_shape: the options that say something of a shape, by name.

    Raises:
        InputError: naming the option that does not belong.
    """
    if shape is not None and model is not None:
        raise InputError("stands beside MODEL_DIR", key="--shape", hint="give one of them")
    if shape is None:
        for key, value in of_shape.items():
            if value is not None:
                raise InputError("stands without --shape", key=key, hint="a checkpoint is taken as it is")
        if model is None:
            raise InputError("is missing", key="MODEL_DIR", hint="name a checkpoint folder, or a --shape")
