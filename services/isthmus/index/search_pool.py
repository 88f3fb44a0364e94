"""Threads for reads, and a bounded queue in front of them.

FAISS gets one OpenMP thread a search: measured on 2 busy cores, one query on 100,000 x 512 takes 10 ms with one thread
and 60 ms with two, which wait for one another at every barrier. A batch is cut into parts instead, one a thread.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

import faiss

from isthmus.runtime.base.errors import DeadlineExceededError, ResourceExhaustedError

__all__ = ["SearchPool"]

_RETRY_AFTER_S: Final = 0.05

T = TypeVar("T")


class SearchPool:
    """Runs blocking reads off the event loop.

    Args:
        threads: Reads that run at once.
        queue_count: Reads that may wait.
    """

    def __init__(self, *, threads: int, queue_count: int) -> None:
        self._threads = threads
        self._limit = threads + queue_count
        self._executor = ThreadPoolExecutor(
            threads, thread_name_prefix="index-search", initializer=faiss.omp_set_num_threads, initargs=(1,)
        )
        self._admitted = 0

    @property
    def idle_threads(self) -> int:
        """Threads that nothing runs on or waits for."""
        return max(0, self._threads - self._admitted)

    async def run(self, work: Callable[[], T], *, deadline_s: float | None = None) -> T:
        """Return what `work` returns.

        Args:
            work: Run in a thread.
            deadline_s: On the clock of `time.monotonic`; work that has not begun by then is dropped.

        Raises:
            ResourceExhaustedError: OVERLOADED; too many wait already.
            DeadlineExceededError: DEADLINE_EXCEEDED; it was dropped.
        """
        if self._admitted >= self._limit:
            msg = f"{self._admitted} reads run or wait; the limit is {self._limit}"
            metadata = {"limit": str(self._limit)}
            raise ResourceExhaustedError(msg, reason="OVERLOADED", metadata=metadata, retry_after_s=_RETRY_AFTER_S)
        self._admitted += 1
        future = asyncio.get_running_loop().run_in_executor(self._executor, self._guarded, work, deadline_s)
        future.add_done_callback(self._leave)
        return await future

    def close(self) -> None:
        """Let the reads that run end."""
        self._executor.shutdown(cancel_futures=True)

    def _leave(self, _: object) -> None:
        self._admitted -= 1

    def _guarded(self, work: Callable[[], T], deadline_s: float | None) -> T:
        if deadline_s is not None and time.monotonic() > deadline_s:
            msg = "the deadline passed while the read waited"
            raise DeadlineExceededError(msg, reason="DEADLINE_EXCEEDED")
        return work()
