"""Malformed input to every loader: it loads, or it is refused in one line, within 10 seconds and 1 GiB.

A failure prints the command that repeats it. The test of CI takes a part of the inputs, the slow one all of them.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.conftest import ROOT
from tests.fuzz import formats
from tests.fuzz.loaders import LOADERS
from tests.fuzz.mutate import content
from tests.fuzz.pool import Pool, Result
from tests.fuzz.table import AS_IT_IS, Loader, make_case

IN_CI: Final = 900
ALL: Final = 15_000


def cases(loaders: tuple[Loader, ...], total: int) -> list[tuple[str, int]]:
    """About ``total`` cases, by weight; each loader's valid input, and its first mutations."""
    share = total / sum(loader.weight for loader in loaders)
    return [
        (loader.name, number)
        for loader in loaders
        for number in range(AS_IT_IS, round(share * loader.weight) + 1)
    ]


def check(results: list[Result], least: int) -> None:
    """Fail with every finding, of each kind the first."""
    findings: dict[tuple[str, str], Result] = {}
    for result in sorted(results, key=lambda result: (result.loader, result.number)):
        if result.how == "failed":
            findings.setdefault((result.loader, result.said[:60]), result)
    assert not findings, f"{len(findings)} kinds of findings:\n" + "\n".join(map(str, findings.values()))
    assert len(results) >= least
    counts = Counter(result.how for result in results)
    assert min(counts["clean"], counts["refused"]) > least // 10, counts


def test_a_part_of_the_inputs() -> None:
    with Pool() as pool:
        check(pool.run(cases(LOADERS, IN_CI)), IN_CI)


@pytest.mark.slow
def test_all_inputs() -> None:
    with Pool(workers=min(4, os.cpu_count() or 1)) as pool:
        check(pool.run(cases(LOADERS, ALL)), ALL)


@pytest.fixture(scope="module")
def planted() -> Iterator[dict[str, list[Result]]]:
    with Pool("tests.fuzz.planted", limit_s=2.0) as pool:
        found: dict[str, list[Result]] = {name: [] for name in pool.loaders}
        for result in pool.run([(name, number) for number in (AS_IT_IS, 1) for name in pool.loaders]):
            found[result.loader].append(result)
        yield found


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("traceback", "ValueError at planted.py:"),
        ("hang", "takes more than 2 seconds"),
        ("memory", "takes more memory than a loader may"),
        ("two-lines", "the message is not one line"),
        ("unprintable", "the message cannot be printed"),
        ("endless", "the message has 1,001 characters"),
        ("crash", "ends the process by SIGSEGV"),
        ("exits", "SystemExit at planted.py:"),
    ],
)
def test_each_fault_is_reported(planted: dict[str, list[Result]], name: str, said: str) -> None:
    valid, bad = sorted(planted[name], key=lambda result: result.number)
    assert valid.how == "clean"
    assert bad.how == "failed" and said in bad.said
    with pytest.raises(AssertionError, match=f"python -m tests.fuzz {name} 1"):
        check([valid, bad], 0)


def test_a_good_loader_is_not_reported(planted: dict[str, list[Result]]) -> None:
    assert [result.how for result in sorted(planted["good"], key=lambda result: result.number)] == [
        "clean",
        "refused",
    ]


def test_a_loader_that_refuses_valid_input_is_reported(planted: dict[str, list[Result]]) -> None:
    valid = min(planted["refuses-all"], key=lambda result: result.number)
    assert valid.how == "failed" and "refuses the valid input" in valid.said


def test_a_finding_can_be_repeated(tmp_path: Path) -> None:
    """The command of the report writes the same input once more."""
    command = [sys.executable, "-m", "tests.fuzz", "config", "7", str(tmp_path / "case")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert f"input: {tmp_path / 'case'}\nrefused: " in done.stdout or "clean: " in done.stdout
    config = next(loader for loader in LOADERS if loader.name == "config")
    (tmp_path / "seed").mkdir()
    config.make(tmp_path / "seed")
    make_case(config, tmp_path / "seed", 7, tmp_path / "again")
    assert contents(tmp_path / "again") == contents(tmp_path / "case")


def contents(folder: Path) -> dict[str, bytes | str]:
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else str(path.lstat().st_mode)
        for path in sorted(folder.rglob("*"))
    }


@pytest.mark.parametrize("kind", sorted(formats.MUTATORS))
def test_mutations_are_many_and_repeat(kind: str, tmp_path: Path) -> None:
    """A hundred numbers give mostly different inputs, and the same ones again."""
    loader, name = next(
        (loader, name) for loader in LOADERS for name, found in loader.files.items() if found == kind
    )
    loader.make(tmp_path)
    data = (tmp_path / name).read_bytes()

    def drawn() -> list[int]:
        return [hash(content(random.Random(number), kind, data)) for number in range(100)]

    first = drawn()
    assert first == drawn()
    assert len(set(first)) > 40
