"""``etchproof.files.regular``: a regular file is read; whatever is none is refused at once, by name and kind."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from etchproof.errors import InputError
from etchproof.files import regular as files


def fifo(path: Path) -> Path:
    os.mkfifo(path)
    return path


def folder(path: Path) -> Path:
    path.mkdir()
    return path


def bound_socket(path: Path) -> Path:
    here = os.getcwd()
    os.chdir(path.parent)  # a socket's path is short
    try:
        with socket.socket(socket.AF_UNIX) as opened:
            opened.bind(path.name)
    finally:
        os.chdir(here)
    return path


def link_to_zero(path: Path) -> Path:
    path.symlink_to("/dev/zero")
    return path


NO_FILES: tuple[tuple[Callable[[Path], Path], str], ...] = (
    (fifo, "is a FIFO, expected a regular file"),
    (folder, "is a folder, expected a regular file"),
    (bound_socket, "is a socket, expected a regular file"),
    (link_to_zero, "is a device, expected a regular file"),
    (lambda path: Path("/dev/zero"), "is a device, expected a regular file"),
    (lambda path: path, "file not found"),
    (lambda path: path.parent / ("n" * 300), "cannot be read: File name too long"),
    (lambda path: path.parent / "a\0b", "is no usable path"),
    (lambda path: path.parent / "a\ud800b", "is no usable path"),
)


@pytest.mark.parametrize(
    "reader", [files.open_regular, files.check_regular, files.read_bytes, files.read_text]
)
@pytest.mark.parametrize(("make", "problem"), NO_FILES)
def test_what_is_no_file(
    tmp_path: Path, make: Callable[[Path], Path], problem: str, reader: Callable[[Path], object]
) -> None:
    with pytest.raises(InputError, match=problem) as caught:
        reader(make(tmp_path / "x"))
    assert str(caught.value).isprintable()


def test_a_file_and_a_link_to_one(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes("\u20ac".encode())
    (tmp_path / "y").symlink_to("x")
    assert files.read_bytes(tmp_path / "y") == "\u20ac".encode()
    assert files.read_text(str(tmp_path / "x")) == "\u20ac"
    assert files.exists(tmp_path / "y")
    assert not files.exists(tmp_path / "z")
    assert not files.exists(tmp_path / "x" / "z")


def test_the_limit_of_size(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"12345")
    assert files.read_bytes(tmp_path / "x", 5) == b"12345"
    with pytest.raises(InputError, match="x: holds more than 4 bytes"):
        files.read_bytes(tmp_path / "x", 4)


def test_text_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"a\xff")
    with pytest.raises(InputError, match="x: is not UTF-8 text at byte 1"):
        files.read_text(tmp_path / "x")
