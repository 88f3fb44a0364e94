"""Form batches across callers, keep one device busy, and let no item harm another.

    callers (event loop)        preparing threads           one forward thread
    submit_many ──► waiting ──► prepare one by one ──► ready ──► batch ──► forward ──► answers to the loop

Threads of its own, rather than tasks, take work from the queues: while the event loop is busy with other requests, the
next batch still forms and runs. The rules:

- *A batch leaves at once when nothing else is expected.* While a batch runs, the next one gathers. After a batch the
  thread waits, at most `max_wait_ms`, until as many items are there as were in flight before: callers that wait for
  their answers come back within a millisecond or two, and two half batches cost more than a whole one.
- *The queue is bounded.* A call that does not fit is refused whole, with a time after which to try again.
- *Nobody's time is spent on the dead.* Items whose caller has gone or whose deadline has passed are dropped when they
  are taken up, before and after they are prepared, and counted.
- *Poison is isolated.* A batch that fails is split in halves until only the guilty items fail.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

from isthmus.runtime.base.errors import (
    DeadlineExceededError,
    IsthmusError,
    ResourceExhaustedError,
    UnavailableError,
)
from isthmus.runtime.base.isolation import item_error_of, run_isolated

__all__ = ["BatchEvents", "BatchLimits", "MicroBatcher", "Outcome"]

ItemT = TypeVar("ItemT")
PreparedT = TypeVar("PreparedT")
ResultT = TypeVar("ResultT")

_PREPARED_BATCHES = 2  # prepared ahead of the forward pass: enough to keep it busy, bounded because pixels are large
_RETRY_BOUNDS_S = (0.05, 5.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchLimits:
    """Sizes and times of a batcher."""

    max_batch_count: int = 32
    """Items in one forward pass."""
    max_wait_ms: float = 4.0
    """Longest wait for items that are expected."""
    max_queue_count: int = 1_024
    """Items waiting, in preparation or prepared; a call that would exceed it is refused."""
    prepare_threads_count: int = 2
    """Threads that prepare items."""
    prepare_chunk_count: int = 1
    """Items a preparing thread takes at a time: more when preparing one is cheaper than waking a thread."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome(Generic[ResultT]):
    """What became of one item."""

    result: ResultT | None = None
    """What the forward pass returned for it; None when it failed."""
    error: IsthmusError | None = None
    """Why it failed; None when it did not."""
    queue_s: float = 0.0
    """Seconds it waited."""
    encode_s: float = 0.0
    """Seconds its preparation and its batch's forward pass took."""


class BatchEvents(Protocol):
    """Whoever counts what a batcher does. Called from the batcher's threads; must not block."""

    def forwarded(self, *, count: int, seconds: float) -> None:
        """A forward pass over `count` items has ended, well or badly."""

    def waited(self, *, seconds: float) -> None:
        """An item has waited so long before its forward pass."""

    def dropped(self, *, why: str) -> None:
        """An item was dropped before it cost anything: `expired` or `cancelled`."""

    def failed(self) -> None:
        """An item was found guilty of making a forward pass fail."""


@dataclass(slots=True)
class _Call(Generic[ResultT]):
    """One caller's items."""

    outcomes: list[Outcome[ResultT] | None]
    missing: int
    deadline_s: float | None
    loop: asyncio.AbstractEventLoop
    done: asyncio.Future[None]
    cancelled: bool = False


@dataclass(slots=True)
class _Entry(Generic[ItemT, PreparedT, ResultT]):
    """One item on its way."""

    call: _Call[ResultT]
    index: int
    item: ItemT | None
    submitted_s: float
    prepared: PreparedT | None = None
    prepare_s: float = 0.0


@dataclass(slots=True)
class _Queues(Generic[ItemT, PreparedT, ResultT]):
    """What the threads share, all under one lock."""

    waiting: deque[_Entry[ItemT, PreparedT, ResultT]] = field(default_factory=deque)
    preparing: int = 0
    ready: deque[_Entry[ItemT, PreparedT, ResultT]] = field(default_factory=deque)
    closing: bool = False

    @property
    def upstream(self) -> int:
        """Items that are not ready yet."""
        return len(self.waiting) + self.preparing


