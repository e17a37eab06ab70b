"""``etchproof init``: a project that a team goes on from."""

from __future__ import annotations

from pathlib import Path

from etchproof.cli.console import make_console
from etchproof.errors import InputError, machine_trouble
from etchproof.project.declaration import PROJECT_FILE
from etchproof.project.scaffold import copy_reference, write_stubs


def run_init(*, folder: Path, rtl: Path | None, top: str | None) -> int:
    """Always 0."""
    console = make_console()
    if (rtl is None) != (top is None):
        raise InputError(
            "stands alone", key="--from" if top is None else "--top", hint="give --from and --top"
        )
    unknown: list[str] = []
    try:
        if rtl is None or top is None:
            names = copy_reference(folder)
        else:
            names, unknown = write_stubs(folder, rtl, top)
    except OSError as error:
        raise machine_trouble(error, folder) or InputError(
            f"cannot be written: {error.strerror}", source=folder, key="DIR"
        ) from error
    if rtl is None:
        next_steps = [f"cd {folder}", 'etchproof cosim models/tiny --prompt "Once upon a time" --tokens 16']
    else:
        next_steps = [f"cd {folder}", "etchproof check", "etchproof cosim MODEL --prompt-ids 1 --tokens 1"]
    for name in names:
        console.print(str(folder / name), soft_wrap=True)
    if unknown:
        where = folder / PROJECT_FILE
        console.print(f"to be filled in, in {where}: {', '.join(unknown)} (docs/host.md)", soft_wrap=True)
    console.print("next:", *next_steps, sep="\n  ", soft_wrap=True)
    return 0
