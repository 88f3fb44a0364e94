"""What was encoded once is not encoded again; a crowd on a cold key costs one call. The encoders count themselves."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from isthmus.client import AsyncClient, Client, Item
from tests.harness.mesh import start_mesh
from tests.harness.pictures import jpeg, raw_like
from tests.harness.process import Process


def _items() -> list[Item]:
    pictures = [Item(id=f"i{n}", image=jpeg(n), pair_key=f"p{n}") for n in range(40)]
    texts = [Item(id=f"t{n}", text=f"picture number {n}", pair_key=f"p{n}", attributes={"n": n}) for n in range(40)]
    return pictures + texts


def _encoded(client: Client) -> int:
    return sum(encoder.encoded_items for encoder in client.status().encoders)


def _forward_calls(client: Client) -> int:
    return sum(encoder.forward_calls for encoder in client.status().encoders)


@pytest.mark.timeout(180)
@pytest.mark.parametrize("redis", [(), ("--redis", "unix:///nonexistent/redis.sock")], ids=["redis", "no-redis"])
def test_a_second_identical_index_run_encodes_nothing(tmp_path: Path, redis: tuple[str, ...]) -> None:
    """Indexing the same items again, also after a restart and without Redis, changes nothing and calls no encoder."""
    with start_mesh(tmp_path / "data", *redis) as mesh, Client(mesh.address) as client:
        client.create_collection("twice")
        first = client.upsert("twice", _items())
        assert (first.created, first.unchanged) == (80, 0)
        before = _encoded(client)
        again = client.upsert("twice", _items())
        assert (again.created, again.updated, again.unchanged) == (0, 0, 80)
        assert again.revision == first.revision
        assert _encoded(client) == before
        mesh.terminate()
    with start_mesh(tmp_path / "data", *redis) as mesh, Client(mesh.address) as client:
        before = _encoded(client)
        assert client.upsert("twice", _items()).unchanged == 80
        changed = [Item(id="i0", image=jpeg(0), pair_key="p0", attributes={"new": True})]
        assert client.upsert("twice", changed).updated == 1
        assert _encoded(client) == before


@pytest.fixture
def cold(mesh: Process) -> Iterator[Client]:
    """A client whose inputs nobody has sent before."""
    with Client(mesh.address) as client:
        yield client


async def test_two_hundred_callers_on_a_cold_key_cost_one_encoder_call(mesh: Process, cold: Client) -> None:
    """The same new text from 200 callers at once is encoded once, and all get the same bits."""
    text = f"never seen before {secrets.token_hex(8)}"
    items, calls = _encoded(cold), _forward_calls(cold)
    async with AsyncClient(mesh.address) as client:
        results = await asyncio.gather(*(client.embed(texts=[text]) for _ in range(200)))
    assert _encoded(cold) - items == 1
    assert _forward_calls(cold) - calls == 1
    assert {result.texts.vectors.tobytes() for result in results} == {results[0].texts.vectors.tobytes()}


@pytest.mark.timeout(180)
def test_a_thousand_pictures_of_equal_size_are_never_mixed_up(cold: Client) -> None:
    """1,000 different files of the same length: each keeps its own vector, fresh and cached, bit for bit.

    A cache keyed by anything but the content (length, height) would hand one picture's vector to another.
    """
    pictures = [raw_like(n) for n in range(1000)]
    assert len({len(picture) for picture in pictures}) == 1
    fresh = cold.embed(images=pictures, timeout_s=60)
    before = _encoded(cold)
    order = np.random.default_rng(0).permutation(1000)
    cached = cold.embed(images=[pictures[n] for n in order], timeout_s=60)
    assert _encoded(cold) == before
    assert not fresh.errors
    np.testing.assert_array_equal(cached.images.vectors, fresh.images.vectors[order])
    assert len(np.unique(fresh.images.vectors, axis=0)) == 1000


def test_fresh_and_cached_answers_are_equal_bit_for_bit(cold: Client) -> None:
    """An embedding is rounded once, at the encoder, so a cache changes nothing."""
    text = f"equal to the bit {secrets.token_hex(8)}"
    first, second = cold.embed(texts=[text]), cold.embed(texts=[text])
    assert (first.timings.cache_misses, second.timings.cache_hits) == (1, 1)
    assert first.texts.vectors.tobytes() == second.texts.vectors.tobytes()
    np.testing.assert_array_equal(first.texts.vectors, first.texts.vectors.astype(np.float16).astype(np.float32))
