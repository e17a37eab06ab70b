"""Progress: whole lines, in order; a line that is no event is shown, whatever it holds."""

from __future__ import annotations

from pathlib import Path

import pytest

from etchproof.sim.progress import PROGRESS_FILE, ProgressReader, ProgressWriter


def test_events_arrive_once_and_whole(tmp_path: Path) -> None:
    reader = ProgressReader(tmp_path)
    assert reader.read() == []
    with ProgressWriter(tmp_path) as writer:
        writer.write({"token": 1}, {"text": "\ud800 é"})
        assert reader.read() == [{"token": 1}, {"text": "\ud800 é"}]
        assert reader.read() == []
    with (tmp_path / PROGRESS_FILE).open("ab") as file:
        file.write(b'{"half": ')
        file.flush()
        assert reader.read() == []
        file.write(b"1}\n")
    assert reader.read() == [{"half": 1}]


@pytest.mark.parametrize(
    "line", [b"{", b"[1]", b"null", b"\xff", b"[" * 100_000, b'{"a":' * 100_000, b"9" * 5000, b"\0"]
)
def test_what_is_no_event_is_shown(tmp_path: Path, line: bytes) -> None:
    (tmp_path / PROGRESS_FILE).write_bytes(line + b'\n{"good": 1}\n')
    assert ProgressReader(tmp_path).read() == [{"malformed": line.decode(errors="replace")}, {"good": 1}]
