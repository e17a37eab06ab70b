"""What can be said on the command line. Each command only gathers options: what it does is imported when it runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from etchproof.cli import project_commands, run_commands
from etchproof.cli.command import APP, Action
from etchproof.errors import named, shown

__all__ = ["APP", "Action", "UsageError", "parse", "project_commands", "run_commands"]


class UsageError(Exception):
    """The words on the command line are not a command."""


def parse(arguments: Sequence[str]) -> Action:
    """The command that the words ask for; help and version are printed at once.

    Raises:
        UsageError: there is no such command or option, or a word is no text.
    """
    words = list(arguments) or ["--help"]
    for word in words:
        if (problem := _no_text(word)) is not None:
            raise UsageError(f"{shown(word)} {problem}")
    try:
        chosen: Any = APP(args=words, prog_name="etchproof", standalone_mode=False)
    except Exception as error:
        # typer carries its own copy of click from some version on, and so its exceptions have no stable home.
        describe = getattr(error, "format_message", None)
        if describe is None:
            raise
        raise UsageError(f"{named(' '.join(describe().split()))} (see etchproof --help)") from error
    return chosen if isinstance(chosen, Action) else Action(lambda: int(chosen or 0), False)


def _no_text(word: str) -> str | None:
    """Why no command could use a word, be it a path or a prompt: no record could hold it."""
    if "\0" in word:
        return "holds a NUL"
    try:
        word.encode()
    except UnicodeEncodeError:
        return "is not UTF-8"
    return None
