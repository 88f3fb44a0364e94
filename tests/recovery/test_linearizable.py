"""Reads with `min_revision` see every acknowledged write, and revisions never go back, over kills (promise D8)."""

from __future__ import annotations

import asyncio
import os
import random
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import pytest

from isthmus.runtime.rpc.codec import encode_vectors
from isthmus.v1 import common_pb2
from isthmus.v1.index_search_service_pb2 import IndexSearchServiceGetItemsRequest
from isthmus.v1.index_search_service_pb2_grpc import IndexSearchServiceStub
from isthmus.v1.index_writer_service_pb2 import (
    IndexWriterServiceCreateCollectionRequest,
    IndexWriterServiceDeleteItemsRequest,
    IndexWriterServiceUpsertItemsRequest,
    StoredItem,
)
from isthmus.v1.index_writer_service_pb2_grpc import IndexWriterServiceStub
from tests.harness.process import Process
from tests.harness.register_history import Operation, unexplained_items
from tests.unit.index.support import DIMENSION, SPACE, vectors

if TYPE_CHECKING:
    from isthmus.v1.index_search_service_pb2_grpc import IndexSearchServiceAsyncStub
    from isthmus.v1.index_writer_service_pb2_grpc import IndexWriterServiceAsyncStub

_SEED = int(os.environ.get("ISTHMUS_TEST_SEED", "0")) or time.time_ns() % 1_000_000
_CLIENTS = 4
_LONG = os.environ.get("ISTHMUS_TEST_LONG") == "1"
_OPERATIONS = 500 if _LONG else 200
_KILLS = 5 if _LONG else 3
_ITEMS = 40
_TIMEOUT_S = 5.0
_REST_S = 0.25
_CHANNEL = [("grpc.initial_reconnect_backoff_ms", 100), ("grpc.max_reconnect_backoff_ms", 200)]
_SERVICES = {"writer": "writer", "searcher": "search"}


class _Role:
    """A writer or a searcher that is killed and started again at the same address."""

    def __init__(self, role: str, folder: Path) -> None:
        self._role = role
        self._folder = folder
        self.address = f"unix:{folder}/{role}"
        self._process = self._start()

    def _start(self) -> Process:
        return Process(
            ["-m", "isthmus.index", "--role", self._role],
            ready=f"isthmus index_{_SERVICES[self._role]} ready ",
            env={
                "ISTHMUS_INDEX_STORE_DIR": str(self._folder / "store"),
                "ISTHMUS_INDEX_LISTEN": self.address,
                "ISTHMUS_INDEX_POLL_INTERVAL_S": "0.02",
                "ISTHMUS_INDEX_COMPACT_FAN_OUT": "8",
                "ISTHMUS_INDEX_KEEP_VERSIONS_S": "1",
            },
        )

    async def kill_and_restart(self) -> None:
        """End it at once and wait until it answers again."""
        with self._process:  # which ends it
            await asyncio.to_thread(self._process.kill)
        self._process = await asyncio.to_thread(self._start)

    def end(self) -> None:
        """Let it stop."""
        with self._process:
            assert self._process.terminate() == 0


class _Progress:
    """How many calls all clients have made, for those who wait for a number of them."""

    def __init__(self) -> None:
        self._made = 0
        self._waiting: list[tuple[int, asyncio.Event]] = []

    def note(self) -> None:
        """Count a call."""
        self._made += 1
        for count, event in self._waiting:
            if self._made >= count:
                event.set()

    async def reach(self, count: int) -> None:
        """Wait until so many calls were made."""
        event = asyncio.Event()
        self._waiting.append((count, event))
        await event.wait()


