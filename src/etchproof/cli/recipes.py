"""``etchproof recipes``: what can be given to ``--recipe``."""

from __future__ import annotations

from pathlib import Path

from rich.table import Table
from rich.text import Text

from etchproof.cli.console import make_console
from etchproof.cli.source import choose_project
from etchproof.quantize.recipe import load_recipe


def run_recipes(*, project: Path | None) -> int:
    """Always 0."""
    found = choose_project(project)
    table = Table(box=None, padding=(0, 2, 0, 0))
    for heading in ("recipe", "method", "activations", "cache", "description"):
        table.add_column(heading)
    for file in sorted(found.recipes_dir.glob("*.yaml")):
        recipe = load_recipe(file.stem, found.recipes_dir)
        name = Text(recipe.name, style="bold" if recipe.name == found.default_recipe else "")
        widths = (f"{recipe.activation_bits} bit", f"{recipe.kv_bits} bit")
        table.add_row(name, recipe.method, *widths, Text(recipe.description))
    console = make_console()
    console.print(table)
    console.print(f"default: {found.default_recipe}")
    return 0
