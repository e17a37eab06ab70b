"""The table "Clauses of the numerics" of docs/coverage.md, against the page, the covergroups and what runs hit."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

import pytest
import torch

from etchproof.quantize.quantized_model import QuantizedModel
from models import chip
from models.numerics import ops
from verif.coverage.covergroups import groups

ARITHMETIC = ("rounding", "ends", "tables", "residual", "softmax", "swiglu", "argmax")
DECIDES = re.compile(r"\b(rs|sat|max|max_k|min|floor|if)\b")
NOT_COMPUTED = ("12", "14.1")  # how images are made, which the chip does not do


@dataclass(frozen=True)
class Row:
    """Of the table."""

    section: str
    clause: str
    bins: tuple[str, ...]
    runs: tuple[str, ...]


@pytest.fixture(scope="module")
def page(repo_root: Path) -> str:
    return (repo_root / "docs/numerics.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def rows(repo_root: Path) -> tuple[Row, ...]:
    text = (repo_root / "docs/coverage.md").read_text(encoding="utf-8")
    return tuple(read_rows(text.partition("### Clauses of the numerics")[2].partition("\n### ")[0]))


def read_rows(text: str) -> Iterator[Row]:
    for line in text.splitlines():
        cells = [cell.strip().replace(r"\|", "|") for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        if len(cells) == 4 and cells[0][:1].isdigit():
            yield Row(
                cells[0], cells[1], tuple(re.findall(r"`([^`]+)`", cells[2])), tuple(cells[3].split(", "))
            )


def formulas(page: str) -> Iterator[tuple[str, str]]:
    """(section, formula) of everything that the chip computes and in which something decides, rounds or looks up."""
    section = ""
    for line in page.splitlines():
        if heading := re.match(r"##+ ([\d.]+)", line):
            section = heading[1].rstrip(".")
        if not line.startswith("    ") or section.startswith(NOT_COMPUTED) or section in ("", "1", "1.1"):
            continue
        for formula in re.split(
            r"\s{2,}|; +", re.sub(r"\s+=", " =", line.strip().removeprefix("twice:").strip())
        ):
            if " = " in formula and DECIDES.search(formula.partition(" = ")[2]) and "COS" not in formula:
                yield section, formula.strip()


def missing(page: str, rows: tuple[Row, ...]) -> set[tuple[str, str]]:
    known = {(row.section, row.clause.strip("`")) for row in rows}
    return set(formulas(page)) - known


def test_each_formula_has_a_row(page: str, rows: tuple[Row, ...]) -> None:
    assert len(set(formulas(page))) > 25
    assert missing(page, rows) == set()


def test_a_new_clause_is_noticed(page: str, rows: tuple[Row, ...]) -> None:
    changed = page.replace("bitlen(m) - 24)", "bitlen(m) - 25)")
    assert missing(changed, rows) == {("3", "s = max(0, bitlen(m) - 25)")}
    more = page.replace("## 12. How", "    r[k] = min(r[k], 7)\n\n## 12. How")
    assert missing(more, rows) == {("11", "r[k] = min(r[k], 7)")}


def test_each_row_stands_on_the_page(page: str, rows: tuple[Row, ...]) -> None:
    parts = re.split(r"(?m)^##+ ([\d.]+?)\.? ", page)
    text = {number: re.sub(r"\s+", " ", body) for number, body in zip(parts[1::2], parts[2::2], strict=True)}
    for row in rows:
        formula = row.clause.strip("`") if row.clause.count("`") == 2 else row.clause
        assert formula in text[row.section] or row.clause in text[row.section], row


def test_bins_and_rows_belong_together(rows: tuple[Row, ...], tiny_model: QuantizedModel) -> None:
    """Each pattern is of some bin, and each bin of the arithmetic is in a row."""
    plan = chip.plan(tiny_model.config, tiny_model.recipe)
    bins = [f"{group.name}.{name}" for group in groups(plan) for name in group.bins]
    patterns = {pattern for row in rows for pattern in row.bins}
    wide = patterns - {"swiglu.last_segment"} if plan.act_bits == 8 else patterns
    assert {one for one in wide if not any(matches(name, one) for name in bins)} == set()
    arithmetic = {name for name in bins if name.startswith(tuple(f"{group}." for group in ARITHMETIC))}
    assert {name for name in arithmetic if not any(matches(name, one) for one in patterns)} == set()


def test_runs_reach_their_bins(
    rows: tuple[Row, ...], corner_hits: Mapping[int, Mapping[str, set[str]]], tiny_model: QuantizedModel
) -> None:
    """What a row says is reached by corner weights is hit by those together."""
    plan = chip.plan(tiny_model.config, tiny_model.recipe)
    for row in rows:
        if not all(re.fullmatch(r"s\d", run) for run in row.runs):
            continue
        bins = {f"{group.name}.{name}" for group in groups(plan) for name in group.bins}
        wanted = {name for name in bins if any(matches(name, one) for one in row.bins)}
        if plan.act_bits == 8:  # not every entry can be reached (docs/coverage.md, "Function")
            wanted = {name for name in wanted if not name.startswith("tables.sigmoid")}
        hit = {
            f"{group}.{name}"
            for run in row.runs
            for group, names in corner_hits[int(run[1:])].items()
            for name in names
        }
        assert wanted - hit == set(), row


def test_far_weights_are_zero() -> None:
    """Why the bound of 31 may be any from 22 on: no weight beyond is anything but 0."""
    low = torch.arange(1 << 16)
    assert max(int(ops.exp2n(low + (n << 16)).max()) for n in range(22, 33)) == 0
    assert int(ops.exp2n(torch.tensor([21 << 16]))) == 1


def test_epsilon_keeps_the_root_from_zero(tiny_model: QuantizedModel) -> None:
    assert chip.plan(tiny_model.config, tiny_model.recipe).norm_epsilon >= 1


def matches(name: str, pattern: str) -> bool:
    """Brackets stand for themselves."""
    return fnmatchcase(name, pattern.replace("[", "[[]"))
