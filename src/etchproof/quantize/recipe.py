"""Recipes: how a checkpoint becomes integers, read from YAML (``models/recipes/``).

A recipe fixes every format of the chip that is a choice: the widths of activations and of the key/value cache, the
context, the tile, the bits and group size of each ROM matrix, and how codes and fractional bits are found.

Matrix rules are globs over Hugging Face module names (``model.layers.*.self_attn.q_proj``; ``*`` spans dots). **The
first rule that matches a matrix decides**, so the special stands before the general. ``resolve`` holds a recipe to an
architecture: each matrix has a rule, each rule decides at least one matrix.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from etchproof.checkpoint.config import ModelConfig
from etchproof.checkpoint.tensors import expected_tensors
from etchproof.errors import InputError, shown_name
from etchproof.files.validation import FromFile, as_tuple
from etchproof.files.yaml_file import find_yaml, read_yaml_record

EMBEDDING_MODULE: Final = "model.embed_tokens"
LM_HEAD_MODULE: Final = "lm_head"

Bits = Literal[3, 4, 6, 8]
GroupSize = Literal[16, 32, 64, 128, "row"]

_NO_INTEGERS: Final = re.compile(
    r"(?:mx|nv)[-_ ]?(?:fp|int)[-_ ]?[468]([-_ ]?e\dm\d)?|fp[-_ ]?[468]|e\dm\d(fn)?", re.IGNORECASE
)
"""Names of block formats (docs/published.md) and of their elements."""

_FROZEN: Final = ConfigDict(frozen=True, strict=True, extra="forbid", allow_inf_nan=False)


def _patterns(value: object) -> object:
    """``match`` may be one glob or a list of them."""
    return (value,) if isinstance(value, str) else as_tuple(value)


class Tile(BaseModel):
    """The array of multiply-accumulates: ``rows`` outputs times ``inputs`` inputs a cycle (docs/rom-format.md)."""

    model_config = _FROZEN

    rows: Literal[4, 8, 16, 32] = 16
    inputs: Literal[16, 32, 64, 128] = 64

    @model_validator(mode="after")
    def _no_taller_than_wide(self) -> Self:
        if self.rows > self.inputs:
            raise _inconsistent("rows", f"is {self.rows}, expected at most inputs {self.inputs}")
        return self


class Gptq(BaseModel):
    """Knobs of the error-compensating quantizer; they count only where ``method`` is gptq.

    ``damping`` is added to the Hessian's diagonal, as a part of the diagonal's mean. ``clip`` lets a group's scale be
    smaller than its largest weight asks for, where that lowers the group's error.
    """

    model_config = _FROZEN

    damping: Annotated[float, Field(gt=0, le=1)] = 0.01
    clip: bool = False


class Calibration(BaseModel):
    """The text on which ranges and GPTQ's Hessians are measured.

    It is sampled from the float model itself, or, where weights carry no language, of random tokens. ``length`` counts
    tokens, BOS included; a chip with a shorter context cuts it.
    """

    model_config = _FROZEN

    source: Literal["sampled", "random"] = "sampled"
    sequences: Annotated[int, Field(ge=1, le=4096)] = 16
    length: Annotated[int, Field(ge=1, le=4096)] = 128
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 1


class Lora(BaseModel):
    """The chip's room for LoRA adapters: how many at once, and the largest rank; with no slots it has none of it."""

    model_config = _FROZEN

    slots: Annotated[int, Field(ge=0, le=15)] = 4
    max_rank: Annotated[int, Field(ge=1, le=128)] = 16


