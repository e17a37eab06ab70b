"""A folder is held by one process at a time, and the one that comes second is told by whom."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from etchproof.errors import InputError
from etchproof.files.lock import LOCK_FILES, hold

HOLDER = """
import sys, time
from pathlib import Path
from etchproof.files.lock import hold
with hold(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_it_is_made_and_left_as_it_was(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "folder"
    with hold(folder):
        assert {path.name for path in folder.iterdir()} <= LOCK_FILES
    assert not folder.exists()  # nothing came to lie in it
    with hold(folder):
        (folder / "result").touch()
    with hold(folder):
        pass
    assert {path.name for path in folder.iterdir()} - LOCK_FILES == {"result"}


def test_the_second_is_told_who_holds_it(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLDER, tmp_path], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stdout.readline()
        told = rf"--out: is in use by process {process.pid} since 20"
        with pytest.raises(InputError, match=told), hold(tmp_path):
            pass
        process.kill()
    with hold(tmp_path):  # whoever died holds nothing
        assert str(os.getpid()) in (tmp_path / ".lock.json").read_text()


def test_nothing_is_written_through_a_link(tmp_path: Path) -> None:
    """A folder of results may come from anybody."""
    victim, folder = tmp_path / "victim", tmp_path / "folder"
    victim.write_text("precious")
    folder.mkdir()
    (folder / ".lock.json").symlink_to(victim)
    with hold(folder):
        assert victim.read_text() == "precious"


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be used"), hold(tmp_path / "file" / "x"):
        pass
