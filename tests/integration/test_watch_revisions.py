"""Searchers that hear the writer, over real sockets: how soon a commit is answered from, and what happens without."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np
import pytest

from isthmus.index.config import IndexConfig
from isthmus.index.service import build
from isthmus.runtime.rpc.codec import encode_vectors
from isthmus.runtime.rpc.server import RpcServer
from isthmus.v1 import common_pb2, index_search_service_pb2, index_writer_service_pb2
from isthmus.v1.index_search_service_pb2_grpc import IndexSearchServiceStub
from isthmus.v1.index_writer_service_pb2_grpc import IndexWriterServiceStub
from tests.harness.relay import running_relay
from tests.harness.s3_server import S3Server, running_s3
from tests.unit.index.support import DIMENSION, SPACE, request_id, vectors

if TYPE_CHECKING:
    from isthmus.v1.index_search_service_pb2_grpc import IndexSearchServiceAsyncStub
    from isthmus.v1.index_writer_service_pb2_grpc import IndexWriterServiceAsyncStub

_NEVER_S = 60.0
"""Of polling: long after each test."""
_WAIT_S = 10.0
_LONG = bool(int(os.environ.get("ISTHMUS_TEST_LONG") or 0))
_WRITES = 200 if _LONG else 30
_LAG_P95_S = 0.2 if _LONG else 1.0
"""The long version is for a machine that does nothing else: with ten busy processes a core p95 was 0.29 and 0.54 s."""


@pytest.fixture(scope="module")
def s3() -> Iterator[S3Server]:
    """A server whose environment this process has."""
    with running_s3() as server, pytest.MonkeyPatch.context() as patch:
        for name, value in server.env.items():
            patch.setenv(name, value)
        yield server


class _Mesh:
    """A writer and a searcher, each a server of its own in this process."""

    def __init__(self, folder: Path, store: str | Path) -> None:
        self.folder, self._store = folder, store
        self._stack = contextlib.AsyncExitStack()
        self._writing: RpcServer | None = None

    def socket(self, name: str) -> Path:
        """Return where a server listens."""
        return self.folder / f"{name}.sock"

    async def _start(self, role: str, **options: Any) -> RpcServer:
        settings = {"durability": "process", "poll_interval_s": _NEVER_S, "search_threads": 2, **options}
        config = IndexConfig.load(role=role, store_dir=self._store, **settings)
        server = RpcServer(build(config), f"unix:{self.socket(role)}")
        await server.start()
        await server.warm()
        return server

    async def start_writer(self, **options: Any) -> None:
        """Start the writer."""
        self._writing = await self._start("writer", **options)

    async def stop_writer(self) -> float:
        """Drain the writer; return how long that took."""
        assert self._writing is not None
        server, self._writing = self._writing, None
        started_s = time.monotonic()
        await server.drain()
        return time.monotonic() - started_s

    async def start_searcher(self, **options: Any) -> None:
        """Start the searcher; it hears the writer unless told otherwise."""
        server = await self._start("searcher", **{"writer_address": f"unix:{self.socket('writer')}", **options})
        self._stack.push_async_callback(server.drain)
        self.search: IndexSearchServiceAsyncStub = IndexSearchServiceStub(await self._channel("searcher"))

    async def connect(self) -> None:
        """Reach the writer."""
        self.writer: IndexWriterServiceAsyncStub = IndexWriterServiceStub(await self._channel("writer"))

    async def _channel(self, name: str) -> grpc.aio.Channel:
        options = (("grpc.max_reconnect_backoff_ms", 100), ("grpc.initial_reconnect_backoff_ms", 50))
        channel = grpc.aio.insecure_channel(f"unix:{self.socket(name)}", options=options)
        self._stack.push_async_callback(channel.close)
        return channel

    async def close(self) -> None:
        """Stop everything."""
        await self._stack.aclose()
        if self._writing is not None:
            await self.stop_writer()

    async def create(self, name: str = "things") -> None:
        """Make a collection."""
        await self.writer.CreateCollection(
            index_writer_service_pb2.IndexWriterServiceCreateCollectionRequest(
                name=name, image_space=SPACE, image_dimension=DIMENSION, request_id=request_id()
            ),
            wait_for_ready=True,
        )

    async def write(self, seed: int, name: str = "things") -> int:
        """Store an item; return the revision that was acknowledged."""
        answer = await self.writer.UpsertItems(
            index_writer_service_pb2.IndexWriterServiceUpsertItemsRequest(
                collection=name,
                items=[index_writer_service_pb2.StoredItem(id="one", modality=common_pb2.MODALITY_IMAGE)],
                image_embeddings=common_pb2.EmbeddingBatch(
                    space=SPACE, vectors=encode_vectors(vectors(seed, 1), half=True)
                ),
                request_id=request_id(),
            ),
            wait_for_ready=True,
        )
        return answer.revision

    async def revision(self, name: str = "things", min_revision: int = 0) -> int:
        """Return the revision that the searcher answers from."""
        answer = await self.search.GetItems(
            index_search_service_pb2.IndexSearchServiceGetItemsRequest(
                collection=name, ids=["one"], min_revision=min_revision
            ),
            wait_for_ready=True,
        )
        return answer.revision

    async def lag_s(self, acknowledged: int, name: str = "things") -> float:
        """Return how long it takes until the searcher answers from a revision, unasked."""
        started_s = time.monotonic()
        while await self.revision(name) < acknowledged:
            assert time.monotonic() - started_s < _WAIT_S, "the commit was not noticed"
        return time.monotonic() - started_s


@pytest.fixture
async def mesh(tmp_path: Path) -> AsyncIterator[_Mesh]:
    """A folder as store; nothing runs yet."""
    made = _Mesh(tmp_path, tmp_path / "store")
    yield made
    await made.close()


async def _lags(mesh: _Mesh) -> list[float]:
    await mesh.start_writer()
    await mesh.connect()
    await mesh.start_searcher()
    await mesh.create()
    return [await mesh.lag_s(await mesh.write(seed)) for seed in range(_WRITES)]


@pytest.mark.timeout(180)
async def test_a_commit_is_answered_from_soon_though_nobody_looks(mesh: _Mesh) -> None:
    """The store is looked at once a minute; the writer's word alone brings the news (p95 on a quiet machine)."""
    lags = sorted(await _lags(mesh))
    # Measured on two shared cores: median 55 ms, p95 66 ms of 300; 50 ms of it is the rest between two looks.
    assert np.percentile(lags, 95) <= _LAG_P95_S


