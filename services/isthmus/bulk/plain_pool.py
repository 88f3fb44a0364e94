"""Blocks staged by this process alone."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Sequence
from queue import Queue
from typing import Final

from isthmus.bulk.staging import BlockRecord
from isthmus.bulk.workers import IN_WORK_COUNT, BlockTask, Workshop

__all__ = ["PlainPool"]

_READY_COUNT: Final = 4
"""Staged blocks that may wait for whoever takes them."""


class PlainPool:
    """This process alone, which reads and encodes beside whoever takes the results."""

    def run(self, workshop: Workshop, tasks: Sequence[BlockTask]) -> Iterator[BlockRecord]:
        """Yield each block once it is staged; see `Pool`."""
        work = _Work(workshop, tasks)
        thread = threading.Thread(target=work.run, name="bulk-encode")
        thread.start()
        try:
            while (record := work.ready.get()) is not None:
                if isinstance(record, BaseException):
                    raise record
                yield record
                work.room.release()
        finally:
            work.stop()
            thread.join()


class _Work:
    """Stages blocks on an event loop in a thread.

    Attributes:
        ready: What is staged, then None, or what it failed with.
        room: How many more may be ready.
    """

    def __init__(self, workshop: Workshop, tasks: Sequence[BlockTask]) -> None:
        self._workshop = workshop
        self._tasks = iter(tasks)
        self._stopping = threading.Event()
        self.ready: Queue[BlockRecord | BaseException | None] = Queue()
        self.room = threading.Semaphore(_READY_COUNT)

    def run(self) -> None:
        """Stage every block, unless stopped."""
        try:
            asyncio.run(self._run())
        except ExceptionGroup as failures:
            self.ready.put(failures.exceptions[0])
        except BaseException as error:  # noqa: BLE001 - raised again where the results are taken
            self.ready.put(error)
        else:
            self.ready.put(None)

    def stop(self) -> None:
        """Begin no further block."""
        self._stopping.set()
        self.room.release(IN_WORK_COUNT)

    async def _run(self) -> None:
        await self._workshop.open()
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(IN_WORK_COUNT):
                    group.create_task(self._stage_all())
        finally:
            await self._workshop.close()

    async def _stage_all(self) -> None:
        for task in self._tasks:
            await asyncio.to_thread(self.room.acquire)
            if self._stopping.is_set():
                return
            self.ready.put(await self._workshop.stage(task))
