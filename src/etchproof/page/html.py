"""A page from its template: one file of HTML, the same bytes for the same values."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from importlib.resources import files
from typing import Any, Final

_ILLEGIBLE: Final = re.compile(
    "[\\x00-\\x08\\x0b-\\x1f\\x7f-\\x9f\\u202a-\\u202e\\u2066-\\u2069\\ud800-\\udfff\\ufffe\\uffff]"
)


def page(
    package: str, template: str, values: Mapping[str, Any], filters: Mapping[str, Callable[..., Any]]
) -> str:
    """A page of HTML. A template finds those beside it and the macros that all pages share.

    Args:
        package: whose folder ``page`` holds the template; a template takes the style sheet as ``style``.
    """
    import jinja2

    own, shared = files(package) / "page", files("etchproof.page")
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(
            lambda name: next(
                ((at / name).read_text(encoding="utf-8") for at in (own, shared) if (at / name).is_file()),
                None,
            )
        ),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"count": count, "cut": cut, "clipped": clipped, **filters}
    style = (shared / "style.css").read_text(encoding="utf-8")
    return legible(environment.get_template(template).render(style=style, **values))


def count(value: int) -> str:
    """An integer with its thousands apart."""
    return f"{value:,}"


def cut(part: int, whole: int) -> str:
    """Per cent for the length of a bar."""
    return f"{100 * part / whole:.1f}" if whole else "0"


def clipped(text: str, most: int = 400) -> str:
    """The beginning of a text that is too long."""
    return text if len(text) <= most else f"{text[: most - 3]}..."


def legible(text: str) -> str:
    """Text without what neither HTML nor XML 1.0 may hold, nor what steers a terminal: such characters are escaped."""
    return _ILLEGIBLE.sub(lambda found: ascii(found[0])[1:-1], text)
