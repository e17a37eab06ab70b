"""A run's folder is its own: new or empty, never shared, the result in it whole or absent."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from etchproof.errors import InputError
from etchproof.run.folder import RunFolder, claim, log


@pytest.fixture(autouse=True)
def _log_as_before() -> object:
    propagate, level = log.propagate, log.level
    yield
    log.propagate = propagate
    log.setLevel(level)


def claimed(out: Path | None) -> RunFolder | None:
    try:
        return claim(out, "a model/with spaces-w6")
    except InputError:
        return None


def test_new_or_empty_only(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for name in ("new/deep", "empty"):
        folder = claim(tmp_path / name, "")
        folder.close()
        assert folder.path == tmp_path / name
        with pytest.raises(InputError, match="is not an empty folder"):
            claim(tmp_path / name, "")


def test_one_of_many_gets_it(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        won = [folder for folder in pool.map(claimed, [tmp_path / "out"] * 8) if folder]
    assert len(won) == 1
    won[0].close()


def test_default_folders_differ(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with ThreadPoolExecutor(8) as pool:
        folders = [folder for folder in pool.map(claimed, [None] * 8) if folder]
    assert len({folder.path for folder in folders}) == 8
    for folder in folders:
        folder.close()
        assert folder.path.parent == tmp_path / "runs"
        assert "-a_model_with_spaces-w6" in folder.path.name


def test_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="file"):
        claim(tmp_path / "file" / "out", "")


def test_rerun_script_runs_and_takes_options(tmp_path: Path) -> None:
    folder = claim(tmp_path / "out", "")
    folder.write_rerun("echo 'a  b'")
    folder.close()
    script = folder.path / "rerun.sh"
    assert script.read_text(encoding="utf-8") == "#!/bin/sh\nexec echo 'a  b' \"$@\"\n"
    assert script.stat().st_mode & 0o100
