"""What the pages name exists: modules of the engine, files that they link to, and the rooms of CONTRIBUTING.md."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.conftest import ROOT

PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
SOURCES = sorted(
    path
    for folder in ("src", "models", "verif", "bench", "hw", "templates")
    for path in (ROOT / folder).rglob("*")
    if path.suffix in {".py", ".sv", ".j2", ".cpp"}
)
HISTORY = "CHANGELOG.md"  # says what things were called when they came

_MODULE = re.compile(r"(?<![\w./-])etchproof((?:\.[A-Za-z_]\w*)+)")
_LINK = re.compile(r"\]\(([^)\s#]+)(?:#[^)\s]*)?\)")
_FILES = {"toml", "log"}  # etchproof.toml is a file


def missing_module(name: str) -> bool:
    """Whether ``.a.b.c`` leads to no module of the engine, nor to a name that one of them holds."""
    at = ROOT / "src" / "etchproof"
    for part in name.split(".")[1:]:
        if (at / part).is_dir():
            at /= part
        elif at.is_dir() and at.joinpath(f"{part}.py").is_file():
            at = at / f"{part}.py"
        else:
            file = at / "__init__.py" if at.is_dir() else at
            return re.search(rf"\b{part}\b", file.read_text(encoding="utf-8")) is None
    return False


@pytest.mark.parametrize(
    "path",
    [path for path in (*PAGES, *SOURCES) if path.name != HISTORY],
    ids=lambda path: path.relative_to(ROOT).as_posix(),
)
def test_named_modules_exist(path: Path) -> None:
    names = set(_MODULE.findall(path.read_text(encoding="utf-8")))
    names = {name for name in names if name.split(".")[1] not in _FILES}
    assert not [f"etchproof{name}" for name in sorted(names) if missing_module(name)]


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_linked_files_exist(page: Path) -> None:
    links = [link for link in _LINK.findall(page.read_text(encoding="utf-8")) if "://" not in link]
    assert not [link for link in links if not (page.parent / link).exists()]


def test_contributing_names_each_room() -> None:
    named = re.findall(
        r"^\| `(\w+)` \|", (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"), re.MULTILINE
    )
    rooms = [path.parent.name for path in (ROOT / "src" / "etchproof").glob("*/__init__.py")]
    assert sorted(named) == sorted(rooms)


def test_what_is_missing_is_seen() -> None:
    assert missing_module(".nowhere")
    assert missing_module(".errors.NoSuchError")
    assert not missing_module(".errors.InputError")
    assert _LINK.findall("[a](docs/none.md#here)") == ["docs/none.md"]
