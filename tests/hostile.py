"""A folder as a stranger might hand it over: full of Python modules that nobody should import."""

from __future__ import annotations

import sys
from importlib.metadata import packages_distributions
from pathlib import Path

_OWN = (
    "models",
    "verif",
    "sitecustomize",
    "usercustomize",
    "conftest",
    "pytest_plugins",
    "setup",
    "__init__",
)


def fill(folder: Path, marks: Path) -> None:
    """Modules by every name that this Python could ask for; each leaves a mark when it is imported."""
    hostile = f"import os\nopen(os.path.join({str(marks)!r}, __name__), 'w').close()\n"
    names = {*sys.stdlib_module_names, *packages_distributions(), "etchproof", *_OWN}
    for name in sorted(name for name in names if name.isidentifier()):
        (folder / f"{name}.py").write_text(hostile)
