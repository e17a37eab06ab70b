"""What of a checkpoint and its recipe stands beside the ROM images, so that their folder explains itself.

With the documentation and this folder, ``rom/`` and the token ids of a record, a third party recomputes every tap
(``tests/oracle/chip_by_the_book.py`` does): neither checkpoint nor project is needed.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Final

from etchproof.files.regular import open_regular
from etchproof.project.sources import file_sha256
from etchproof.quantize.recipe import resolve
from etchproof.run.design import Design, Loaded

MODEL_FOLDER: Final = "model"
RECIPE_FILE: Final = "recipe.json"
FILES_FILE: Final = "files.json"

_REQUIRED: Final = "config.json"
_WHERE_PRESENT: Final = (
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "chat_template.jinja",
)


def keep_model(design: Design, folder: Path) -> None:
    """Copy the checkpoint's small files into ``folder``, new, and write the recipe there as it was resolved.

    ``recipe.json`` has every field of the recipe, defaults filled in, and ``formats``: ``bits`` and ``group_size`` of
    each matrix by its Hugging Face module name, as the rules decided. Of a model of the project's own kind,
    ``files.json`` has the hash of each file instead.

    Of a GGUF file, what it says beside its weights is written as those files would say it.

    Raises:
        InputError: the checkpoint's files cannot be read any more.
        OSError: the folder cannot be written.
    """
    folder.mkdir(parents=True)
    if isinstance(design.source, Loaded):
        files = {path.name: file_sha256(path) for path in sorted(design.source.model.files)}
        (folder / FILES_FILE).write_text(json.dumps(files, indent=1) + "\n", encoding="utf-8")
        return
    if design.checkpoint.gguf is not None:
        for name, text in design.checkpoint.gguf.small_files().items():
            (folder / name).write_text(text, encoding="utf-8")
    else:
        _copy(design.checkpoint.path, folder)
    formats = {
        module: {"bits": form.bits, "group_size": form.group_size}
        for module, form in resolve(design.recipe, design.checkpoint.config).items()
    }
    content = {**design.recipe.model_dump(mode="json"), "formats": formats}
    text = json.dumps(content, indent=1, sort_keys=True, ensure_ascii=True)
    (folder / RECIPE_FILE).write_text(text + "\n", encoding="ascii")


def _copy(source: Path, folder: Path) -> None:
    """Copy a checkpoint folder's small files."""
    for name in (_REQUIRED, *_WHERE_PRESENT):
        if name != _REQUIRED and not (source / name).exists():
            continue
        with open_regular(source / name) as raw, (folder / name).open("xb") as copy:
            shutil.copyfileobj(raw, copy)
