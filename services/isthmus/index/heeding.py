"""Follow what the writer announces as soon as it does; while nothing is heard, `Following` looks by itself."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Awaitable, Callable
from typing import Final

from isthmus.index.follower import Follower
from isthmus.index.metrics import WRITER_HEARD
from isthmus.index.news import CollectionNews, News, NewsSource
from isthmus.index.roster import Roster
from isthmus.runtime.base.errors import IsthmusError
from isthmus.runtime.base.logging import fields

__all__ = ["Heeder"]

log = logging.getLogger("isthmus.index")

_FIRST_WITHIN_S: Final = 5.0
"""How long the first message of a stream may take."""
_SILENCES: Final = 3
"""Heartbeats that may be missed."""
_RECONNECT_MIN_S: Final = 0.1
_RECONNECT_MAX_S: Final = 2.0
_REST_S: Final = 0.05
"""Between two looks at one collection that changes all the time: each makes a segment, and takes a processor."""
_RETRY_S: Final = 0.01
_FRUITLESS_MAX_COUNT: Final = 5
"""Looks that find nothing of what was announced, before the next announcement or look unasked is waited for."""
_UNTOLD_LOOK_S: Final = 0.25
"""How often a read looks for a revision that nobody has announced."""


class Heeder:
    """Hears one writer. On the event loop.

    Args:
        source: Where it is heard.
        roster: The followers.
        follow: Starts bringing a follower up to date, or joins whoever does; returns the task.
        settle: Called once a follower has caught up.
        update_roster: Reads the catalogs again.
    """

    def __init__(
        self,
        source: NewsSource,
        *,
        roster: Roster,
        follow: Callable[[Follower], asyncio.Task[None]],
        settle: Callable[[Follower], None],
        update_roster: Callable[[], Awaitable[None]],
    ) -> None:
        self._source = source
        self._roster = roster
        self._follow = follow
        self._settle = settle
        self._update_roster = update_roster
        self._newest: dict[tuple[str, str], CollectionNews] = {}
        self._told = asyncio.Event()
        self._origin, self._sequence, self._catalogs = "", 0, -1
        self._holds_store = False
        self._heard_until_s = 0.0
        self._chasing: dict[Follower, asyncio.Task[None]] = {}
        self._reading: asyncio.Task[None] | None = None
        self._reading_again = False

    @property
    def is_live(self) -> bool:
        """True while the writer of the store is heard: whatever is committed will be announced."""
        return self._holds_store and asyncio.get_running_loop().time() < self._heard_until_s

    async def run(self) -> None:
        """Listen until cancelled; connect again, with growing rests, whenever the stream breaks."""
        rest_s = _RECONNECT_MIN_S
        try:
            while True:
                heard = await self._listen()
                rest_s = _RECONNECT_MIN_S if heard else min(2 * rest_s, _RECONNECT_MAX_S)
                # Searchers that have lost one writer do not come back to it all at once.
                await asyncio.sleep(0.0 if heard else rest_s * random.uniform(0.5, 1.0))  # noqa: S311
        finally:
            tasks = [*self._chasing.values(), *([self._reading] if self._reading is not None else [])]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def until_told(self, follower: Follower, revision: int, *, at_most_s: float) -> None:
        """Wait until it is worth looking for a revision that is not there yet.

        Args:
            follower: Of the collection.
            revision: That the caller waits for.
            at_most_s: Wait no longer.
        """
        if not self.is_live or self._announced(follower) >= revision:
            await asyncio.sleep(min(_RETRY_S, at_most_s))
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(min(_UNTOLD_LOOK_S, at_most_s)):
                while self._announced(follower) < revision:
                    await self._told.wait()

    async def _listen(self) -> bool:
        """Take what one stream brings; return whether it ended well, after at least one message."""
        loop = asyncio.get_running_loop()
        heard = False
        try:
            async with (
                asyncio.timeout(_FIRST_WITHIN_S) as patience,
                contextlib.aclosing(self._source.stream(origin=self._origin, after=self._sequence)) as stream,
            ):
                async for news in stream:
                    heard = True
                    if not self._heard_until_s:
                        log.info("the writer is heard", extra=fields(holds_store=news.holds_store))
                    self._heard_until_s = loop.time() + _SILENCES * news.next_within_s
                    patience.reschedule(self._heard_until_s)
                    self._take(news)
        except (IsthmusError, TimeoutError) as error:
            if self._heard_until_s:
                reason = error.reason if isinstance(error, IsthmusError) else "SILENT"
                log.warning("the writer is not heard any more; the store is looked at", extra=fields(reason=reason))
            self._heard_until_s = 0.0
            WRITER_HEARD.set(0)
            return False
        return heard

    def _take(self, news: News) -> None:
        self._holds_store = news.holds_store
        WRITER_HEARD.set(int(news.holds_store))
        if (news.origin, news.catalogs) != (self._origin, self._catalogs):
            self._read_roster()
        self._origin, self._sequence, self._catalogs = news.origin, news.sequence, news.catalogs
        for one in news.collections:
            self._newest[one.tenant, one.name] = one
            self._heed(one)
        if news.collections:
            self._told.set()
            self._told = asyncio.Event()

    def _heed(self, news: CollectionNews) -> None:
        follower = self._roster.get(news.tenant, news.name)
        if follower is None or follower.entry.uuid != news.uid:
            self._read_roster()
        elif _revision(follower) < news.revision and follower not in self._chasing:
            self._chasing[follower] = asyncio.create_task(self._chase(follower))

    async def _chase(self, follower: Follower) -> None:
        """Follow until what was announced is there; a look may have begun before the commit it is to find."""
        fruitless = 0
        try:
            while _revision(follower) < self._announced(follower) and fruitless < _FRUITLESS_MAX_COUNT:
                before = _revision(follower)
                await asyncio.wait({self._follow(follower)})
                if follower.failure is not None:
                    return  # tried again by whoever looks unasked, after a while
                fruitless = 0 if _revision(follower) > before else fruitless + 1
                await asyncio.sleep(_RETRY_S if fruitless else _REST_S)
            if follower.loaded and not follower.is_settled:
                self._settle(follower)
        finally:
            # Here, not in a callback, which would come a turn of the loop later: news in between would be lost.
            del self._chasing[follower]

    def _read_roster(self) -> None:
        if self._reading is not None and not self._reading.done():
            self._reading_again = True
            return
        self._reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        """Read the catalogs until no news came meanwhile."""
        while True:
            self._reading_again = False
            try:
                await self._update_roster()
            except IsthmusError as error:  # looked at again unasked
                log.warning("cannot read the catalogs", extra=fields(reason=error.reason))
                return
            if not self._reading_again:
                break
        known = {(follower.tenant, follower.entry.name) for follower in self._roster}
        self._newest = {key: one for key, one in self._newest.items() if key in known}
        for one in self._newest.values():
            follower = self._roster.get(one.tenant, one.name)
            if follower is not None and follower.entry.uuid == one.uid:
                self._heed(one)

    def _announced(self, follower: Follower) -> int:
        news = self._newest.get((follower.tenant, follower.entry.name))
        return news.revision if news is not None and news.uid == follower.entry.uuid else 0


def _revision(follower: Follower) -> int:
    return follower.snapshot().revision if follower.loaded else 0
