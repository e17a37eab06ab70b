"""Who is told how a run goes, and the clock that keeps what each stage took."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

from etchproof.checkpoint import Tokenizer
from etchproof.errors import shown_name


def tell(notes: Iterable[str]) -> None:
    """What a user should know and nothing depends on, a line each on stderr."""
    for note in notes:
        print(f"etchproof: note: {shown_name(note)}", file=sys.stderr)


class Watcher(Protocol):
    """Who is told how it goes."""

    def stage(self, name: str) -> AbstractContextManager[Callable[[str], None]]:
        """Around a stage; what is yielded takes one line on what came out."""
        ...

    def busy(self, line: str) -> None:
        """What the current stage is doing."""
        ...

    def text(
        self, tokenizer: Tokenizer | None, prompt: Sequence[int], label: str | None = None
    ) -> AbstractContextManager[Callable[[int], None]]:
        """Around a sequence; what is yielded takes each token that the chip generates.

        Args:
            label: what runs, where there is more than one thing.
        """
        ...


class Silent:
    """A ``Watcher`` for those who watch nothing.

    Args:
        busy: gets what a stage is doing; nobody by default.
    """

    def __init__(self, busy: Callable[[str], None] | None = None) -> None:
        self._busy = busy

    @contextmanager
    def stage(self, name: str) -> Iterator[Callable[[str], None]]:
        yield lambda line: None

    def busy(self, line: str) -> None:
        if self._busy is not None:
            self._busy(line)

    @contextmanager
    def text(
        self, tokenizer: Tokenizer | None, prompt: Sequence[int], label: str | None = None
    ) -> Iterator[Callable[[int], None]]:
        yield lambda token: None


class StageClock:
    """A ``Watcher`` that hands everything on and keeps the time of each stage.

    Attributes:
        stages_s: seconds of each stage that ended well, by name, in order.
    """

    def __init__(self, watcher: Watcher) -> None:
        self._watcher = watcher
        self.stages_s: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[Callable[[str], None]]:
        started = time.perf_counter()
        with self._watcher.stage(name) as say:
            yield say
        self.stages_s[name] = time.perf_counter() - started

    def busy(self, line: str) -> None:
        self._watcher.busy(line)

    def text(
        self, tokenizer: Tokenizer | None, prompt: Sequence[int], label: str | None = None
    ) -> AbstractContextManager[Callable[[int], None]]:
        return self._watcher.text(tokenizer, prompt, label)