@dataclass
class _Client:
    """Reads and writes items that all clients share, one call after the other; nothing is repeated."""

    number: int
    random: random.Random
    known: list[int]
    """The newest revision that any client was acknowledged, shared by all."""
    progress: _Progress
    history: list[Operation] = field(default_factory=list)
    failures: int = 0
    last_revision: int = 0

    async def run(self, writer: IndexWriterServiceAsyncStub, searcher: IndexSearchServiceAsyncStub) -> None:
        """Make all calls, however many fail."""
        for number in range(_OPERATIONS):
            item, kind = f"item-{self.random.randrange(_ITEMS)}", self.random.choices("rwd", (5, 4, 1))[0]
            value = None if kind == "d" else self.number * _OPERATIONS + number
            begin = time.monotonic()
            try:
                if kind == "r":
                    value = await self._read(searcher, item)
                else:
                    await self._write(writer, item, value, request_id=f"{self.number}-{number}")
                end = time.monotonic()
            except grpc.aio.AioRpcError:
                self.failures += 1
                end = float("inf")
                await asyncio.sleep(_REST_S)  # so that a service that is down does not eat the history up
            self.history.append(Operation(item, "read" if kind == "r" else "write", value, begin, end))
            self.progress.note()

    async def _read(self, searcher: IndexSearchServiceAsyncStub, item: str) -> int | None:
        least = self.known[0]
        answer = await searcher.GetItems(
            IndexSearchServiceGetItemsRequest(collection="things", ids=[item], min_revision=least), timeout=_TIMEOUT_S
        )
        assert answer.revision >= least
        if not answer.items:
            return None
        return int(answer.items[0].attributes["value"].int_value)

    async def _write(
        self, writer: IndexWriterServiceAsyncStub, item: str, value: int | None, *, request_id: str
    ) -> None:
        if value is None:
            deletion = IndexWriterServiceDeleteItemsRequest(collection="things", ids=[item], request_id=request_id)
            revision = (await writer.DeleteItems(deletion, timeout=_TIMEOUT_S)).revision
        else:
            stored = StoredItem(id=item, modality=common_pb2.MODALITY_IMAGE)
            stored.attributes["value"].int_value = value
            batch = common_pb2.EmbeddingBatch(space=SPACE, vectors=encode_vectors(vectors(value, 1), half=True))
            upsert = IndexWriterServiceUpsertItemsRequest(
                collection="things", items=[stored], image_embeddings=batch, request_id=request_id
            )
            revision = (await writer.UpsertItems(upsert, timeout=_TIMEOUT_S)).revision
        assert revision >= self.last_revision
        self.last_revision = revision
        self.known[0] = max(self.known[0], revision)


@pytest.mark.timeout(120)
async def test_every_item_is_a_register_over_kills_of_writer_and_searcher(tmp_path: Path) -> None:
    """4 clients on 40 shared items: an order explains all; the long version is 500 calls each and 5 kills.

    ISTHMUS_TEST_SEED repeats a run.
    """
    chance = random.Random(_SEED)
    known, progress = [0], _Progress()
    clients = [_Client(number, random.Random(_SEED + number), known, progress) for number in range(_CLIENTS)]
    roles = [_Role("writer", tmp_path)]
    async with grpc.aio.insecure_channel(roles[0].address, options=_CHANNEL) as channel:
        writer: IndexWriterServiceAsyncStub = IndexWriterServiceStub(channel)
        await writer.CreateCollection(
            IndexWriterServiceCreateCollectionRequest(
                name="things", image_space=SPACE, image_dimension=DIMENSION, request_id="create"
            )
        )
        roles.append(_Role("searcher", tmp_path))
        async with grpc.aio.insecure_channel(roles[1].address, options=_CHANNEL) as other:
            searcher: IndexSearchServiceAsyncStub = IndexSearchServiceStub(other)
            running = asyncio.gather(*(client.run(writer, searcher) for client in clients))
            for kill in range(_KILLS):
                await progress.reach((kill + 1) * _CLIENTS * _OPERATIONS // (_KILLS + 1))
                await asyncio.sleep(chance.uniform(0, 0.05))
                await roles[kill % 2].kill_and_restart()
            await running
            for role in roles:
                role.end()
    history = [operation for client in clients for operation in client.history]
    failures = sum(client.failures for client in clients)
    print(f"seed {_SEED}: {len(history)} calls, {failures} failed, revision {known[0]}")
    assert len(history) == _CLIENTS * _OPERATIONS
    assert failures < len(history) / 2
    assert unexplained_items(history) == []