@pytest.mark.timeout(180)
async def test_the_same_on_an_object_store(tmp_path: Path, s3: S3Server) -> None:
    """Whose polling alone is two seconds, and costs a request a look."""
    mesh = _Mesh(tmp_path, f"{s3.root}/heard")
    try:
        lags = sorted(await _lags(mesh))
    finally:
        await mesh.close()
    # Measured on two shared cores: median 72 ms, p95 120 ms of 100.
    assert np.percentile(lags, 95) <= _LAG_P95_S


async def test_a_new_collection_is_heard_of_and_one_that_is_made_anew_is_not_mistaken(mesh: _Mesh) -> None:
    """Nobody looks at the catalogs either."""
    await mesh.start_writer()
    await mesh.connect()
    await mesh.start_searcher()
    for seed in (1, 2):
        await mesh.create()
        revision = await mesh.write(seed)
        await mesh.lag_s(revision)
        assert await mesh.revision() == revision == 2
        await mesh.writer.DeleteCollection(
            index_writer_service_pb2.IndexWriterServiceDeleteCollectionRequest(name="things", request_id=request_id())
        )


async def test_a_writer_that_comes_back_is_heard_again(mesh: _Mesh) -> None:
    """Its first word is everything, so nothing that happened meanwhile is missed. Leaving waits for no stream."""
    await mesh.start_writer()
    await mesh.connect()
    await mesh.start_searcher()
    await mesh.create()
    for seed in range(3):
        await mesh.lag_s(await mesh.write(seed))
        assert await mesh.stop_writer() < 4.0  # a stream that did not end would hold it for 8 s
        await mesh.start_writer()
    await mesh.lag_s(await mesh.write(9))


async def test_streams_that_last_moments_lose_nothing(mesh: _Mesh) -> None:
    """As on Ray, where a stream must not keep a replica: the next one goes on where the last one ended."""
    await mesh.start_writer(announce_max_s=0.05)
    await mesh.connect()
    await mesh.start_searcher()
    await mesh.create()
    for seed in range(10):
        assert await mesh.lag_s(await mesh.write(seed)) < 2.0


async def test_polling_takes_over_while_the_stream_is_down(mesh: _Mesh) -> None:
    """A cut between searcher and writer delays news to the next look, and no longer than it lasts."""
    await mesh.start_writer()
    await mesh.connect()
    async with running_relay(mesh.socket("relay"), mesh.socket("writer")) as relay:
        await mesh.start_searcher(writer_address=f"unix:{mesh.socket('relay')}", poll_interval_s=0.5)
        await mesh.create()
        await mesh.lag_s(await mesh.write(0))
        relay.cut()
        for seed in (1, 2, 3):
            assert await mesh.lag_s(await mesh.write(seed)) < 3.0
        relay.mend()
        async with asyncio.timeout(_WAIT_S):
            await relay.connected.wait()
        await mesh.lag_s(await mesh.write(4))


async def test_a_read_that_waits_for_a_revision_is_answered_once_it_is_there(mesh: _Mesh) -> None:
    """`min_revision` of a commit that is still to come: the wait ends with it; one that never comes is refused."""
    await mesh.start_writer()
    await mesh.connect()
    await mesh.start_searcher(revision_wait_s=0.7)
    await mesh.create()
    next_revision = await mesh.write(0) + 1
    waiting = asyncio.ensure_future(mesh.revision(min_revision=next_revision))
    await asyncio.sleep(0)
    assert await mesh.write(1) == next_revision
    assert await waiting == next_revision
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await mesh.revision(min_revision=next_revision + 1)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
