"""What a writer tells its watchers: the newest revision of each collection, and never a backlog."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable
from functools import partial

import pytest

from isthmus.index.announcer import ANNOUNCED_MAX_COUNT, WATCHERS_MAX_COUNT, Announcer
from isthmus.index.news import CollectionNews, News
from isthmus.runtime.base.errors import ResourceExhaustedError


def _announcer(**options: float) -> Announcer:
    return Announcer(holds_store=lambda: True, **{"heartbeat_s": 0.01, **options})


def _news(name: str, revision: int, uid: str = "1") -> CollectionNews:
    return CollectionNews("default", name, uid, revision)


async def _next(stream: AsyncGenerator[News, None]) -> News:
    async with asyncio.timeout(5):
        return await anext(stream)


async def test_a_slow_watcher_hears_each_collection_once_at_its_newest_revision() -> None:
    """10,000 commits while nobody listens: three entries, the last changed last."""
    announcer = _announcer()
    async with contextlib.aclosing(announcer.watch(origin="", after=0)) as stream:
        assert (await _next(stream)).collections == ()
        for revision in range(1, 10_001):
            announcer.tell(_news(f"c{revision % 3}", revision))
        told = (await _next(stream)).collections
    assert [(one.name, one.revision) for one in told] == [("c2", 9_998), ("c0", 9_999), ("c1", 10_000)]


async def test_a_message_names_a_thousand_collections_at_most_and_the_next_one_the_rest() -> None:
    """The limit and one more: two messages, each collection once."""
    announcer = _announcer()
    for number in range(ANNOUNCED_MAX_COUNT + 1):
        announcer.tell(_news(f"c{number}", 1))
    async with contextlib.aclosing(announcer.watch(origin="", after=0)) as stream:
        first, second = await _next(stream), await _next(stream)
    assert [len(first.collections), len(second.collections)] == [ANNOUNCED_MAX_COUNT, 1]
    assert len({one.name for one in first.collections + second.collections}) == ANNOUNCED_MAX_COUNT + 1


async def test_who_comes_back_hears_only_what_came_meanwhile() -> None:
    """A position of this process counts; one of another process means nothing and everything is told."""
    announcer = _announcer()
    announcer.tell(_news("old", 1))
    async with contextlib.aclosing(announcer.watch(origin="", after=0)) as stream:
        known = await _next(stream)
    announcer.tell(_news("new", 1))
    for origin, names in ((known.origin, ["new"]), ("another", ["old", "new"])):
        async with contextlib.aclosing(announcer.watch(origin=origin, after=known.sequence)) as stream:
            assert [one.name for one in (await _next(stream)).collections] == names


async def test_silence_is_told_too() -> None:
    """A heartbeat without news comes within the time it promises, and says whether the writer holds the store."""
    holds = True
    announcer = Announcer(holds_store=lambda: holds, heartbeat_s=0.01)
    async with contextlib.aclosing(announcer.watch(origin="", after=0)) as stream:
        first, second = await _next(stream), await _next(stream)
        holds = False
        third = await _next(stream)
    assert (first.sequence, second.sequence, third.sequence) == (0, 0, 0)
    assert (second.holds_store, third.holds_store, second.next_within_s) == (True, False, 0.01)


async def test_whatever_comes_or_goes_changes_the_number_of_the_catalogs() -> None:
    """A commit does not; a new collection, one made anew under the old name, and one that is gone do."""
    announcer = _announcer()
    numbers = []
    async with contextlib.aclosing(announcer.watch(origin="", after=0)) as stream:
        changes: list[Callable[[], None]] = [
            partial(announcer.tell, _news("c", 1)),
            partial(announcer.tell, _news("c", 2)),
            partial(announcer.tell, _news("c", 1, uid="2")),
            partial(announcer.forget, "default", "c"),
            partial(announcer.forget, "default", "c"),
            announcer.forget_all,
        ]
        for change in changes:
            change()
            numbers.append((await _next(stream)).catalogs)
    assert numbers == [1, 1, 2, 3, 3, 4]


async def test_a_stream_ends_when_its_time_is_up_or_when_the_writer_leaves() -> None:
    """Nobody who stops a writer waits for its watchers."""
    bounded = [news async for news in _announcer(stream_max_s=0.03).watch(origin="", after=0)]
    assert bounded
    announcer = _announcer(heartbeat_s=60.0)
    async with contextlib.aclosing(announcer.watch(origin="", after=0)) as stream:
        await _next(stream)
        ending = asyncio.ensure_future(anext(stream, None))
        await asyncio.sleep(0)
        announcer.end()
        async with asyncio.timeout(5):
            assert await ending is None


async def test_watchers_are_counted() -> None:
    """As many as the limit listen, one more is refused, and one that goes makes room."""
    announcer = _announcer(heartbeat_s=60.0)
    async with contextlib.AsyncExitStack() as stack:
        streams = [
            await stack.enter_async_context(contextlib.aclosing(announcer.watch(origin="", after=0)))
            for _ in range(WATCHERS_MAX_COUNT)
        ]
        for stream in streams:
            await _next(stream)
        with pytest.raises(ResourceExhaustedError, match=str(WATCHERS_MAX_COUNT)):
            await anext(announcer.watch(origin="", after=0))
        await streams[0].aclose()
        async with contextlib.aclosing(announcer.watch(origin="", after=0)) as late:
            await _next(late)
