"""The tensors of one quantized linear and the keys of ``quantization_config``, each checked as it is taken."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn

import numpy as np
import numpy.typing as npt

from etchproof.errors import InputError, shown, shown_name
from etchproof.published.minifloat import Patterns, ScaleFormat

if TYPE_CHECKING:
    from torch import Tensor

CONFIG_KEY: Final = "quantization_config"
FLOATS: Final = ("F16", "BF16", "F32")
_DTYPES: Final = {  # torch's name: as safetensors writes it
    "float16": "F16",
    "bfloat16": "BF16",
    "float32": "F32",
    "float64": "F64",
    "uint8": "U8",
    "float8_e4m3fn": "F8_E4M3",
    **{f"int{bits}": f"I{bits}" for bits in (8, 16, 32, 64)},
}


class Linear:
    """What a folder holds of one linear.

    Args:
        module: its name, such as "model.layers.0.mlp.up_proj".
        tensors: of the folder, by full name.
        source: the file or folder that holds them, for messages.
    """

    def __init__(self, module: str, tensors: Mapping[str, Tensor], source: Path) -> None:
        self.module, self.source, self._tensors = module, source, tensors

    def has(self, name: str) -> bool:
        return f"{self.module}.{name}" in self._tensors

    def dtype(self, name: str) -> str | None:
        """As safetensors writes it; None where there is no such tensor."""
        tensor = self._tensors.get(f"{self.module}.{name}")
        return None if tensor is None else _dtype(tensor)

    def only(self, names: Collection[str], form: str) -> None:
        """Refuse a tensor of the linear that the format does not have; a bias is no part of the matrix.

        Raises:
            InputError: there is one.
        """
        for full in self._tensors:
            if full.startswith(f"{self.module}.") and full[len(self.module) + 1 :] not in (*names, "bias"):
                raise InputError(
                    f"is a tensor that {form} does not have", source=self.source, key=shown_name(full)
                )

    def integers(
        self, name: str, shape: tuple[int, ...], why: str, dtypes: tuple[str, ...] = ("I32",)
    ) -> npt.NDArray[Any]:
        """A tensor of integers, as the file has it.

        Args:
            shape: that it has to have.
            why: how the shape follows, for messages.

        Raises:
            InputError: it is missing, or of another shape or dtype.
        """
        found: npt.NDArray[Any] = self._checked(name, shape, why, dtypes).numpy()
        return found

    def floats(self, name: str, shape: tuple[int, ...], why: str) -> npt.NDArray[np.float64]:
        """A tensor of finite numbers, exact; errors as of ``integers``, or a number is NaN or infinite."""
        import torch

        tensor = self._checked(name, shape, why, FLOATS)
        found: npt.NDArray[np.float64] = tensor.to(torch.float64).numpy()
        finite = np.isfinite(found)
        if not finite.all():
            where = tuple(np.argwhere(~finite)[0].tolist())
            self.refuse(f"is {found[where]} at {list(where)}, expected a finite number", name)
        return found

    def scales(self, name: str, shape: tuple[int, int], why: str, dtype: str, form: ScaleFormat) -> Patterns:
        """A tensor of a block format's scales, as bits.

        Args:
            shape: (rows, groups) that it has to have.
            why: how the shape follows, for messages.
            dtype: that it has to have, as safetensors writes it.
            form: of a scale.

        Raises:
            InputError: it is missing, of another shape or dtype, or holds a NaN or a sign, which the kernels of the
                format take in different ways.
        """
        import torch

        found: Patterns = self._checked(name, shape, why, (dtype,)).view(torch.uint8).numpy()
        for wrong, what in (
            (form.is_nan(found), f"NaN of {form.name}, expected a number"),
            (np.signbit(form.values(found)), f"a negative {form.name}, expected one without a sign"),
        ):
            if wrong.any():
                row, group = np.argwhere(wrong)[0].tolist()
                self.refuse(f"holds {found[row, group]:#04x} for row {row}, group {group}: {what}", name)
        return found

    def refuse(self, problem: str, name: str, hint: str | None = None) -> NoReturn:
        """``InputError`` about one tensor."""
        raise InputError(problem, source=self.source, key=f"{self.module}.{name}", hint=hint)

    def _checked(self, name: str, shape: tuple[int, ...], why: str, dtypes: tuple[str, ...]) -> Tensor:
        full = f"{self.module}.{name}"
        if full not in self._tensors:
            self.refuse(f"is missing, expected shape {list(shape)}, {why}", name)
        tensor = self._tensors[full]
        if tuple(tensor.shape) != shape:
            self.refuse(f"has shape {list(tensor.shape)}, expected {list(shape)}, {why}", name)
        if (said := _dtype(tensor)) not in dtypes:
            self.refuse(f"has dtype {said}, expected {' or '.join(dtypes)}", name)
        return tensor.contiguous()


def _dtype(tensor: Tensor) -> str:
    name = str(tensor.dtype).removeprefix("torch.")
    return _DTYPES.get(name, name)


def checked_order(
    linear: Linear, found: npt.NDArray[np.int64], consecutive: npt.NDArray[np.int64], name: str
) -> npt.NDArray[np.int64]:
    """The group of each input, where every group has as many inputs as it would have by order.

    Args:
        found: (cols,) the groups.
        consecutive: (cols,) those by order.
        name: of the tensor.

    Raises:
        InputError: a group does not exist, or has another number of inputs.
    """
    last = int(consecutive[-1])
    outside = np.flatnonzero((found < 0) | (found > last))
    if outside.size:
        first = int(outside[0])
        linear.refuse(f"puts input {first} into group {found[first]}, expected 0 .. {last}", name)
    held, expected = np.bincount(found, minlength=last + 1), np.bincount(consecutive)
    wrong = np.flatnonzero(held != expected)
    if wrong.size:
        group = int(wrong[0])
        linear.refuse(f"puts {held[group]} inputs into group {group}, expected {expected[group]}", name)
    return found


class Keys:
    """One object of the config; what nobody asked for is refused at the end.

    Args:
        raw: the object.
        source: ``config.json``, for messages.
        where: the key under which the object stands.
    """

    def __init__(self, raw: object, source: Path, where: str = CONFIG_KEY) -> None:
        if not isinstance(raw, dict):
            raise InputError(f"is {shown(raw)}, expected an object", source=source, key=where)
        self._left: dict[str, Any] = dict(raw)
        self._source, self._where = source, where

    def take(self, *names: str) -> Any:
        """The value of a key that has several names; None where there is none. Two that differ are refused."""
        found = {name: self._left.pop(name) for name in names if name in self._left}
        values = {name: value for name, value in found.items() if value is not None}
        if len({repr(value) for value in values.values()}) > 1:
            first, second, *_ = values
            self.refuse(f"is {shown(values[first])}, and {second} is {shown(values[second])}", first)
        return next(iter(values.values()), None)

    def whole(self, *names: str, of: Collection[int] = (), least: int | None = None) -> int:
        """An integer, one ``of`` several, or at least ``least`` or -1."""
        value = self.take(*names)
        fits = isinstance(value, int) and not isinstance(value, bool)
        if not fits or not (value in of or (least is not None and (value >= least or value == -1))):
            several = f"one of {', '.join(map(str, of))}"
            expected = several if of else f"an integer of at least {least}, or -1"
            self.refuse(f"is {'missing' if value is None else shown(value)}, expected {expected}", names[0])
        return int(value)

    def flag(self, name: str) -> bool:
        """True or false, which the file has to say."""
        value = self.take(name)
        if not isinstance(value, bool):
            self.refuse(f"is {'missing' if value is None else shown(value)}, expected true or false", name)
        return bool(value)

    def word(self, *names: str, of: Collection[str], default: str | None = None) -> str | None:
        """One ``of`` several words, whatever the case of its letters."""
        value = self.take(*names)
        if value is None and default is not None:
            return default
        if not isinstance(value, str) or value.lower() not in of:
            self.refuse(
                f"is {'missing' if value is None else shown(value)}, expected {' or '.join(of)}", names[0]
            )
        return str(value).lower()

    def names(self, name: str) -> tuple[str, ...]:
        """A list of strings; empty where there is none."""
        value = self.take(name)
        if value is None:
            return ()
        if not isinstance(value, list) or not all(isinstance(part, str) for part in value):
            self.refuse(f"is {shown(value)}, expected a list of names", name)
        return tuple(value)

    def nothing(self, **why: str) -> None:
        """Keys that must be null, false or empty; each with the reason why another value is refused."""
        for name, reason in why.items():
            value = self.take(name)
            if value not in (None, False, {}, []):
                self.refuse(f"is {shown(value)}: {reason}", name)

    def end(self, ignored: Collection[str]) -> None:
        """Refuse whatever is left but ``ignored``, which say nothing of the codes, and keys that are null."""
        for name, value in self._left.items():
            if name not in ignored and value is not None:
                self.refuse(f"is {shown(value)}: this key is not known here", shown_name(name))

    def refuse(self, problem: str, name: str, hint: str | None = None) -> NoReturn:
        """``InputError`` about one key."""
        raise InputError(problem, source=self._source, key=f"{self._where}.{name}", hint=hint)
