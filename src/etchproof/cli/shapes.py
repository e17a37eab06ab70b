"""``etchproof shapes``: what can be given to ``--shape``."""

from __future__ import annotations

import math
from pathlib import Path

from rich.table import Table
from rich.text import Text

from etchproof.checkpoint import expected_tensors
from etchproof.checkpoint.shape import load_shape
from etchproof.cli.console import make_console
from etchproof.cli.source import choose_project


def run_shapes(*, project: Path | None) -> int:
    """Always 0."""
    found = choose_project(project)
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("shape")
    for heading in ("layers", "hidden", "MLP", "heads", "of keys", "head", "vocabulary", "weights"):
        table.add_column(heading, justify="right")
    for file in sorted(found.shapes_dir.glob("*.yaml")):
        shape = load_shape(file.stem, found.shapes_dir)
        weights = sum(map(math.prod, expected_tensors(shape).values()))
        sizes = (
            *(shape.n_layers, shape.hidden_size, shape.intermediate_size),
            *(shape.n_heads, shape.n_kv_heads, shape.head_dim, shape.vocab_size),
        )
        table.add_row(Text(shape.name), *map(str, sizes), f"{weights / 1e9:.2f} G")
    make_console().print(table)
    return 0
