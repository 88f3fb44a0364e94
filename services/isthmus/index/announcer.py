"""Tells searchers what the writer has committed: the newest revision of each collection, never a queue of them.

There is one entry a collection, and the entries lie in the order of their last change. A watcher is a position in that
order: one that is slow finds, when it comes back, each collection that has changed once, at its newest revision. So
nothing grows, however slow a watcher is and however many there are.
"""

from __future__ import annotations

import asyncio
import itertools
import uuid
from collections.abc import AsyncGenerator, Callable
from typing import Final

from isthmus.index.news import CollectionNews, News
from isthmus.runtime.base.errors import ResourceExhaustedError

__all__ = ["ANNOUNCED_MAX_COUNT", "HEARTBEAT_S", "WATCHERS_MAX_COUNT", "Announcer"]

ANNOUNCED_MAX_COUNT: Final = 1_000
"""Collections in one message."""
WATCHERS_MAX_COUNT: Final = 200
"""Streams at once, a searcher process each; fewer than the 256 calls that Ray and one HTTP/2 connection allow."""
HEARTBEAT_S: Final = 1.0
"""A writer that has nothing to tell says so as often."""


class Announcer:
    """What is newest, and everybody who wants to know. On the event loop.

    Args:
        holds_store: Says whether this process is the writer of the store now.
        stream_max_s: How long one stream lasts at most; None for as long as its watcher likes.
        heartbeat_s: How long a stream stays silent.
    """

    def __init__(
        self,
        *,
        holds_store: Callable[[], bool],
        stream_max_s: float | None = None,
        heartbeat_s: float = HEARTBEAT_S,
    ) -> None:
        self._holds_store = holds_store
        self._stream_max_s = stream_max_s
        self._heartbeat_s = heartbeat_s
        self._origin = uuid.uuid4().hex
        self._sequence = 0
        self._catalogs = 0
        self._newest: dict[tuple[str, str], tuple[int, CollectionNews]] = {}  # the last changed last
        self._changed = asyncio.Event()
        self._watchers = 0
        self._ended = False

    def tell(self, news: CollectionNews) -> None:
        """Announce a commit; of two of one collection whoever has not heard the first hears the second only."""
        before = self._newest.pop((news.tenant, news.name), None)
        self._sequence += 1
        if before is None or before[1].uid != news.uid:
            self._catalogs += 1
        self._newest[news.tenant, news.name] = (self._sequence, news)
        self._wake()

    def forget(self, tenant: str, name: str) -> None:
        """Announce that a collection is gone."""
        if self._newest.pop((tenant, name), None) is not None:
            self._catalogs += 1
            self._sequence += 1
            self._wake()

    def touch(self) -> None:
        """Announce that a catalog holds news that are no collection's."""
        self._catalogs += 1
        self._sequence += 1
        self._wake()

    def forget_all(self) -> None:
        """Know nothing any more, as another writer may have changed everything."""
        self._newest.clear()
        self.touch()

    def end(self) -> None:
        """End all streams, so that nobody has to wait for them; those that come end at once."""
        self._ended = True
        self._wake()

    async def watch(self, *, origin: str, after: int) -> AsyncGenerator[News, None]:
        """Yield what is news to a watcher, and a heartbeat whenever there is none.

        Args:
            origin: Of the last message that the watcher took; empty for none.
            after: Its position; what comes after it is news. Another process's position is none.

        Raises:
            ResourceExhaustedError: OVERLOADED; there are too many watchers.
        """
        if self._watchers >= WATCHERS_MAX_COUNT:
            msg = f"{WATCHERS_MAX_COUNT} searchers watch already"
            raise ResourceExhaustedError(msg, reason="OVERLOADED", metadata={"limit": str(WATCHERS_MAX_COUNT)})
        loop = asyncio.get_running_loop()
        ends_s = None if self._stream_max_s is None else loop.time() + self._stream_max_s
        position = after if origin == self._origin else 0
        self._watchers += 1
        try:
            # The first message tells where the watcher is, whether there is news or not.
            while not self._ended and (ends_s is None or loop.time() < ends_s):
                changed = self._changed
                news = self._after(position)
                position = news.sequence
                yield news
                if position < self._sequence:
                    continue
                patience_s = self._heartbeat_s if ends_s is None else min(self._heartbeat_s, ends_s - loop.time())
                try:
                    async with asyncio.timeout(patience_s):
                        await changed.wait()
                except TimeoutError:
                    pass
        finally:
            self._watchers -= 1

    def _after(self, position: int) -> News:
        """Return the oldest news after a position."""
        fresh = list(itertools.takewhile(lambda entry: entry[0] > position, reversed(self._newest.values())))
        told = fresh[: -ANNOUNCED_MAX_COUNT - 1 : -1]
        return News(
            origin=self._origin,
            sequence=self._sequence if len(told) == len(fresh) else told[-1][0],
            catalogs=self._catalogs,
            holds_store=self._holds_store(),
            next_within_s=self._heartbeat_s,
            collections=tuple(news for _, news in told),
        )

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()
