"""The folder of a replay: copies of what it needs, its record, and a script that repeats it anywhere."""

from __future__ import annotations

import shlex
import shutil
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from etchproof.errors import InputError
from etchproof.files.atomic import write_atomically
from etchproof.files.json_record import read_json_record
from etchproof.files.regular import open_regular
from etchproof.files.yaml_file import SUFFIXES
from etchproof.project.declaration import Project
from etchproof.regress.spec import ItemSpec
from etchproof.replay.record import REPLAY_FILE, ReplayRecord
from etchproof.run.folder import RERUN_FILE
from etchproof.run.slots import DRAWN
from etchproof.tools import own_command

CHECKPOINT: Final = "checkpoint"
RECIPE_FILE: Final = "recipe.yaml"
SHAPE_FILE: Final = "shape.yaml"
PEFT: Final = "peft"
"""Copies of the adapters, by their number."""

VECTORS_FILE: Final = "vectors.npy"
"""What is fed to a chip that takes vectors."""

LAYER_FILE: Final = "layer.npy"
"""What entered the layer that is simulated alone."""

PROJECT_ENV: Final = "ETCHPROOF_PROJECT"
"""Names the project on another machine, to the script that repeats a replay."""

_MODEL_BYTES: Final = 1 << 30  # a larger model is named, and not copied
_VECTORS_BYTES: Final = 1 << 30

_SCRIPT: Final = """\
#!/bin/sh
# Repeats this replay; takes further options, such as --out. On another machine {variable} names the project, where it
# is not the reference chip of the installation.
here=$(cd "$(dirname "$0")" && pwd) || exit 2
project=${{{variable}:-{project}}}
if [ -f "$project/etchproof.toml" ]; then set -- "--project=$project" "$@"; fi
command -v etchproof >/dev/null || etchproof() {{ {command} "$@"; }}
etchproof replay "$here" "$@"
"""


def make_portable(
    folder: Path, record: ReplayRecord, project: Project, vectors: NDArray[np.int64] | None
) -> None:
    """Copy what a replay needs into its folder, and write record and script.

    Args:
        record: with paths from anywhere.
        vectors: what ``record.sequences`` number.
    """
    if vectors is not None:
        np.save(folder / (LAYER_FILE if record.alone else VECTORS_FILE), vectors)
    spec = _copied(record.spec, folder)
    write_atomically(folder / REPLAY_FILE, record.model_copy(update={"spec": spec}).model_dump_json(indent=1))
    script = folder / RERUN_FILE
    script.write_text(
        _SCRIPT.format(
            variable=PROJECT_ENV,
            project=shlex.quote(str(project.root)),
            command=shlex.join(own_command()),
        ),
        encoding="utf-8",
    )
    script.chmod(0o755)


def read_replay(folder: Path, project: Project) -> tuple[ReplayRecord, NDArray[np.int64] | None]:
    """A replay's record, its paths absolute, and the vectors that it feeds.

    Raises:
        InputError: the folder is no replay of the project, or was changed.
    """
    record = read_json_record(folder / REPLAY_FILE, ReplayRecord)
    if record.project != project.name:
        raise InputError(
            f"is of project {record.project!r}, not of {project.name!r}",
            source=folder,
            hint="name its project with --project",
        )
    if not record.sequences and record.scenario is None:
        raise InputError("feeds nothing", source=folder / REPLAY_FILE, key="sequences")
    spec, root = record.spec, folder.absolute()
    shape = spec.shape
    if shape is not None and shape.shape.endswith(SUFFIXES):
        shape = shape.model_copy(update={"shape": str(root / shape.shape)})
    update = {
        "model": None if spec.model is None else str(root / spec.model),
        "shape": shape,
        "recipe": str(root / spec.recipe) if spec.recipe.endswith(SUFFIXES) else spec.recipe,
        "adapters": tuple(name if name.startswith(DRAWN) else str(root / name) for name in spec.adapters),
        "vectors": None,
    }
    record = record.model_copy(update={"spec": spec.model_copy(update=update)})
    if record.alone:
        return record, _vectors(folder / LAYER_FILE, record)
    has_vectors = (folder / VECTORS_FILE).exists()
    return record, _vectors(folder / VECTORS_FILE, record) if has_vectors else None


def _vectors(file: Path, record: ReplayRecord) -> NDArray[np.int64]:
    """Vectors, (vectors, elements), as many as the record numbers at least."""
    with open_regular(file) as stream:
        if stream.seek(0, 2) > _VECTORS_BYTES:
            raise InputError(f"holds more than {_VECTORS_BYTES:,} bytes", source=file)
        stream.seek(0)
        try:
            found = np.load(stream, allow_pickle=False)
        except Exception as error:  # numpy has no one exception for a file that is none
            raise InputError(f"is no .npy file of numpy: {type(error).__name__}", source=file) from None
    if not isinstance(found, np.ndarray) or found.dtype != np.int64 or found.ndim != 2:
        raise InputError("holds no vectors of a replay", source=file)
    last = max((max(one.items) for one in record.sequences), default=0)
    if last >= len(found):
        raise InputError(f"holds {len(found)} vectors, vector {last} is fed", source=file)
    return found


def _copied(spec: ItemSpec, folder: Path) -> ItemSpec:
    """A spec whose files lie in a folder, by their names there."""
    update: dict[str, object] = {"vectors": None}
    if spec.model is not None:
        update["model"] = _copied_model(Path(spec.model), folder)
    if spec.recipe.endswith(SUFFIXES):
        shutil.copyfile(spec.recipe, folder / RECIPE_FILE)
        update["recipe"] = RECIPE_FILE
    if spec.shape is not None and spec.shape.shape.endswith(SUFFIXES):
        shutil.copyfile(spec.shape.shape, folder / SHAPE_FILE)
        update["shape"] = spec.shape.model_copy(update={"shape": SHAPE_FILE})
    names = list(spec.adapters)
    for index, name in enumerate(names):
        if not name.startswith(DRAWN):
            names[index] = f"{PEFT}/{index}/{Path(name).name}"
            shutil.copytree(name, folder / names[index])
    update["adapters"] = tuple(names)
    return spec.model_copy(update=update)


def _copied_model(model: Path, folder: Path) -> str:
    files = [path for path in model.rglob("*") if path.is_file()] if model.is_dir() else [model]
    if sum(path.stat().st_size for path in files) > _MODEL_BYTES:
        return str(model.absolute())
    if model.is_dir():
        shutil.copytree(model, folder / CHECKPOINT)
        return CHECKPOINT
    (folder / CHECKPOINT).mkdir()
    shutil.copyfile(model, folder / CHECKPOINT / model.name)
    return f"{CHECKPOINT}/{model.name}"