class MicroBatcher(Generic[ItemT, PreparedT, ResultT]):
    """Batches items of many callers for one forward function.

    Args:
        prepare: Makes an item ready for a batch, on the CPU. Called from several threads. What it raises, if an
            `IsthmusError`, becomes the item's error.
        forward: Maps a batch to as many results, in order. Called from one thread.
        limits: Sizes and times.
        events: Counts what happens.
        size_of: When given, the items of one call are taken up from small to large, so that those padded together are
            of like length.
    """

    def __init__(
        self,
        *,
        prepare: Callable[[ItemT], PreparedT],
        forward: Callable[[Sequence[PreparedT]], Sequence[ResultT]],
        limits: BatchLimits,
        events: BatchEvents,
        size_of: Callable[[ItemT], int] | None = None,
    ) -> None:
        self._prepare = prepare
        self._forward = forward
        self._limits = limits
        self._events = events
        self._size_of = size_of
        self._queues: _Queues[ItemT, PreparedT, ResultT] = _Queues()
        lock = threading.Lock()
        self._work = threading.Condition(lock)  # items wait to be prepared, or there is room to prepare more
        self._ready = threading.Condition(lock)  # items are prepared
        self._expected = 0  # items in flight when the last batch ended
        self._batch_ended_s = 0.0
        self._seconds_an_item = 0.01
        names = [f"isthmus-prepare-{n}" for n in range(limits.prepare_threads_count)]
        self._threads = [threading.Thread(target=self._prepare_loop, name=name, daemon=True) for name in names]
        self._threads.append(threading.Thread(target=self._forward_loop, name="isthmus-forward", daemon=True))
        for thread in self._threads:
            thread.start()

    async def submit_many(self, items: Sequence[ItemT], *, deadline_s: float | None = None) -> list[Outcome[ResultT]]:
        """Run items through the forward function, batched with those of other callers.

        Args:
            items: What `prepare` takes.
            deadline_s: On the clock of `time.monotonic`; items taken up later are dropped with DEADLINE_EXCEEDED.

        Returns:
            An outcome for each item, in order.

        Raises:
            ResourceExhaustedError: The queue is full; holds the time after which to try again.
            UnavailableError: The batcher is closing.
        """
        if not items:
            return []
        loop = asyncio.get_running_loop()
        call: _Call[ResultT] = _Call([None] * len(items), len(items), deadline_s, loop, loop.create_future())
        now = time.monotonic()
        entries = [_Entry[ItemT, PreparedT, ResultT](call, index, item, now) for index, item in enumerate(items)]
        if self._size_of is not None:
            sizes = [self._size_of(item) for item in items]
            entries.sort(key=lambda entry: sizes[entry.index])
        with self._work:
            self._admit(len(entries))
            self._queues.waiting.extend(entries)
            self._work.notify(len(entries))
        try:
            await call.done
        except asyncio.CancelledError:
            call.cancelled = True
            raise
        return [outcome for outcome in call.outcomes if outcome is not None]

    async def close(self) -> None:
        """Refuse new calls, finish those that are in, and end the threads."""
        with self._work:
            self._queues.closing = True
            self._work.notify_all()
            self._ready.notify_all()
        await asyncio.to_thread(self._join)

    def _join(self) -> None:
        for thread in self._threads:
            thread.join()

    def _admit(self, count: int) -> None:
        """Refuse a call that does not fit; the lock is held."""
        if self._queues.closing:
            msg = "the encoder is shutting down"
            raise UnavailableError(msg, reason="DRAINING")
        queued = self._queues.upstream + len(self._queues.ready)
        limit = self._limits.max_queue_count
        if queued + count > limit:
            least, most = _RETRY_BOUNDS_S
            msg = f"the encoder's queue holds {queued} items; with {count} more it would exceed {limit}"
            raise ResourceExhaustedError(
                msg,
                reason="QUEUE_FULL",
                metadata={"queued": str(queued), "count": str(count), "limit": str(limit)},
                retry_after_s=min(max(queued * self._seconds_an_item, least), most),
            )

    # ------------------------------------------------------------------ preparing threads

    def _prepare_loop(self) -> None:
        ahead = _PREPARED_BATCHES * self._limits.max_batch_count
        queues = self._queues
        while True:
            with self._work:
                while not queues.waiting or len(queues.ready) + queues.preparing >= ahead:
                    if queues.closing and not queues.waiting:
                        return
                    self._work.wait()
                count = min(len(queues.waiting), self._limits.prepare_chunk_count)
                entries = [queues.waiting.popleft() for _ in range(count)]
                queues.preparing += count
            ready = [entry for entry in self._living(entries) if self._prepare_one(entry)]
            with self._work:
                queues.preparing -= count
                queues.ready.extend(ready)
                self._ready.notify()

    def _prepare_one(self, entry: _Entry[ItemT, PreparedT, ResultT]) -> bool:
        """Prepare an item; answer it at once when it is bad."""
        started = time.monotonic()
        assert entry.item is not None
        try:
            entry.prepared = self._prepare(entry.item)
        except Exception as error:  # noqa: BLE001 - whatever a processor raises, it belongs to this item alone
            seconds = time.monotonic() - started
            waited = started - entry.submitted_s
            self._answer([(entry, Outcome(error=item_error_of(error), queue_s=waited, encode_s=seconds))])
            return False
        entry.item = None
        entry.prepare_s = time.monotonic() - started
        return True

    # ------------------------------------------------------------------ forward thread

    def _forward_loop(self) -> None:
        queues = self._queues
        while True:
            with self._ready:
                while not queues.ready:
                    if queues.closing and not queues.upstream:
                        return
                    self._ready.wait()
                self._gather()
                count = min(len(queues.ready), self._limits.max_batch_count)
                taken = [queues.ready.popleft() for _ in range(count)]
                self._work.notify_all()
            batch = self._living(taken)
            if batch:
                self._run_batch(batch)

    def _gather(self) -> None:
        """Wait for items that are expected; the lock is held."""
        wait_s = self._limits.max_wait_ms / 1000
        arriving_until, returning_until = time.monotonic() + wait_s, self._batch_ended_s + wait_s
        while not self._queues.closing:
            there, upstream = len(self._queues.ready), self._queues.upstream
            if there >= self._limits.max_batch_count:
                return
            now = time.monotonic()
            left = arriving_until - now if upstream else 0.0
            if there + upstream < self._expected:
                left = max(left, returning_until - now)
            if left <= 0:
                return
            self._ready.wait(left)

    def _run_batch(self, batch: list[_Entry[ItemT, PreparedT, ResultT]]) -> None:
        started = time.monotonic()
        waits = [started - entry.submitted_s - entry.prepare_s for entry in batch]
        for seconds in waits:
            self._events.waited(seconds=seconds)
        prepared = [entry.prepared for entry in batch if entry.prepared is not None]
        answers = run_isolated(self._forward, prepared, after_pass=self._events.forwarded)
        forward_s = time.monotonic() - started
        self._seconds_an_item += 0.2 * (forward_s / len(batch) - self._seconds_an_item)
        with self._ready:
            self._expected = len(batch) + len(self._queues.ready) + self._queues.upstream
        for answer in answers:
            if isinstance(answer, IsthmusError):
                self._events.failed()
        self._answer(
            [
                (entry, _outcome(answer, queue_s=wait, encode_s=entry.prepare_s + forward_s))
                for entry, answer, wait in zip(batch, answers, waits, strict=True)
            ]
        )
        self._batch_ended_s = time.monotonic()

    # ------------------------------------------------------------------ both

    def _living(self, entries: list[_Entry[ItemT, PreparedT, ResultT]]) -> list[_Entry[ItemT, PreparedT, ResultT]]:
        """Drop the items whose caller has gone or whose deadline has passed."""
        now = time.monotonic()
        living: list[_Entry[ItemT, PreparedT, ResultT]] = []
        expired: list[tuple[_Entry[ItemT, PreparedT, ResultT], Outcome[ResultT]]] = []
        for entry in entries:
            if entry.call.cancelled:
                self._events.dropped(why="cancelled")
            elif entry.call.deadline_s is not None and entry.call.deadline_s <= now:
                self._events.dropped(why="expired")
                msg = "the deadline passed while the item waited to be encoded"
                error = DeadlineExceededError(msg, reason="DEADLINE_EXCEEDED")
                expired.append((entry, Outcome(error=error, queue_s=now - entry.submitted_s)))
            else:
                living.append(entry)
        self._answer(expired)
        return living

    def _answer(self, outcomes: list[tuple[_Entry[ItemT, PreparedT, ResultT], Outcome[ResultT]]]) -> None:
        """Hand outcomes to their calls, and wake the callers whose last one this was."""
        complete: list[_Call[ResultT]] = []
        with self._ready:
            for entry, outcome in outcomes:
                call = entry.call
                call.outcomes[entry.index] = outcome
                call.missing -= 1
                if not call.missing:
                    complete.append(call)
        for loop in {call.loop for call in complete}:
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(_wake, [call for call in complete if call.loop is loop])


def _wake(calls: list[_Call[Any]]) -> None:
    """Resume callers; runs in their event loop."""
    for call in calls:
        if not call.done.done():
            call.done.set_result(None)


def _outcome(answer: Any, *, queue_s: float, encode_s: float) -> Outcome[Any]:
    """Tell a result from an error."""
    if isinstance(answer, IsthmusError):
        return Outcome(error=answer, queue_s=queue_s, encode_s=encode_s)
    return Outcome(result=answer, queue_s=queue_s, encode_s=encode_s)
