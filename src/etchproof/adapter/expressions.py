"""The regular expressions in an adapter's config, each in the frame that PEFT puts it into.

An expression of twenty characters can take years on a name of thirty, so expressions are matched in a process of its
own (``expressions_child.py``), all those of an adapter within the seconds that one request has.
"""

from __future__ import annotations

import functools
import os
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydantic_core import PydanticCustomError

from etchproof.contained.parent import Child, ContainedError
from etchproof.errors import InputError, shown_name

_CHILD: Final = Path(__file__).with_name("expressions_child.py")
_LONGEST: Final = 10_000
_CPU_S: Final = 2  # a hundred thousand names take a tenth of one


@dataclass(frozen=True)
class Expression:
    """A regular expression that compiles.

    Attributes:
        text: as Python's ``re`` takes it.
        full: whether it must match a name in full, not only from its beginning.
    """

    text: str
    full: bool = False


Found = dict[Expression, dict[str, str]]
"""By expression, the names that match it; with each name its group ``idx``, "" without one."""

ANY_LAYER: Final = Expression(r".*?\.[^.]*\.(?P<idx>\d+)\.")
"""Where ``layers_pattern`` is empty: the first number in a module's name is the layer, whatever the list's name."""


def module_expression(expression: str) -> Expression:
    """``target_modules`` or ``exclude_modules`` as one string: it must match a module's name in full."""
    return _checked(Expression(expression, full=True))


def pattern_expression(key: str) -> Expression:
    """A key of ``rank_pattern`` or ``alpha_pattern``: it must match the name's end, from a dot on or in full."""
    return _checked(Expression(rf"(.*\.)?({key})$"))


def layer_expression(pattern: str) -> Expression:
    """An entry of ``layers_pattern``: the name of the module list; the first number after it is the layer."""
    return _checked(Expression(rf"(?:^|.*?\.){pattern}\.(?P<idx>\d+)\."))


def match(expressions: Sequence[Expression], names: Sequence[str], source: Path) -> Found:
    """Which names match each expression.

    Raises:
        InputError: matching takes longer than a request may; ``source`` is named.
    """
    if not expressions:
        return {}
    child = _child(os.getpid())
    try:
        found = child.ask(expressions=[[one.text, one.full] for one in expressions], names=list(names))
    except ContainedError as error:
        _child.cache_clear()
        raise InputError(
            f"holds regular expressions of which matching {error}",
            source=source,
            hint="name the modules in a list",
        ) from None
    return dict(zip(expressions, found, strict=True))


@functools.lru_cache(maxsize=1)
def _child(_process: int) -> Child:
    """One for all adapters of this process; a forked one starts its own."""
    return Child(_CHILD, _CPU_S)


def _checked(expression: Expression) -> Expression:
    if len(expression.text) > _LONGEST:
        raise _problem(f"at most {_LONGEST:,} characters")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # of nested sets: PEFT compiles the same text
            re.compile(expression.text)
    except (re.error, OverflowError, RecursionError) as error:
        raise _problem(f"a regular expression: {shown_name(str(error))}") from None
    return expression


def _problem(expected: str) -> PydanticCustomError:
    return PydanticCustomError("expression", "{problem}", {"problem": f"expected {expected}"})
