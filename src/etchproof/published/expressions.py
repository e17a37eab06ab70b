"""Regular expressions of a config that name modules: only those that cannot take long to match."""

from __future__ import annotations

import re
from typing import Final

from etchproof.errors import shown
from etchproof.published.stored import Keys

_PLAIN: Final = re.compile(r"\^?(?:[A-Za-z0-9_/-]|\\\.|\.\*|\.|\[0-9\]\+?|\\d\+?|\(\?:|\(|\)|\|){1,200}\$?")
"""Expressions that cannot take long: nothing repeats but ``.*`` and digits, ``_MOST_REPEATS`` times at most."""
_MOST_REPEATS: Final = 4


def check_expression(keys: Keys, expression: str, name: str, entry: str) -> None:
    """Refuse an expression that is none, or may take long.

    Args:
        keys: the object that holds it.
        expression: what is matched.
        name: of its key.
        entry: as the file has it, for messages.

    Raises:
        InputError: it is refused.
    """
    plain = _PLAIN.fullmatch(expression) and expression.count("*") + expression.count("+") <= _MOST_REPEATS
    try:
        re.compile(expression)
    except (re.error, RecursionError, OverflowError) as error:
        keys.refuse(f"holds {shown(entry)}, which is no regular expression: {error}", name)
    if not plain:
        keys.refuse(f"holds {shown(entry)}, an expression that is not read here", name)
