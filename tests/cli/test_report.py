"""The table and the verdict on the screen: what fits where, and what stands out."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from etchproof.cli.console import PLAIN_WIDTH, visible
from etchproof.cli.report import tap_table
from etchproof.compare.comparator import TapCount
from tests.taps import tap_plan


def shown(
    n_layers: int, changes: dict[tuple[int, str], dict[str, int]] | None = None
) -> dict[str, list[str]]:
    """The words of each row by its first."""
    counts = [
        TapCount(layer=layer, tap=tap, vectors=4, elements=4000, mismatches=0).model_copy(
            update=(changes or {}).get((layer, tap), {})
        )
        for layer, tap in tap_plan(n_layers)
        if (changes or {}).get((layer, tap)) != {}
    ]
    console = Console(file=io.StringIO(), width=PLAIN_WIDTH)
    wanted = dict.fromkeys(tap_plan(n_layers), 4)
    console.print(tap_table(counts, wanted, PLAIN_WIDTH))
    text = console.file.getvalue()  # type: ignore[attr-defined]  # a StringIO
    assert max(map(len, text.splitlines())) <= PLAIN_WIDTH
    return {line.split()[0]: line.split() for line in text.splitlines() if line.strip()}


def test_a_column_for_each_layer() -> None:
    rows = shown(3)
    assert rows["operation"] == ["operation", "layers", "vectors", "elements", "mismatches", "0", "1", "2"]
    assert rows["q_proj"] == ["q_proj", "3", "12", "12,000", "0", ".", ".", "."]
    assert rows["logits"] == ["logits", "4", "4,000", "0"]


def test_what_differs_or_lacks_stands_out() -> None:
    rows = shown(3, {(1, "q_proj"): {"mismatches": 17}, (2, "k_proj"): {"vectors": 3}, (0, "v_proj"): {}})
    assert rows["q_proj"][-4:] == ["17", ".", "17", "."]
    assert rows["k_proj"][-3:] == [".", ".", "short"]
    assert rows["v_proj"][-3:] == ["none", ".", "."]


@pytest.mark.parametrize("n_layers", [7, 16, 32, 80])
def test_many_layers_fit(n_layers: int) -> None:
    wrong = {(layer, "up_proj"): {"mismatches": 1234567} for layer in (1, 2, 3, 5)}
    rows = shown(n_layers, wrong)
    assert rows["up_proj"][4] == "4,938,268"
    assert rows["up_proj"][-2:] == ["1-3", "5"] or n_layers == 7


def test_text_cannot_steer_the_terminal() -> None:
    assert visible("a\x1b[2J\r\u202eb\n\tç 日本") == "a\\x1b[2J\\r\\u202eb\n\tç 日本"
