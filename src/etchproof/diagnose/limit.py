"""A time limit on code that may not end by itself."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final

LIMIT_S: Final = 10.0
"""Of a diagnosis that nobody asked for by name: after it, no more hypotheses are tried."""
GRACE: Final = 1.5
"""Times the limit, after which a hypothesis that does not end is broken off."""


class TimeUp(BaseException):
    """No ``Exception``: a project's code may catch those."""


@contextmanager
def at_most(seconds: float) -> Iterator[None]:
    """Raise ``TimeUp`` in this thread, the main one, when time is up."""

    def ring(number: int, frame: FrameType | None) -> None:
        raise TimeUp

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
