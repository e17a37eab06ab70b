"""A folder in Hugging Face form: found, or refused in one line; and the hash of what it holds."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path
from typing import Final

from etchproof.errors import InputError, shown
from etchproof.files.regular import open_regular

_HUB_ID: Final = re.compile(r"[\w.-]+/[\w.-]+")
_HASH_BLOCK_BYTES: Final = 1 << 22


def existing_folder(path: str | Path, kind: str, config_file: str) -> Path:
    """The folder at ``path``; ``kind`` ("checkpoint") and ``config_file`` say what it was expected to be."""
    if not (str(path) and str(path).isprintable()):
        raise InputError(f"{kind} {shown(str(path))} is no usable path")
    folder = Path(path)
    try:
        if folder.is_dir():
            return folder
        found = folder.exists()
    except OSError as error:  # a name that is too long
        raise InputError(f"{kind} {shown(str(path))} is no usable path: {error.strerror}") from None
    if found:
        raise InputError(
            f"is a file, expected the {kind}'s folder, with {config_file}",
            source=folder,
            hint=f"pass {folder.parent}",
        )
    hint = None
    if _HUB_ID.fullmatch(str(path)):
        hint = "if this is a hub id: nothing is downloaded here, fetch the repository and pass its folder"
    raise InputError(f"{kind} folder not found", source=folder, hint=hint)


def content_hash(files: tuple[Path, ...]) -> str:
    """SHA-256 of the files in the order given, each as name, size and bytes: not of where they lie."""
    total = hashlib.sha256()
    for path in files:
        try:
            with open_regular(path) as stream:
                total.update(f"{path.name}\0{os.fstat(stream.fileno()).st_size}\0".encode())
                while block := stream.read(_HASH_BLOCK_BYTES):
                    total.update(block)
        except OSError as error:
            raise InputError(f"cannot be read: {error.strerror}", source=path) from None
    return total.hexdigest()
