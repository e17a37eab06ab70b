"""The regular expressions in an adapter's config, each in the frame that PEFT puts it into."""

from __future__ import annotations

import re
import warnings
from typing import Final

from pydantic_core import PydanticCustomError

from etchproof.checkpoint.json_file import shown_name

ANY_LAYER: Final = re.compile(r".*?\.[^.]*\.(?P<idx>\d+)\.")
"""Where ``layers_pattern`` is empty: the first number in a module's name is the layer, whatever the list's name."""


def module_expression(expression: str) -> re.Pattern[str]:
    """``target_modules`` or ``exclude_modules`` as one string: it must match a module's name in full."""
    return _compiled(expression)


def pattern_expression(key: str) -> re.Pattern[str]:
    """A key of ``rank_pattern`` or ``alpha_pattern``: it must match the name's end, from a dot on or in full."""
    return _compiled(rf"(.*\.)?({key})$")


def layer_expression(pattern: str) -> re.Pattern[str]:
    """An entry of ``layers_pattern``: the name of the module list; the first number after it is the layer."""
    return _compiled(rf"(?:^|.*?\.){pattern}\.(?P<idx>\d+)\.")


def _compiled(expression: str) -> re.Pattern[str]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # of nested sets: PEFT compiles the same text
            return re.compile(expression)
    except (re.error, OverflowError, RecursionError) as error:
        problem = f"expected a regular expression: {shown_name(str(error))}"
        raise PydanticCustomError("expression", "{problem}", {"problem": problem}) from None
