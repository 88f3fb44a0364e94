"""The shared cache behind the gateway, with a real redis-server: it makes things faster and nothing else."""

from __future__ import annotations

import asyncio
import time

import numpy as np
import pytest
from redis.asyncio import Redis

from isthmus.v1 import gateway_service_pb2
from tests.integration.gateway_calls import TEXT_SPACE
from tests.unit.gateway.conftest import redis as redis  # noqa: PLC0414 - a fixture is taken over by its name
from tests.unit.gateway.dummy_encoder import expected_row
from tests.unit.gateway.mesh import GatewayMesh, gateway_mesh, rows_of, text_input
from tests.unit.gateway.redis_process import RedisProcess

SECRET = "a secret of the tests"  # noqa: S105 - of no worth elsewhere


async def _settled(process: RedisProcess, *, keys: int) -> None:
    """Wait until Redis holds so many embeddings: writing goes on behind the answer."""
    deadline_s = time.monotonic() + 5
    async with Redis.from_url(process.url) as client:
        while await client.dbsize() < keys:
            assert time.monotonic() < deadline_s, "the embeddings never arrived"
            await asyncio.sleep(0.01)


async def _fill(process: RedisProcess, count: int) -> None:
    """Have `count` texts embedded and kept in Redis."""
    async with gateway_mesh(redis_url=process.url, cache_secret=SECRET) as mesh:
        for start in range(0, count, 200):
            await mesh.embed([text_input(f"text {number}") for number in range(start, min(start + 200, count))])
        await _settled(process, keys=count)


async def test_another_gateway_finds_what_one_has_embedded(redis: RedisProcess) -> None:
    """Two gateways with one secret share Redis: the second encodes nothing, and answers the same bytes."""
    inputs = [text_input(f"text {number}") for number in range(100)]
    async with gateway_mesh(redis_url=redis.url, cache_secret=SECRET) as first:
        fresh = await first.embed(inputs)
        await _settled(redis, keys=100)
    async with gateway_mesh(redis_url=redis.url, cache_secret=SECRET) as second:
        calls = second.text.calls
        cached = await second.embed(inputs)
        assert second.text.calls == calls
        assert (await second.status()).cache.backend_hits == 100
        local = await second.embed(inputs)
        assert (await second.status()).cache.local_hits == 100
    assert fresh.text_embeddings == cached.text_embeddings == local.text_embeddings


async def test_the_flag_of_a_cut_text_survives_redis(redis: RedisProcess) -> None:
    """A text that was cut when it was encoded is still flagged by a gateway that finds it in Redis."""
    long = text_input(" ".join(["word"] * 9))
    for _ in range(2):
        async with gateway_mesh(redis_url=redis.url, cache_secret=SECRET) as mesh:
            assert list((await mesh.embed([long])).truncated_indexes) == [0]
            await _settled(redis, keys=1)


async def test_a_thousand_damaged_values_are_a_thousand_misses(redis: RedisProcess) -> None:
    """Every value in Redis damaged in one of five ways: all are refused, removed, counted and encoded anew."""
    count = 1_000
    await _fill(redis, count)
    rng = np.random.default_rng(5)
    async with Redis.from_url(redis.url) as client:
        keys = [key async for key in client.scan_iter(count=1_000)]
        assert len(keys) == count
        values = [value for value in await client.mget(keys) if isinstance(value, bytes)]
        for number, (key, value) in enumerate(zip(keys, values, strict=True)):
            damaged = bytearray(value)
            kind = number % 5
            if kind == 0:
                damaged[int(rng.integers(len(damaged)))] ^= 1 << int(rng.integers(8))
            elif kind == 1:
                del damaged[int(rng.integers(len(damaged))) :]
            elif kind == 2:
                damaged += b"\0"
            elif kind == 3:
                damaged[28:] = np.full(16, np.nan, dtype="<f2").tobytes()
            else:
                damaged = bytearray(values[number - 1])  # sound, and another text's
            await client.set(key, bytes(damaged))
    async with gateway_mesh(redis_url=redis.url, cache_secret=SECRET) as mesh:
        before = mesh.text.encoded
        for start in range(0, count, 200):
            answer = await mesh.embed([text_input(f"text {number}") for number in range(start, start + 200)])
            assert rows_of(answer.text_embeddings) == [
                expected_row(TEXT_SPACE, f"text {number}".encode(), 16) for number in range(start, start + 200)
            ]
        cache = (await mesh.status()).cache
        assert mesh.text.encoded - before == count
        assert (cache.refused, cache.backend_hits, cache.misses) == (count, 0, count)


