"""A writer's turn at its store: taken once for however many calls wait for it, and again only for a caller."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final

from isthmus.index.epoch import WriterEpoch
from isthmus.index.superseded import SupersededError
from isthmus.runtime.base import context
from isthmus.runtime.base.errors import DeadlineExceededError

__all__ = ["WriterTurn"]

_REST_MIN_S: Final = 1.0
_REST_MAX_S: Final = 30.0
"""How long a writer that lost its turn refuses at least, and at most, before a call takes the store back: while callers
move from one writer to another both are asked, and the other one must get some work done between two takings."""
_REST_FACTOR: Final = 2.0
"""In units of the last taking: the other one needs about one for its own."""


class WriterTurn:
    """Whose turn it is. On the event loop.

    Args:
        take: Takes the store and reads it.
        renewable: Whether a call takes the store back once another writer has it.
    """

    def __init__(self, take: Callable[[], Awaitable[WriterEpoch]], *, renewable: bool) -> None:
        self._take = take
        self._renewable = renewable
        self._held: WriterEpoch | None = None
        self._taking: asyncio.Task[WriterEpoch] | None = None
        self._lost_s: float | None = None
        self._rest_s = _REST_MIN_S

    async def epoch(self) -> WriterEpoch:
        """Return the epoch of this turn; without one the store is taken, once for all that ask meanwhile.

        A caller that gives up does not end the taking.

        Raises:
            SupersededError: another writer has taken the store, just now or for good.
            DeadlineExceededError: the caller's deadline passed first.
            UnavailableError: BACKEND_UNAVAILABLE; the store cannot be reached.
        """
        held = self._held
        if held is not None and not held.superseded:
            return held
        if self._taking is None:
            self._check_may_take()
            self._taking = asyncio.create_task(self._take_once())
            # Every caller may have given up by then.
            self._taking.add_done_callback(lambda task: task.cancelled() or task.exception())
        try:
            async with asyncio.timeout(context.current().remaining_s()):
                return await asyncio.shield(self._taking)
        except TimeoutError as error:
            msg = "the deadline passed while the writer took the store"
            raise DeadlineExceededError(msg, reason="DEADLINE_EXCEEDED") from error

    async def close(self) -> None:
        """Give up a taking that is under way."""
        if self._taking is not None:
            self._taking.cancel()
            await asyncio.gather(self._taking, return_exceptions=True)

    def _check_may_take(self) -> None:
        if not self._renewable:
            if self._held is not None:
                raise SupersededError
            return
        lost_s = self._lost_s if self._held is None else self._held.superseded_s
        if lost_s is not None and time.monotonic() < lost_s + self._rest_s:
            raise SupersededError

    async def _take_once(self) -> WriterEpoch:
        started_s = time.monotonic()
        self._held = None
        rest_min_s = _REST_MIN_S
        try:
            self._held = await self._take()
        except SupersededError:
            self._lost_s, rest_min_s = time.monotonic(), self._rest_s  # cut short, so it says little of a whole one
            raise
        else:
            return self._held
        finally:
            taken_s = time.monotonic() - started_s
            self._rest_s = min(_REST_MAX_S, max(rest_min_s, _REST_FACTOR * taken_s))
            self._taking = None
