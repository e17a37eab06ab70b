"""Templates of the pages of docs/ that are made here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jinja2

from bench.measure import ROOT


def template(name: str, **filters: Callable[[Any], str]) -> jinja2.Template:
    """A template of this folder, by its file's name, and filters that it uses."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(ROOT / "bench"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update(filters)
    return environment.get_template(name)
