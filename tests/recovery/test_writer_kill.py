"""kill -9 of the index writer while clients write: what was acknowledged is there, once, bit for bit."""

from __future__ import annotations

import asyncio
import os
import random
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import numpy as np
import pytest
from numpy.typing import NDArray

from isthmus.runtime.rpc.codec import encode_vectors
from isthmus.v1 import common_pb2
from isthmus.v1.index_writer_service_pb2 import (
    IndexWriterServiceCreateCollectionRequest,
    IndexWriterServiceDeleteItemsRequest,
    IndexWriterServiceUpsertItemsRequest,
    StoredItem,
)
from isthmus.v1.index_writer_service_pb2_grpc import IndexWriterServiceStub
from tests.harness.process import Process
from tests.unit.index.support import DIMENSION, SPACE, TENANT, running_searcher, vectors

if TYPE_CHECKING:
    from isthmus.v1.index_writer_service_pb2_grpc import IndexWriterServiceAsyncStub

_KILLS = 30 if os.environ.get("ISTHMUS_TEST_LONG") else 3
_SEED = int(os.environ.get("ISTHMUS_TEST_SEED", "0")) or time.time_ns() % 1_000_000
_CLIENTS = 4
_POOL = vectors(0, 5_000)

Operation = IndexWriterServiceUpsertItemsRequest | IndexWriterServiceDeleteItemsRequest


@dataclass
class Client:
    """One writer of a range of ids of its own, one request after the other.

    A request without an answer may have been applied or not; it is repeated, with its request id, before anything else.
    """

    number: int
    random: random.Random
    items: dict[str, NDArray[np.float32]] = field(default_factory=dict)
    """What was acknowledged and not deleted."""
    requests: int = 0
    answered: int = 0
    repeated: int = 0
    open: Operation | None = None
    last_revision: int = 0

    def _next(self) -> Operation:
        self.requests += 1
        request_id = f"{self.number}-{self.requests}"
        if self.items and self.random.random() < 0.25:
            ids = self.random.sample(sorted(self.items), min(3, len(self.items)))
            return IndexWriterServiceDeleteItemsRequest(collection="things", ids=ids, request_id=request_id)
        ids = sorted({f"{self.number}-{self.random.randrange(300)}" for _ in range(self.random.randint(1, 30))})
        # No vector comes twice, so every upsert changes something and takes a revision.
        start = (self.number * 1_250 + self.requests * 31) % (len(_POOL) - 31)
        return IndexWriterServiceUpsertItemsRequest(
            collection="things",
            items=[StoredItem(id=item_id, modality=common_pb2.MODALITY_IMAGE) for item_id in ids],
            image_embeddings=common_pb2.EmbeddingBatch(
                space=SPACE, vectors=encode_vectors(_POOL[start : start + len(ids)], half=True)
            ),
            request_id=request_id,
        )

    async def run(self, stub: IndexWriterServiceAsyncStub, stop: asyncio.Event) -> None:
        """Write until told to stop or until the service is gone."""
        while not stop.is_set():
            self.repeated += self.open is not None
            self.open = self.open or self._next()
            try:
                await self._send(stub, self.open)
            except grpc.aio.AioRpcError:
                return
            self.open = None
            self.answered += 1

    async def _send(self, stub: IndexWriterServiceAsyncStub, operation: Operation) -> None:
        if isinstance(operation, IndexWriterServiceDeleteItemsRequest):
            deleted = await stub.DeleteItems(operation, timeout=30)
            assert deleted.deleted_count == len(operation.ids)
            revision = deleted.revision
            for item_id in operation.ids:
                del self.items[item_id]
        else:
            answer = await stub.UpsertItems(operation, timeout=30)
            assert not answer.errors
            assert answer.created_count + answer.updated_count == len(operation.items)
            fresh = sum(item.id not in self.items for item in operation.items)
            assert answer.created_count == fresh
            revision = answer.revision
            rows = np.frombuffer(operation.image_embeddings.vectors.data, "<f2").astype(np.float32)
            for item, row in zip(operation.items, rows.reshape(-1, DIMENSION), strict=True):
                self.items[item.id] = row
        assert revision > self.last_revision
        self.last_revision = revision


def _start(folder: Path) -> Process:
    return Process(
        ["-m", "isthmus.index", "--role", "writer"],
        ready="isthmus index_writer ready ",
        env={
            "ISTHMUS_INDEX_STORE_DIR": str(folder / "store"),
            "ISTHMUS_INDEX_LISTEN": f"unix:{folder}/writer",
            "ISTHMUS_INDEX_COMPACT_FAN_OUT": "4",
            "ISTHMUS_INDEX_KEEP_VERSIONS_S": "1",
        },
    )


async def _write_until(process: Process, clients: list[Client], seconds: float, *, kill: bool) -> None:
    async with grpc.aio.insecure_channel(process.address) as channel:
        stub: IndexWriterServiceAsyncStub = IndexWriterServiceStub(channel)
        stop = asyncio.Event()
        running = [asyncio.ensure_future(client.run(stub, stop)) for client in clients]
        await asyncio.sleep(seconds)
        if kill:
            await asyncio.to_thread(process.kill)
        stop.set()
        await asyncio.gather(*running)


@pytest.mark.timeout(60 + 15 * _KILLS)
async def test_nothing_acknowledged_is_lost_or_doubled_when_the_writer_is_killed(tmp_path: Path) -> None:
    """0 lost, 0 phantom, 0 doubled, 0 altered over kills at random moments; compaction and clean-up run all the while.

    ISTHMUS_TEST_LONG makes the long version of 30 kills, ISTHMUS_TEST_SEED repeats a run.
    """
    chance = random.Random(_SEED)
    clients = [Client(number, random.Random(_SEED + number)) for number in range(_CLIENTS)]
    for kill in range(_KILLS + 1):
        with _start(tmp_path) as process:
            if kill == 0:
                with grpc.insecure_channel(process.address) as channel:
                    IndexWriterServiceStub(channel).CreateCollection(
                        IndexWriterServiceCreateCollectionRequest(
                            name="things", image_space=SPACE, image_dimension=DIMENSION, request_id="create"
                        )
                    )
            last = kill == _KILLS
            await _write_until(process, clients, 0.3 if last else chance.uniform(0.2, 2.0), kill=not last)
            if last:
                assert process.terminate() == 0

    assert all(client.open is None for client in clients)
    requests, repeated = (sum(getattr(client, name) for client in clients) for name in ("requests", "repeated"))
    expected = {item_id: row for client in clients for item_id, row in client.items.items()}
    async with running_searcher(tmp_path / "store") as searcher:
        reader = await searcher.read_items(TENANT, "things")
        found = {
            item_id: row
            async for batch in reader.batches
            for item_id, row in zip(batch.ids, batch.embeddings, strict=True)
        }
    print(f"seed {_SEED}: {_KILLS} kills, {requests} requests, {repeated} repeated, {len(expected)} items left")
    assert sorted(found) == sorted(expected)
    for item_id, row in expected.items():
        np.testing.assert_array_equal(found[item_id], row)
    # Revision 1 is the collection itself; then each request took exactly one, however often it was sent.
    assert reader.info.revision == 1 + requests
    assert (reader.info.image_count, reader.info.text_count) == (len(expected), 0)
