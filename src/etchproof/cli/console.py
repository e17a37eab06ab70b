"""What a person sees: stages with their times, the chip's text as it comes. Plain text when it is no terminal."""

from __future__ import annotations

import os
import sys
import time
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, NoReturn

from rich.console import Console
from rich.text import Text

from etchproof.errors import InputError

if TYPE_CHECKING:
    from etchproof.checkpoint import Tokenizer

PLAIN_WIDTH: Final = 100
_BROKEN_PIPE: Final = 128 + 13  # as a program that SIGPIPE ends
_BIDI: Final = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


class _Console(Console):
    def on_broken_pipe(self) -> NoReturn:
        """rich's own exit status, 1, would read as a verdict."""
        self.quiet = True
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(_BROKEN_PIPE)


def make_console() -> Console:
    """The console on stdout: as wide as the terminal, 100 columns where there is none."""
    console = _Console(highlight=False, markup=False, emoji=False)
    if not console.is_terminal:
        console.width = PLAIN_WIDTH
    return console


def visible(text: str) -> str:
    """Text that cannot steer a terminal: control characters but line feed and tab are shown escaped."""
    return "".join(
        character
        if character in "\n\t" or (unicodedata.category(character) != "Cc" and character not in _BIDI)
        else ascii(character)[1:-1]
        for character in text
    )


class Progress:
    """Shows how a run goes; an ``etchproof.run.cosim.Watcher``."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._status = console.status("") if console.is_terminal else None
        self._name = ""
        self._between = "\n"

    @contextmanager
    def stage(self, name: str) -> Iterator[Callable[[str], None]]:
        """A line with the time when the stage ends well."""
        outcome = ""

        def say(line: str) -> None:
            nonlocal outcome
            outcome = line

        self._name = name
        started = time.perf_counter()
        if self._status:
            self._status.update(Text(name))
            self._status.start()
        try:
            yield say
        finally:
            if self._status:
                self._status.stop()
        took = time.perf_counter() - started
        line = (
            Text(f"{name:<9}", style="bold")
            .append(f"{took:8.2f} s  ", style="dim")
            .append(outcome, style="not bold")
        )
        self._console.print(line, soft_wrap=True)

    def busy(self, line: str) -> None:
        """Beside the spinner; nothing where there is no terminal."""
        if self._status:
            self._status.update(Text(f"{self._name}: {line}"))

    @contextmanager
    def text(
        self, tokenizer: Tokenizer | None, prompt: Sequence[int], label: str | None = None
    ) -> Iterator[Callable[[int], None]]:
        """What runs, if there is a choice; the prompt, then the text that continues it; ids without a tokenizer."""
        if self._status:
            self._status.stop()
        write = self._write
        stream = tokenizer.stream(after=prompt) if tokenizer else None
        write(self._between, "")
        self._between = ""  # one empty line between texts
        if label is not None:
            write(f"[{label}] ", "cyan")
        write(tokenizer.decode(prompt) if tokenizer else " ".join(map(str, prompt)), "dim")

        def push(token: int) -> None:
            if stream is None:
                write(f" {token}", "bold")
                return
            try:
                write(stream.push(token), "bold")
            except InputError:  # a broken chip may answer anything
                write(f"<{token}>", "bold red")

        try:
            yield push
            if stream is not None:
                write(stream.finish(), "bold")
        finally:
            write("\n\n", "")

    def _write(self, text: str, style: str) -> None:
        if text:
            self._console.print(Text(visible(text), style=style), end="", soft_wrap=True)
