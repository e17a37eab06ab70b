"""What the templates render, byte for byte: a changed template shows as changed text, to be read and renewed."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.render.designs import DESIGNS, rendered_files

SNAPSHOTS = Path(__file__).parent / "snapshots"
TABLES = "ep_tables_pkg.sv"  # the same for every design: kept once


@pytest.mark.parametrize("name", DESIGNS)
def test_rendered_files_are_as_kept(name: str, tmp_path: Path, renew_snapshots: bool) -> None:
    folder = SNAPSHOTS / name
    files = rendered_files(DESIGNS[name], tmp_path / "out")
    tables = files.pop(TABLES)
    if renew_snapshots:
        folder.mkdir(parents=True, exist_ok=True)
        for old in folder.iterdir():
            old.unlink()
        for file, content in files.items():
            (folder / file).write_bytes(content)
        (SNAPSHOTS / TABLES).write_bytes(tables)
    hint = "read the difference, then pytest tests/render --renew-snapshots"
    kept = {path.name: path.read_bytes() for path in sorted(folder.iterdir())}
    assert sorted(files) == sorted(kept), hint
    for file, content in {**files, TABLES: tables}.items():
        expected = kept[file] if file != TABLES else (SNAPSHOTS / TABLES).read_bytes()
        assert content.decode() == expected.decode(), f"{file}: {hint}"


def test_snapshots_cover_every_design() -> None:
    assert {path.name for path in SNAPSHOTS.iterdir()} == {*DESIGNS, TABLES}
