"""Work in the background that takes a bounded share of a CPU, and waits while callers are served."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Final

__all__ = ["Pace", "StoppedError"]

_BUSY_LOOK_S: Final = 0.01
_BUSY_MAX_S: Final = 1.0
"""How long one step waits for a quiet moment: on a searcher that never rests the work goes on, slowly."""


class StoppedError(Exception):
    """The process ends."""


class Pace:
    """Called between steps of a few milliseconds; rests after each so long that the work takes its share and no more.

    Args:
        share: Of one CPU, above 0, at most 1.
        is_quiet: Whether nobody waits for an answer; asked from the thread that works.
    """

    def __init__(self, share: float, *, is_quiet: Callable[[], bool] = lambda: True) -> None:
        self._factor = 1.0 / share - 1.0
        self._is_quiet = is_quiet
        self._stop = threading.Event()
        self._since_s = time.thread_time()

    def stop(self) -> None:
        """Let the work end at its next step; from any thread."""
        self._stop.set()

    def begin(self) -> None:
        """Begin to count the time of the calling thread."""
        self._since_s = time.thread_time()

    def step(self) -> None:
        """Rest.

        Raises:
            StoppedError: the work is to end.
        """
        if self._stop.wait((time.thread_time() - self._since_s) * self._factor):
            raise StoppedError
        give_up_s = time.monotonic() + _BUSY_MAX_S
        while not self._is_quiet() and time.monotonic() < give_up_s:
            if self._stop.wait(_BUSY_LOOK_S):
                raise StoppedError
        self._since_s = time.thread_time()
