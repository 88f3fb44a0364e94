"""The shared cache against a real redis-server: used when it is there, never missed when it is not."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from redis.asyncio import Redis

from isthmus.gateway.redis_backend import Entry, RedisBackend
from tests.unit.gateway.redis_process import RedisProcess


@contextlib.asynccontextmanager
async def _backend(url: str) -> AsyncIterator[RedisBackend]:
    backend = RedisBackend(url, op_timeout_s=0.05, connect_timeout_s=0.1)
    await backend.start()
    try:
        yield backend
    finally:
        await backend.close()


async def _until(condition: object, *, timeout_s: float = 5.0) -> float:
    """Wait until `condition()` holds; return how long that took."""
    started_s = time.monotonic()
    assert callable(condition)
    while not condition():
        assert time.monotonic() - started_s < timeout_s, "it never happened"
        await asyncio.sleep(0.01)
    return time.monotonic() - started_s


async def test_what_is_put_is_found(redis: RedisProcess) -> None:
    """Values come back in the order asked, None where there is nothing."""
    async with _backend(redis.url) as backend:
        backend.put([Entry(b"a", b"1", 60_000), Entry(b"b", b"2", 60_000)])
        await backend.flush()
        assert await backend.fetch([b"b", b"x", b"a"]) == [b"2", None, b"1"]


async def test_a_value_can_be_removed(redis: RedisProcess) -> None:
    """An entry without a value removes its key."""
    async with _backend(redis.url) as backend:
        backend.put([Entry(b"a", b"1", 60_000)])
        backend.put([Entry(b"a", None)])
        await backend.flush()
        assert await backend.fetch([b"a"]) == [None]


async def test_values_expire(redis: RedisProcess) -> None:
    """Redis keeps a value for its time to live, under a key with our prefix."""
    async with _backend(redis.url) as backend, Redis.from_url(redis.url) as client:
        backend.put([Entry(b"a", b"1", 60_000)])
        await backend.flush()
        assert 59_000 < await client.pttl(b"isthmus:e:a") <= 60_000


async def test_a_crowd_shares_round_trips(redis: RedisProcess) -> None:
    """200 look-ups at once take a few MGETs, not 200."""
    async with _backend(redis.url) as backend, Redis.from_url(redis.url) as client:
        backend.put([Entry(bytes([number]), b"v", 60_000) for number in range(200)])
        await backend.flush()
        found = await asyncio.gather(*(backend.fetch([bytes([number])]) for number in range(200)))
        assert found == [[b"v"]] * 200
        commands = await client.info("commandstats")
        assert commands["cmdstat_mget"]["calls"] <= 4  # measured: 2


async def test_a_long_look_up_comes_in_parts(redis: RedisProcess) -> None:
    """1,000 keys are asked for in parts and answered whole."""
    async with _backend(redis.url) as backend:
        keys = [number.to_bytes(2, "big") for number in range(1_000)]
        backend.put([Entry(key, key, 60_000) for key in keys])
        await backend.flush()
        assert await backend.fetch(keys) == keys


async def test_a_redis_that_is_not_there_is_not_waited_for(tmp_path: Path) -> None:
    """Started without Redis, look-ups answer None at once; Redis is found when it comes up."""
    process = RedisProcess(tmp_path)
    async with _backend(process.url) as backend:
        started_s = time.monotonic()
        assert await backend.fetch([b"a"]) is None
        assert time.monotonic() - started_s < 0.05
        process.start()
        try:
            assert await _until(lambda: backend.serving) < 3  # measured: 0.5
            assert await backend.fetch([b"a"]) == [None]
        finally:
            process.kill()


async def test_a_killed_redis_is_noticed_and_found_again(redis: RedisProcess) -> None:
    """After a kill look-ups answer None; within three seconds of the restart they answer again."""
    async with _backend(redis.url) as backend:
        redis.kill()
        for _ in range(10):
            assert await backend.fetch([b"a"]) is None
        assert not backend.serving
        redis.start()
        assert await _until(lambda: backend.serving) < 3  # measured: 0.5
        assert await backend.fetch([b"a"]) == [None]


async def test_a_frozen_redis_costs_the_timeout_and_then_nothing(redis: RedisProcess) -> None:
    """Each look-up waits 50 ms at most, and after five of them the breaker is open."""
    async with _backend(redis.url) as backend:
        assert await backend.fetch([b"a"]) == [None]
        redis.freeze()
        try:
            started_s = time.monotonic()
            waits = []
            while backend.serving:
                before_s = time.monotonic()
                assert await backend.fetch([b"a"]) is None
                waits.append(time.monotonic() - before_s)
                assert time.monotonic() - started_s < 2
            assert max(waits) < 0.1  # 0.05 is asked for; measured: 0.052
            assert time.monotonic() - started_s < 1  # measured: 0.27
        finally:
            redis.thaw()
        assert await _until(lambda: backend.serving) < 3
        assert await backend.fetch([b"a"]) == [None]


async def test_writes_to_a_redis_that_is_away_are_forgotten(redis: RedisProcess) -> None:
    """Nothing piles up while Redis is away."""
    async with _backend(redis.url) as backend:
        redis.kill()
        for _ in range(10):
            await backend.fetch([b"a"])
        for _ in range(1_000):
            backend.put([Entry(b"a", bytes(100_000), 60_000)])
        await asyncio.wait_for(backend.flush(), 1)


async def test_a_caller_who_goes_away_harms_nobody(redis: RedisProcess) -> None:
    """Cancelling one look-up leaves the connection usable for the others."""
    async with _backend(redis.url) as backend:
        backend.put([Entry(b"a", b"1", 60_000)])
        await backend.flush()
        for _ in range(20):
            leaving = asyncio.create_task(backend.fetch([b"a"]))
            staying = asyncio.create_task(backend.fetch([b"a"]))
            await asyncio.sleep(0)
            leaving.cancel()
            assert await staying == [b"1"]
            with contextlib.suppress(asyncio.CancelledError):
                await leaving
        assert backend.serving


def test_a_url_that_names_no_redis_is_refused_at_start() -> None:
    """A mistyped scheme is an error, not a cache that never works."""

    async def _make() -> None:
        RedisBackend("http://127.0.0.1", op_timeout_s=0.02, connect_timeout_s=0.05)

    with pytest.raises(ValueError, match="scheme"):
        asyncio.run(_make())
