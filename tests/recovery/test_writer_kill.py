"""kill -9 of the index writer while clients write: what was acknowledged is there, once, bit for bit."""

from __future__ import annotations

import os
import random
import time
from pathlib import Path

import grpc
import numpy as np
import pytest

from isthmus.v1.index_writer_service_pb2 import (
    IndexWriterServiceCreateCollectionRequest,
)
from isthmus.v1.index_writer_service_pb2_grpc import IndexWriterServiceStub
from tests.harness.process import Process
from tests.harness.writing import WritingClient, write_until
from tests.unit.index.support import DIMENSION, SPACE, TENANT, running_searcher

_KILLS = 100 if os.environ.get("ISTHMUS_TEST_LONG") else 30
_SEED = int(os.environ.get("ISTHMUS_TEST_SEED", "0")) or time.time_ns() % 1_000_000
_CLIENTS = 4


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


@pytest.mark.timeout(60 + 5 * _KILLS)
async def test_nothing_acknowledged_is_lost_or_doubled_when_the_writer_is_killed(tmp_path: Path) -> None:
    """0 lost, 0 phantom, 0 doubled, 0 altered over kills at random moments; compaction and clean-up run all the while.

    ISTHMUS_TEST_LONG makes the long version of 100 kills, ISTHMUS_TEST_SEED repeats a run.
    """
    chance = random.Random(_SEED)
    clients = [WritingClient(number, random.Random(_SEED + number)) for number in range(_CLIENTS)]
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
            await write_until(process, clients, 0.3 if last else chance.uniform(0.05, 0.6), kill=not last)
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
