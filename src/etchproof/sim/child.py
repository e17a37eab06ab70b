"""What the testbench, inside the simulator, knows of its run."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, Final

from etchproof.errors import InputError

RUN_ENV: Final = "ETCHPROOF_RUN"
"""Environment variable of the child: the run's folder."""

CONFIG_FILE: Final = "run_config.json"


def run_dir() -> Path:
    """The folder of this run.

    Raises:
        InputError: this process was not started by ``etchproof.sim.run.simulate``.
    """
    folder = os.environ.get(RUN_ENV)
    if not folder:
        raise InputError(
            "is not set", key=RUN_ENV, hint="the testbench runs in a simulation that etchproof starts"
        )
    return Path(folder)


def run_config() -> dict[str, Any]:
    """The configuration that ``simulate`` was given.

    Raises:
        InputError: no run, or its ``run_config.json`` is missing or broken.
    """
    file = run_dir() / CONFIG_FILE
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"cannot be read: {error}", source=file) from error
    if not isinstance(config, dict):
        raise InputError("is not an object", source=file)
    return config
