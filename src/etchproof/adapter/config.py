"""An adapter's ``adapter_config.json``: the keys that say which linears it adapts, at which rank and scale.

Names, defaults and meaning are those of PEFT's ``LoraConfig``, except that ``r`` and ``lora_alpha`` have no
default here: every file that PEFT writes states them.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Any, Final, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)
from pydantic_core import PydanticCustomError

from etchproof.adapter.expressions import layer_expression, module_expression, pattern_expression
from etchproof.adapter.unsupported import refuse_unsupported
from etchproof.errors import shown
from etchproof.files.json_file import read_json_object
from etchproof.files.validation import inconsistent, input_error

CONFIG_FILE: Final = "adapter_config.json"
LLAMA_TARGETS: Final = ("q_proj", "v_proj")  # PEFT's for a Llama, where target_modules is null


def _names(value: object) -> object:
    """One regular expression, or a list of names; null is an empty list."""
    if value is None or value == "":
        return ()
    if isinstance(value, str):
        module_expression(value)
        return value
    return _tuple_of(str, value, "expected a string or a list of strings")


def _targets(value: object) -> object:
    return LLAMA_TARGETS if value is None else _names(value)


def _layers(value: object) -> object:
    """One layer index or a list of them; null is an empty list."""
    one = isinstance(value, int)
    return _tuple_of(int, [value] if one else value, "expected an integer or a list of integers")


def _layer_lists(value: object) -> object:
    """One name of a module list, or several; null and "" are none."""
    listed = [value] if isinstance(value, str) and value else value
    names = _tuple_of(str, None if listed == "" else listed, "expected a string or a list of strings")
    for name in names:
        layer_expression(name)
    return names


def _tuple_of(kind: type, value: object, expected: str) -> tuple[Any, ...]:
    if value is None:
        return ()
    if not isinstance(value, list | tuple) or any(type(item) is not kind for item in value):
        raise PydanticCustomError("list_of", "{expected}", {"expected": expected})
    return tuple(value)


def _pattern(key: str) -> str:
    pattern_expression(key)
    return key


def _empty_for_null(value: object) -> object:
    return {} if value is None else value


Rank = Annotated[int, Field(ge=1, le=2**24)]
Alpha = Annotated[float, Field(ge=-1e9, le=1e9)]  # sanity limits, as those of ModelConfig
Pattern = Annotated[str, AfterValidator(_pattern)]
Names = str | tuple[str, ...]


class AdapterConfig(BaseModel):
    """Which linears an adapter adapts, at which rank and scale; what PEFT's ``LoraConfig`` says of the same names.

    ``target_modules`` and ``exclude_modules`` are a regular expression that must match a module's whole name, or a
    tuple of names that a module's name equals or ends with, after a dot; a target of "all-linear" is every linear
    of the decoder layers. ``rank_pattern`` and ``alpha_pattern`` are asked in order, the first key that fits
    decides. Empty ``layers_to_transform``: all layers.
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", allow_inf_nan=False)

    r: Rank
    lora_alpha: Alpha
    target_modules: Annotated[Names, BeforeValidator(_targets)] = LLAMA_TARGETS
    exclude_modules: Annotated[Names, BeforeValidator(_names)] = ()
    rank_pattern: Annotated[dict[Pattern, Rank], BeforeValidator(_empty_for_null)] = {}
    alpha_pattern: Annotated[dict[Pattern, Alpha], BeforeValidator(_empty_for_null)] = {}
    layers_to_transform: Annotated[tuple[int, ...], BeforeValidator(_layers)] = ()
    layers_pattern: Annotated[tuple[str, ...], BeforeValidator(_layer_lists)] = ()
    use_rslora: bool = False

    def scaling(self, r: int, alpha: float) -> float:
        """What a product of rank ``r`` is multiplied by."""
        return alpha / math.sqrt(r) if self.use_rslora else alpha / r

    @model_validator(mode="after")
    def _as_peft_combines_them(self) -> Self:
        if isinstance(self.target_modules, str):
            for key in ("layers_to_transform", "layers_pattern"):
                if value := getattr(self, key):
                    problem = "which has no say where target_modules is an expression"
                    raise inconsistent(key, f"is {shown(list(value))}, {problem}")
        if self.layers_pattern and not self.layers_to_transform:
            raise inconsistent(
                "layers_pattern",
                f"is {shown(list(self.layers_pattern))}, but layers_to_transform names no layer",
            )
        return self


def read_adapter_config(path: str | Path) -> AdapterConfig:
    """Read ``adapter_config.json`` (``path`` is that file or its folder).

    Raises:
        InputError: naming the file, the key and the value, for anything missing, ill-typed, inconsistent, or that
            cannot run beside etched weights.
    """
    path = Path(path)
    source = path / CONFIG_FILE if path.is_dir() else path
    raw = read_json_object(source, limit_bytes=1 << 20)
    keys = AdapterConfig.model_fields
    refuse_unsupported(raw, keys, source)
    try:
        return AdapterConfig.model_validate({key: value for key, value in raw.items() if key in keys})
    except ValidationError as error:
        raise input_error(error, source) from None
