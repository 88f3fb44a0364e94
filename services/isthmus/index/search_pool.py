"""Threads for reads, and a bounded queue in front of them.

FAISS gets one OpenMP thread a search: measured on 2 busy cores, one query on 100,000 x 512 takes 10 ms with one thread
and 60 ms with two, which wait for one another at every barrier. A read that can be cut into pieces gives some of them
to threads that have nothing to do instead (`side_by_side`): whoever is free takes the next piece, and nobody waits for
a thread that is busy with something else.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final, TypeVar

import faiss

from isthmus.runtime.base.errors import DeadlineExceededError, ResourceExhaustedError

__all__ = ["SearchPool", "side_by_side"]

_RETRY_AFTER_S: Final = 0.05

T = TypeVar("T")

_here = threading.local()
"""Of a thread of a pool: its pool."""


def side_by_side(works: Sequence[Callable[[], T]]) -> list[T]:
    """Return what each of `works` returns, in order; in a search thread its pool's idle threads lend a hand.

    Raises:
        Exception: what one of them raised, once none of them runs any more.
    """
    pool: SearchPool | None = getattr(_here, "pool", None)
    if pool is None or len(works) < 2:  # noqa: PLR2004 - one work needs no help
        return [work() for work in works]
    return pool.share(works)


class SearchPool:
    """Runs blocking reads off the event loop.

    Args:
        threads: Reads that run at once.
        queue_count: Reads that may wait.
    """

    def __init__(self, *, threads: int, queue_count: int) -> None:
        self._threads = threads
        self._limit = threads + queue_count
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix="index-search", initializer=self._begin)
        self._admitted = 0
        self._counting = threading.Lock()

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
        self._enter()
        future = asyncio.get_running_loop().run_in_executor(self._executor, self._guarded, work, deadline_s)
        future.add_done_callback(self._leave)
        return await future

    def close(self) -> None:
        """Let the reads that run end."""
        self._executor.shutdown(cancel_futures=True)

    def share(self, works: Sequence[Callable[[], T]]) -> list[T]:
        """Return what each of `works` returns, in order. Called in a thread of this pool; as `side_by_side`."""
        results: dict[int, T] = {}
        waiting = iter(range(len(works)))
        taking = threading.Lock()

        def work_off() -> None:
            while True:
                with taking:
                    number = next(waiting, None)
                if number is None:
                    return
                results[number] = works[number]()

        helpers = self._helpers(work_off, min(self.idle_threads, len(works) - 1))
        try:
            work_off()
        finally:
            # A helper that has not begun has nothing left to do; one that has is at its last work.
            for helper in helpers:
                if not helper.cancel():
                    helper.result()
        return [results[number] for number in range(len(works))]

    def _helpers(self, work_off: Callable[[], None], count: int) -> list[Future[None]]:
        helpers: list[Future[None]] = []
        for _ in range(count):
            try:
                helper = self._executor.submit(work_off)
            except RuntimeError:  # the pool is closing: what runs ends without help
                break
            self._enter()
            helper.add_done_callback(self._leave)
            helpers.append(helper)
        return helpers

    def _begin(self) -> None:
        faiss.omp_set_num_threads(1)
        _here.pool = self

    def _enter(self) -> None:
        with self._counting:
            self._admitted += 1

    def _leave(self, _: object) -> None:
        with self._counting:
            self._admitted -= 1

    def _guarded(self, work: Callable[[], T], deadline_s: float | None) -> T:
        if deadline_s is not None and time.monotonic() > deadline_s:
            msg = "the deadline passed while the read waited"
            raise DeadlineExceededError(msg, reason="DEADLINE_EXCEEDED")
        return work()
