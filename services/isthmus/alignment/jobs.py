"""Long work off the event loop: a bounded number at once, a bounded number waiting, the rest refused at once."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import TypeVar

from isthmus.core.checkpoint import checked, checkpoint
from isthmus.runtime.base.errors import ResourceExhaustedError

__all__ = ["Jobs", "StopSignal"]

T = TypeVar("T")

_RETRY_AFTER_S = 5.0


class _StoppedError(Exception):
    """Nobody waits for this work any more."""


class StopSignal:
    """Tells work in a thread that its caller has gone."""

    def __init__(self) -> None:
        self._stopped = threading.Event()

    def set(self) -> None:
        """Ask the work to stop."""
        self._stopped.set()

    def check(self) -> None:
        """Do nothing while somebody waits for the work; else end it, by an exception that nobody will see."""
        if self._stopped.is_set():
            raise _StoppedError


class Jobs:
    """A small pool for fits, evaluations and measurements.

    Args:
        threads: Jobs that run at once.
        waiting: Jobs that may wait for their turn.
    """

    def __init__(self, *, threads: int, waiting: int) -> None:
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix="alignment-job")
        self._turns = asyncio.Semaphore(threads)
        self._limit = threads + waiting
        self._admitted = 0

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait for a turn; hold it while a collection is read and worked on.

        Raises:
            ResourceExhaustedError: OVERLOADED, when too many wait already.
        """
        if self._admitted >= self._limit:
            msg = f"fits and evaluations: {self._limit} are running or waiting, which is the limit"
            raise ResourceExhaustedError(
                msg, reason="OVERLOADED", metadata={"limit": str(self._limit)}, retry_after_s=_RETRY_AFTER_S
            )
        self._admitted += 1
        try:
            async with self._turns:
                yield
        finally:
            self._admitted -= 1

    async def run(self, work: Callable[[StopSignal], T]) -> T:
        """Return what `work` returns, done in a thread of the pool; when the caller goes, the work is told to stop.

        It finds that out at the next checkpoint of the numerics it runs.
        """
        stop = StopSignal()

        def watched() -> T:
            with checked(stop.check):
                checkpoint()  # it may have waited for a thread for as long as its caller did for it
                return work(stop)

        try:
            return await asyncio.get_running_loop().run_in_executor(self._executor, watched)
        finally:
            stop.set()

    def close(self) -> None:
        """Let the threads go once their work is done."""
        self._executor.shutdown(wait=False, cancel_futures=True)
