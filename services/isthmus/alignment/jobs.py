"""Long work off the event loop: a bounded number at once, a bounded number waiting, the rest refused at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import TypeVar

from isthmus.runtime.base.errors import ResourceExhaustedError

__all__ = ["Jobs"]

T = TypeVar("T")

_RETRY_AFTER_S = 5.0


class Jobs:
    """A small pool for fits and evaluations.

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

    async def run(self, work: Callable[[], T]) -> T:
        """Return `work()`, done in a thread of the pool."""
        return await asyncio.get_running_loop().run_in_executor(self._executor, work)

    def close(self) -> None:
        """Let the threads go once their work is done."""
        self._executor.shutdown(wait=False, cancel_futures=True)