class MatrixRule(BaseModel):
    """The format of every matrix whose module name matches one of the globs.

    ``group_size`` counts consecutive inputs of one row that share a scale; "row" is all of them.
    """

    model_config = _FROZEN

    match: Annotated[
        tuple[Annotated[str, Field(min_length=1)], ...], Field(min_length=1), BeforeValidator(_patterns)
    ]
    bits: Bits
    group_size: GroupSize

    @model_validator(mode="before")
    @classmethod
    def _integers(cls, data: Any) -> Any:
        """Say of a block format, under whatever key it is named, what the chip has instead."""
        for key, value in data.items() if isinstance(data, dict) else ():
            if key != "match" and isinstance(value, str) and _NO_INTEGERS.fullmatch(value):
                bits, sizes = (", ".join(map(str, get_args(held))) for held in (Bits, GroupSize))
                raise _inconsistent(
                    shown_name(str(key)),
                    f"is {value!r}, which the chip does not have: its codes are integers (bits: {bits}), with one "
                    f"scale a group of inputs (group_size: {sizes})",
                )
        return data

    @model_validator(mode="after")
    def _plain_globs(self) -> Self:
        for pattern in self.match:
            if "{" in pattern or "}" in pattern:
                raise _inconsistent(
                    "match", f"is {pattern!r}: braces are no glob here, write a list of patterns"
                )
        return self

    def matches(self, module: str) -> bool:
        return any(fnmatchcase(module, pattern) for pattern in self.match)


class Recipe(FromFile):
    """One recipe, every default filled in.

    Attributes:
        name: the file's name without its suffix.
        description: a sentence for reports; not part of ``sha256``.
        activation_bits: A of docs/numerics.md section 1.
        kv_bits: K of docs/numerics.md section 1.
        context: positions; a chip's is the smaller of this and the checkpoint's (``chip_context``).
        tile: the array of multiply-accumulates.
        lora: slots for adapters in SRAM, and their largest rank.
        headroom: h of docs/numerics.md section 12; 2 for 16-bit activations, 1 for 8-bit ones if not given.
            Below 1 the largest values may saturate, which can pay at 8 bits.
        method: rtn rounds each weight to nearest; gptq compensates rounding errors.
        gptq: gptq's knobs.
        calibration: the calibration text.
        matrices: the rules; the first that matches a matrix decides.
    """

    model_config = _FROZEN

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    description: str = ""
    activation_bits: Literal[16, 8] = 16
    kv_bits: Literal[16, 8] = 16
    context: Annotated[int, Field(ge=1, le=2**24)] = 512
    tile: Tile = Tile()
    lora: Lora = Lora()
    headroom: Annotated[float, Field(gt=0, le=1024)] = 2.0
    method: Literal["rtn", "gptq"] = "rtn"
    gptq: Gptq = Gptq()
    calibration: Calibration = Calibration()
    matrices: Annotated[tuple[MatrixRule, ...], Field(min_length=1), BeforeValidator(as_tuple)]

    @model_validator(mode="before")
    @classmethod
    def _default_headroom(cls, data: Any) -> Any:
        if isinstance(data, dict) and "headroom" not in data:
            return {**data, "headroom": 1.0 if data.get("activation_bits") == 8 else 2.0}
        return data

    @property
    def sha256(self) -> str:
        """Hash of what the recipe says, without its labels (``name``, ``description``), as canonical JSON."""
        content = self.model_dump(mode="json", exclude={"name", "description"})
        # A key that came later leaves the older recipes their hashes.
        if self.calibration.source == "sampled":
            del content["calibration"]["source"]
        if self.lora == Lora():
            del content["lora"]
        text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def for_random_weights(self) -> Recipe:
        """This recipe for weights without language: to nearest, ranges from a few random tokens.

        GPTQ has nothing to make up for there, and would take minutes on a large layer; so would sampling a text. Every
        format, and so the chip, stays as it is.
        """
        calibration = self.calibration
        if calibration.source == "sampled":
            calibration = Calibration(source="random", sequences=1, length=16, seed=calibration.seed)
        return self.model_copy(update={"method": "rtn", "calibration": calibration})

    def described(self, asked: Recipe | None = None) -> str:
        """The recipe in a line.

        Args:
            asked: the recipe as it was named, where random weights changed it.
        """
        given = self.method if asked is None else asked.method
        method = self.method if self.method == given else f"{self.method} in place of {given}"
        random = ", calibrated on random tokens" if self.calibration.source == "random" else ""
        widths = f"{self.activation_bits}-bit activations, {self.kv_bits}-bit cache"
        return f"{self.name}: {widths}, {method}{random}"

    def chip_context(self, config: ModelConfig) -> int:
        """T of docs/numerics.md section 1: positions that the chip of this checkpoint holds."""
        return min(self.context, config.context)


