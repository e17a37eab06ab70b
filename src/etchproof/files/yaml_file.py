"""Hand-written YAML files (recipes, shapes): read strictly; every way in which one can be bad is one ``InputError``."""

from __future__ import annotations

import re
from collections.abc import Hashable
from pathlib import Path
from typing import Any, Final, TypeVar

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from etchproof.errors import InputError, shown
from etchproof.files.documents import LIMIT_BYTES, MAX_DEPTH, read_document

_Record = TypeVar("_Record", bound=BaseModel)

SUFFIXES: Final = (".yaml", ".yml")

_WORDS: Final = (
    ("null", r"(?:~|null|Null|NULL|)\Z", ("~", "n", "N", "")),
    ("bool", r"(?:true|True|TRUE|false|False|FALSE)\Z", "tTfF"),
    ("int", r"[-+]?[0-9]+\Z", "-+0123456789"),
    ("float", r"(?:[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?)\Z", "-+.0123456789"),
    ("float", r"(?:[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))\Z", "-+."),
)
"""What an untagged word stands for beside text, and how it begins (YAML 1.2.2, section 10.3.2)."""


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
    data = read_yaml_mapping(path)
    name = data.setdefault("name", path.stem)
    if name != path.stem:
        raise InputError(f"is {shown(name)}, but the file is {path.name}", source=path, key="name")
    return data


class _Loader(yaml.SafeLoader):
    """The part of YAML that is keys, values and lists, with the words of YAML 1.2's core schema.

    Tags, anchors, aliases and merge keys are refused: they make a short file a long one, or a value of another type
    than it reads as. A date, ``yes``, ``no``, and a number to the base of 60 are text. A repeated key is refused: the
    usual loader keeps the last one silently.
    """

    yaml_implicit_resolvers = {}  # noqa: RUF012 -- PyYAML's own way: add_implicit_resolver fills it

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event: yaml.NodeEvent = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent) or event.anchor is not None:
            raise _marked("an anchor or alias: write the value out", event.start_mark)
        if isinstance(event, yaml.ScalarEvent | yaml.CollectionStartEvent) and event.tag is not None:
            raise _marked(f"tag {shown(event.tag)}: values carry no tags here", event.start_mark)
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise _marked(f"more than {MAX_DEPTH} levels", event.start_mark)
        node: yaml.Node | None = super().compose_node(parent, index)
        self._depth -= 1
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[str] = set()
        for key_node, _ in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                raise _marked("a list or mapping as a key", key_node.start_mark)
            key = key_node.value
            if key in seen:
                raise _marked(f"key {shown(key)} stands twice", key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)

    def construct_integer(self, node: yaml.ScalarNode) -> int:
        """In decimal, also behind a zero."""
        return int(self.construct_scalar(node))


for _tag, _pattern, _first in _WORDS:
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(_pattern), list(_first))
_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_integer)


def _marked(problem: str, mark: Any) -> ValueError:
    """``mark`` is where PyYAML says that it stands, or None."""
    where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
    return ValueError(where + problem)


def _parse(text: str) -> Any:
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        problem = error.problem or error.context or "it cannot be read"
        mark = error.problem_mark or error.context_mark
        raise _marked(problem, mark) from None
    except yaml.YAMLError as error:  # of the reader: a character that YAML does not have
        raise ValueError(str(error)) from None


def read_yaml_mapping(path: Path, limit_bytes: int = LIMIT_BYTES) -> dict[str, Any]:
    """As ``read_yaml_object``, of a file whose ``name`` is not the file's own, and of up to ``limit_bytes``."""
    data = read_document(path, "YAML", _parse, limit_bytes)
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
    "list_type": "expected a list",
    "dict_type": "expected keys and values",
    "date_type": "expected a day such as 2026-12-31",
    "model_type": "expected keys and values",
    "model_attributes_type": "expected keys and values",
    "literal_error": "expected {expected}",
    "finite_number": "expected a finite number",
    "greater_than": "expected more than {gt}",
    "greater_than_equal": "expected at least {ge}",
    "less_than": "expected less than {lt}",
    "less_than_equal": "expected at most {le}",
    "too_short": "expected at least one",
    "string_too_short": "expected {min_length} or more characters",
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
