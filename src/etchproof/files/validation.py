"""What pydantic finds wrong with a JSON file, as one line of ours: key, value, what was expected."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Annotated, Any, Final, Self

from pydantic import BaseModel, BeforeValidator, PrivateAttr, ValidationError
from pydantic_core import ErrorDetails, PydanticCustomError

from etchproof.errors import InputError, shown, shown_name

_EXPECTED: Final = {
    "int_type": "expected an integer",
    "float_type": "expected a number",
    "bool_type": "expected true or false",
    "string_type": "expected a string",
    "dict_type": "expected an object",
    "finite_number": "expected a finite number",
    "greater_than": "expected more than {gt}",
    "greater_than_equal": "expected at least {ge}",
    "less_than": "expected less than {lt}",
    "less_than_equal": "expected at most {le}",
    "int_parsing_size": "expected a smaller integer",
    "literal_error": "expected {expected}",
    "model_type": "expected an object",
    "model_attributes_type": "expected an object",
    "tuple_type": "expected a list",
    "extra_forbidden": "but there is no such key",
}


def as_tuple(value: object) -> object:
    """A list as a tuple, which a strict record takes; anything else as it is, to be refused."""
    return tuple(value) if isinstance(value, list) else value


def _day(value: object) -> object:
    """The day that a text of the form 2026-12-31 names; anything else as it is, to be refused."""
    try:
        return datetime.date.fromisoformat(value) if isinstance(value, str) else value
    except ValueError:
        return value


Day = Annotated[datetime.date, BeforeValidator(_day)]
"""A day, in a file a text of the form 2026-12-31."""


class FromFile(BaseModel):
    """A record that knows the file it was read from, so that a refusal can name it.

    The file is a label: records of the same content are equal wherever they were read, and no hash covers it.
    """

    name: str
    _file: Path | None = PrivateAttr(default=None)

    def read_from(self, file: Path) -> Self:
        """This record, which from now on knows its file."""
        self._file = file
        return self

    @property
    def source(self) -> str:
        """The file that a refusal names; the record's name where it was made without one."""
        return str(self._file or self.name)

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, FromFile)
            and type(self) is type(other)
            and self.model_dump() == other.model_dump()
        )

    def __hash__(self) -> int:
        return hash((type(self), self.model_dump_json()))


def inconsistent(key: str, problem: str) -> PydanticCustomError:
    """Fields that do not fit together; ``key`` is the file's name of the one to look at."""
    # The text goes in as a context value, as pydantic would expand braces in the template itself.
    return PydanticCustomError("inconsistent", "{problem}", {"key": key, "problem": problem})


def input_error(error: ValidationError, source: Path, section: str | None = None) -> InputError:
    """The first finding; ``section`` is where in the file the validated object stands."""
    detail: ErrorDetails = error.errors(include_url=False)[0]
    context = detail.get("ctx", {})
    if detail["type"] == "inconsistent":
        key: str | None
        key, problem = str(context["key"]), str(context["problem"])
    else:
        names = [part for part in detail["loc"] if isinstance(part, str) and part != "[key]"]
        # A union puts its own tags into the location; the field's name is last inside the RoPE sub-model.
        key = names[-1] if section else ".".join(shown_name(name) for name in names)
        key = key or None
        if detail["type"] == "missing":
            problem = "is missing"
        else:
            problem = f"is {shown(detail['input'])}, {_expected(detail['type'], detail['msg'], context)}"
    return InputError(problem, source=source, key=f"{section}.{key}" if section else key)


def refuse_unless_neutral(
    raw: dict[str, Any], neutral: dict[str, tuple[tuple[object, ...], str]], source: Path
) -> None:
    """Raise at the first key whose value is neither null nor one of those that leave the arithmetic alone.

    Args:
        neutral: key -> (neutral values beside null; what any other would mean).
    """
    for key, (values, meaning) in neutral.items():
        value = raw.get(key)
        if value is not None and value not in values:
            raise InputError(f"is {shown(value)}: {meaning}", source=source, key=key)


def _expected(kind: str, message: str, context: dict[str, Any]) -> str:
    return _EXPECTED[kind].format(**context) if kind in _EXPECTED else message