async def test_values_of_another_secret_are_not_believed(redis: RedisProcess) -> None:
    """Whoever shares Redis but not the secret can neither poison nor be believed."""
    await _fill(redis, 20)
    async with gateway_mesh(redis_url=redis.url, cache_secret=SECRET[::-1]) as mesh:
        await mesh.embed([text_input(f"text {number}") for number in range(20)])
        assert (await mesh.status()).cache.refused == 20


async def test_redis_killed_under_load_and_restarted_fails_no_request(redis: RedisProcess) -> None:
    """100 requests a second for six seconds, Redis killed after two and back after four: 0 failed, in use again."""
    async with gateway_mesh(redis_url=redis.url, cache_secret=SECRET, cache_local_max_bytes=0) as mesh:
        mesh.text.delay_s = 0.005
        failed: list[BaseException] = []
        waits: list[float] = []
        stop = asyncio.Event()

        async def _one(number: int) -> None:
            started_s = time.monotonic()
            try:
                (row,) = await mesh.embed_texts(f"text {number % 50}")
                assert row == expected_row(TEXT_SPACE, f"text {number % 50}".encode(), 16)
            except BaseException as error:  # noqa: BLE001 - whatever it is, it is counted
                failed.append(error)
            waits.append(time.monotonic() - started_s)

        async def _load() -> None:
            number = 0
            async with asyncio.TaskGroup() as group:
                while not stop.is_set():
                    group.create_task(_one(number))
                    number += 1
                    await asyncio.sleep(0.01)

        running = asyncio.create_task(_load())
        await asyncio.sleep(2)
        assert (await mesh.status()).cache.backend_hits > 0
        redis.kill()
        await asyncio.sleep(1)
        assert not (await mesh.status()).cache.serving
        await asyncio.sleep(1)
        redis.start()
        restarted_s = time.monotonic()
        hits = (await mesh.status()).cache.backend_hits
        while (await mesh.status()).cache.backend_hits == hits:
            assert time.monotonic() - restarted_s < 3, "Redis is not used again"  # measured: 0.5
            await asyncio.sleep(0.05)
        back_s = time.monotonic() - restarted_s
        await asyncio.sleep(0.5)
        stop.set()
        await running
    print(f"{len(waits)} requests, p99 {np.quantile(waits, 0.99):.3f} s, Redis in use again after {back_s:.2f} s")
    assert failed == []
    assert len(waits) > 300
    assert float(np.quantile(waits, 0.99)) < 0.5  # measured: 0.03; a busy machine has its say


async def test_a_frozen_redis_adds_little(redis: RedisProcess) -> None:
    """Redis stops answering without closing a connection: nothing fails, and the breaker opens within a second."""
    async with gateway_mesh(redis_url=redis.url, cache_secret=SECRET, cache_local_max_bytes=0) as mesh:
        await mesh.embed_texts("warm")
        redis.freeze()
        try:
            started_s = time.monotonic()
            number = 0
            while (await mesh.status()).cache.serving:
                await mesh.embed_texts(f"text {number}")
                number += 1
                assert time.monotonic() - started_s < 1, "the breaker did not open"  # measured: 0.3
            print(f"breaker open after {time.monotonic() - started_s:.3f} s and {number} requests")
        finally:
            redis.thaw()


async def test_a_search_says_that_it_did_without_the_cache(
    redis: RedisProcess, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """While Redis is away an answer names the part that was left out; when it is back, it does not."""
    async with gateway_mesh(redis_url=redis.url, data_dir=tmp_path_factory.mktemp("data")) as mesh:
        await mesh.stub.CreateCollection(
            gateway_service_pb2.CreateCollectionRequest(name="things", text_space=TEXT_SPACE, request_id="c"),
            timeout=10,
        )
        assert await _degraded(mesh) == []
        redis.kill()
        deadline_s = time.monotonic() + 3
        while await _degraded(mesh) == []:
            assert time.monotonic() < deadline_s, "nobody noticed"
        assert await _degraded(mesh) == ["cache"]
        redis.start()
        deadline_s = time.monotonic() + 3
        while await _degraded(mesh) == ["cache"]:
            assert time.monotonic() < deadline_s, "Redis is not used again"
            await asyncio.sleep(0.05)


async def _degraded(mesh: GatewayMesh) -> list[str]:
    message = gateway_service_pb2.SearchItemsRequest(collection="things", text=f"query {time.monotonic_ns()}")
    return list((await mesh.stub.SearchItems(message, timeout=10)).degraded)


async def test_without_redis_the_status_says_so() -> None:
    """No URL, no backend: the in-process cache works alone."""
    async with gateway_mesh() as mesh:
        await mesh.embed_texts("a")
        await mesh.embed_texts("a")
        cache = (await mesh.status()).cache
    assert (cache.backend, cache.serving, cache.local_hits) == ("none", False, 1)