@dataclass(frozen=True)
class MatrixFormat:
    """One matrix's format: bits of a code, and consecutive inputs of a row that share a scale."""

    bits: int
    group_size: int  # the columns' count where the recipe says "row"


def load_recipe(path_or_name: str | Path, recipes_dir: Path) -> Recipe:
    """Read a recipe: a path that ends in .yaml or .yml, or the name of one in ``recipes_dir``.

    Raises:
        InputError: one line that names the file, the key and the value; an unknown name lists the known ones.
    """
    path = find_yaml(path_or_name, recipes_dir, kind="recipe")
    return read_yaml_record(path, Recipe).read_from(path)


def matrix_shapes(config: ModelConfig) -> dict[str, tuple[int, int]]:
    """(rows, columns) of each ROM matrix by its Hugging Face module name, in dataflow order.

    ``lm_head`` is always one of them: the chip etches it apart from the embedding even where the weights are tied.
    """
    shapes = {
        name.removesuffix(".weight"): (shape[0], shape[1])
        for name, shape in expected_tensors(config).items()
        if len(shape) == 2
    }
    shapes.setdefault(LM_HEAD_MODULE, shapes[EMBEDDING_MODULE])
    return shapes


def resolve(recipe: Recipe, config: ModelConfig) -> dict[str, MatrixFormat]:
    """The format of each matrix of an architecture, by module name, in dataflow order.

    Raises:
        InputError: a matrix that no rule matches, a rule or pattern that decides nothing, or a group size that does
            not fit the tile.
    """
    formats: dict[str, MatrixFormat] = {}
    deciding: set[int] = set()
    shapes = matrix_shapes(config)
    for module, (_, cols) in shapes.items():
        for number, rule in enumerate(recipe.matrices):
            if rule.matches(module):
                deciding.add(number)
                size = cols if rule.group_size == "row" else rule.group_size
                _check_tile(recipe, rule, number)
                formats[module] = MatrixFormat(rule.bits, size)
                break
        else:
            raise InputError(
                f"no rule matches {module} of {config.name}",
                source=recipe.source,
                key="matrices",
                hint="end with a rule that matches '*'",
            )
    for number, rule in enumerate(recipe.matrices):
        key = f"matrices[{number}].match"
        for pattern in rule.match:
            if not any(fnmatchcase(module, pattern) for module in shapes):
                raise InputError(
                    f"{pattern!r} matches no matrix of {config.name}",
                    source=recipe.source,
                    key=key,
                    hint="names are like model.layers.0.self_attn.q_proj",
                )
        if number not in deciding:
            raise InputError(
                f"{list(rule.match)} decides no matrix of {config.name}: an earlier rule takes each",
                source=recipe.source,
                key=key,
                hint="the first rule that matches decides, so put the special before the general",
            )
    return formats


def _check_tile(recipe: Recipe, rule: MatrixRule, number: int) -> None:
    """Either the group divides the tile's inputs or the inputs divide the group (docs/rom-format.md)."""
    if rule.group_size == "row":
        return  # padded to whole tiles
    inputs = recipe.tile.inputs
    if inputs % rule.group_size and rule.group_size % inputs:
        raise InputError(
            f"is {rule.group_size}, expected a divisor or a multiple of tile.inputs {inputs}",
            source=recipe.source,
            key=f"matrices[{number}].group_size",
        )


def _inconsistent(key: str, problem: str) -> PydanticCustomError:
    """Fields that do not fit together; the text is a context value, as pydantic would expand braces in a template."""
    return PydanticCustomError("inconsistent", "{problem}", {"key": key, "problem": problem})
