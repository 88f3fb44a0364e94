"""`EraseItems` through the gateway: store, shared cache and searcher forget; what is not covered is told."""

from __future__ import annotations

import time
from pathlib import Path

from redis.asyncio import Redis

from isthmus.client import AsyncClient, Item
from isthmus.core.modality import Modality
from tests.harness.steady_load import until
from tests.unit.gateway.conftest import redis as redis  # noqa: PLC0414 - a fixture is taken over by its name
from tests.unit.gateway.dummy_encoder import DummyEncoder
from tests.unit.gateway.mesh import gateway_mesh
from tests.unit.gateway.redis_process import RedisProcess

SECRET = "a secret of the tests"  # noqa: S105 - of no worth elsewhere
WORD = "a-word-that-nobody-else-has"


def _files_with(folder: Path, pattern: bytes) -> int:
    return sum(pattern in file.read_bytes() for file in folder.rglob("*") if file.is_file())


async def _settled(process: RedisProcess, *, keys: int) -> None:
    """Wait until Redis holds so many embeddings: writing goes on behind the answer."""
    async with Redis.from_url(process.url) as client:

        async def there() -> bool:
            return bool(await client.dbsize() == keys)

        await until(there, timeout_s=5)


async def test_an_item_is_erased_everywhere(tmp_path: Path, redis: RedisProcess) -> None:
    """Both contents that it had leave Redis, its attribute leaves the disk, a search does not find it, others stay."""
    image, text = (DummyEncoder(modality, space="dual@0123456789abcdef") for modality in Modality)
    settings = {"data_dir": tmp_path, "redis_url": redis.url, "cache_secret": SECRET}
    async with (
        gateway_mesh(image=image, text=text, **settings) as mesh,  # type: ignore[arg-type]
        AsyncClient(mesh.gateway.address) as client,
    ):
        await client.create_collection("things")
        await client.upsert("things", [Item(id=f"i{n}", text=f"text {n}") for n in range(3)])
        for version in ("first", "second"):
            await client.upsert("things", [Item(id="gone", text=f"{version} words", attributes={"word": WORD})])
        await _settled(redis, keys=5)
        assert _files_with(tmp_path, WORD.encode())
        before_s = time.time()
        erased = await client.erase("things", ["gone", "never"])
        await _settled(redis, keys=3)
        assert (erased.deleted, erased.gaps) == (1, ("backups",))
        assert before_s <= erased.time.timestamp() <= time.time()
        assert _files_with(tmp_path, WORD.encode()) == 0
        encoded = mesh.text.calls
        found = await client.search("things", text="second words", top_k=10)
        assert mesh.text.calls == encoded + 1  # not from the memory of the gateway, either
        assert {neighbor.id for neighbor in found.neighbors} == {"i0", "i1", "i2"}


async def test_a_dead_cache_is_told_of(tmp_path: Path, redis: RedisProcess) -> None:
    """The store is clear all the same; what Redis holds expires."""
    settings = {"data_dir": tmp_path, "redis_url": redis.url, "cache_secret": SECRET}
    image, text = (DummyEncoder(modality, space="dual@0123456789abcdef") for modality in Modality)
    async with (
        gateway_mesh(image=image, text=text, **settings) as mesh,  # type: ignore[arg-type]
        AsyncClient(mesh.gateway.address) as client,
    ):
        await client.create_collection("things")
        await client.upsert("things", [Item(id="gone", text="words", attributes={"word": WORD})])
        redis.kill()
        erased = await client.erase("things", ["gone"])
        assert erased.gaps == ("backups", "shared_cache")
        assert _files_with(tmp_path, WORD.encode()) == 0
