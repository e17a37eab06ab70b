"""Progress of a run: the testbench appends events to ``progress.jsonl``, the parent reads them while it waits."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from etchproof.files.regular import open_regular

PROGRESS_FILE: Final = "progress.jsonl"


class ProgressWriter:
    """Appends events, one JSON object a line, each visible to the parent at once.

    Args:
        folder: the run's folder, ``etchproof.sim.child.run_dir()``.
    """

    def __init__(self, folder: Path) -> None:
        # Unbuffered: whole lines in one write, so what a crash leaves behind is complete.
        self._file = (folder / PROGRESS_FILE).open("ab", buffering=0)

    def write(self, *events: Mapping[str, Any]) -> None:
        """Appends events; the values are JSON-able."""
        lines = (json.dumps(event, separators=(",", ":")) + "\n" for event in events)
        self._file.write("".join(lines).encode())

    def close(self) -> None:
        """Closes the file."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class ProgressReader:
    """Reads what was appended since the last call.

    Args:
        folder: the run's folder.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / PROGRESS_FILE
        self._offset = 0

    def read(self) -> list[dict[str, Any]]:
        """The new complete events; a line that is no JSON object is shown as ``{"malformed": line}``."""
        if not self._path.exists():
            return []
        with open_regular(self._path) as file:
            file.seek(self._offset)
            new = file.read()
        complete = new[: new.rfind(b"\n") + 1]
        self._offset += len(complete)
        return [_event(line) for line in complete.splitlines() if line.strip()]


def _event(line: bytes) -> dict[str, Any]:
    try:
        event = json.loads(line)
    except (ValueError, RecursionError):
        event = None
    return event if isinstance(event, dict) else {"malformed": line.decode(errors="replace")}
