"""Python's ``re`` in a process of its own: which names match which expressions. Imported by nobody."""

from __future__ import annotations

import re
import warnings
from typing import Any

from etchproof.contained.child import serve


def _match(request: dict[str, Any]) -> list[dict[str, str]]:
    """For each expression, the names that match it, with their group ``idx``."""
    warnings.simplefilter("ignore", FutureWarning)
    answer = []
    for text, full in request["expressions"]:
        compiled = re.compile(text)
        test = compiled.fullmatch if full else compiled.match
        found = {name: match for name in request["names"] if (match := test(name))}
        answer.append({name: match.groupdict().get("idx") or "" for name, match in found.items()})
    return answer


if __name__ == "__main__":
    serve(_match)
