"""Hand-written YAML files (recipes, shapes): read strictly; every way in which one can be bad is one ``InputError``."""

from __future__ import annotations

from collections.abc import Hashable
from pathlib import Path
from typing import Any, Final, TypeVar

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from etchproof.checkpoint.json_file import shown
from etchproof.errors import InputError
from etchproof.files import read_text

_Record = TypeVar("_Record", bound=BaseModel)

SUFFIXES: Final = (".yaml", ".yml")


def find_yaml(path_or_name: str | Path, folder: Path, *, kind: str) -> Path:
    """The file that the user means: a path that ends in .yaml or .yml, or the name of one in ``folder``.

    Args:
        kind: what such a file is ("recipe"), for the message.

    Raises:
        InputError: there is none of that name; the known ones are listed.
    """
    text = str(path_or_name)
    if text.endswith(SUFFIXES):
        return Path(path_or_name)
    known = sorted(file.stem for file in folder.glob("*.yaml"))
    if text not in known:
        raise InputError(
            f"{kind} {shown(text)} is not known",
            source=folder,
            hint=f"known are {', '.join(known)}" if known else f"the folder holds no {kind}",
        )
    return folder / f"{text}.yaml"


def read_yaml_object(path: Path) -> dict[str, Any]:
    """The keys and values of a UTF-8 YAML file; a repeated key is refused. ``name`` is there, and is the file's own.

    Raises:
        InputError: the file is missing, unreadable, not UTF-8, not YAML, not keys and values, or of another name.
    """
    data = _read(path)
    name = data.setdefault("name", path.stem)
    if name != path.stem:
        raise InputError(f"is {shown(name)}, but the file is {path.name}", source=path, key="name")
    return data


class _UniqueKeys(yaml.SafeLoader):
    """YAML without repeated keys: the usual loader keeps the last one silently."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[str] = set()
        for key_node, _ in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                continue  # a list as a key: the base class says so
            key = key_node.value
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"key {shown(key)} stands twice", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep)


def _read(path: Path) -> dict[str, Any]:
    text = read_text(path)
    try:
        data = yaml.load(text, Loader=_UniqueKeys)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise InputError(f"is not valid YAML: {error}", source=path) from None
    if not isinstance(data, dict):
        raise InputError(f"holds {shown(data)}, expected keys and values", source=path)
    for key in data:
        if not isinstance(key, str):
            raise InputError(f"key {shown(key)} is no text", source=path)
    return data


_EXPECTED: Final = {
    "int_type": "expected an integer",
    "float_type": "expected a number",
    "string_type": "expected text",
    "bool_type": "expected true or false",
    "tuple_type": "expected a list",
    "model_type": "expected keys and values",
    "model_attributes_type": "expected keys and values",
    "literal_error": "expected {expected}",
    "finite_number": "expected a finite number",
    "greater_than": "expected more than {gt}",
    "greater_than_equal": "expected at least {ge}",
    "less_than": "expected less than {lt}",
    "less_than_equal": "expected at most {le}",
    "too_short": "expected at least one",
    "string_too_short": "expected at least one character",
    "union_tag_invalid": "expected a {discriminator} of {expected_tags}",
    "union_tag_not_found": "expected a {discriminator}",
    "string_pattern_mismatch": "expected letters, digits, '.', '_' and '-'",
}


def read_yaml_record(path: Path, record: type[_Record]) -> _Record:
    """The file as a record of ``record``.

    Raises:
        InputError: it is bad; file, key and value are named.
    """
    try:
        return record.model_validate(read_yaml_object(path))
    except ValidationError as error:
        raise validation_problem(error, path) from None


def validation_problem(error: ValidationError, source: Path) -> InputError:
    """The first finding of pydantic as one line of ours: key, value, what was expected."""
    detail: ErrorDetails = error.errors(include_url=False)[0]
    context, kind = detail.get("ctx", {}), detail["type"]
    parts = [f"[{part}]" if isinstance(part, int) else f".{part}" for part in detail["loc"]]
    key = "".join(parts).removeprefix(".")
    if kind == "inconsistent":
        return InputError(str(context["problem"]), source=source, key=f"{key}.{context['key']}".lstrip("."))
    if kind == "missing":
        return InputError("is missing", source=source, key=key)
    if kind == "extra_forbidden":
        return InputError(f"is {shown(detail['input'])}, but there is no such key", source=source, key=key)
    expected = _EXPECTED.get(kind, detail["msg"]).format(**context)
    return InputError(f"is {shown(detail['input'])}, {expected}", source=source, key=key)
