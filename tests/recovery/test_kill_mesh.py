"""kill -9 of the whole mesh while items stream in: what was acknowledged is there, once, and unaltered."""

from __future__ import annotations

import os
import random
import threading
import time
from pathlib import Path

import pytest

from isthmus.client import Client, ClientConfig, IsthmusError, Item, Resume
from tests.harness.mesh import start_mesh

KILLS = 20 if os.environ.get("ISTHMUS_TEST_LONG") else 3
FAIL_FAST = ClientConfig(resume=Resume(max_attempts=1))


def _stream(address: str, kill: int, acknowledged: dict[str, int]) -> None:
    """Upsert until the mesh dies; note what each acknowledgement covered and its revision."""
    with Client(address, config=FAIL_FAST) as client:
        for turn in range(10_000):
            ids = [f"k{kill}-{turn}-{n}" for n in range(16)]
            try:
                summary = client.upsert("stream", [Item(id=i, text=f"text of {i}", attributes={"id": i}) for i in ids])
            except IsthmusError:
                return
            acknowledged.update(dict.fromkeys(ids, summary.revision))


@pytest.mark.timeout(60 + 40 * KILLS)
def test_no_acknowledged_item_is_lost_and_none_is_doubled(tmp_path: Path) -> None:
    """After each kill every acknowledged item is found exactly once with its own attributes, and the revision grows."""
    seed = int(os.environ.get("ISTHMUS_TEST_SEED", time.time_ns() % 1_000_000))
    print(f"seed {seed}")
    chance = random.Random(seed)
    acknowledged: dict[str, int] = {}
    for kill in range(KILLS + 1):
        with start_mesh(tmp_path / "data") as mesh:
            with Client(mesh.address) as client:
                if kill == 0:
                    client.create_collection("stream")
                else:
                    _check(client, acknowledged)
            if kill == KILLS:
                assert mesh.terminate() == 0
                break
            streaming = threading.Thread(target=_stream, args=(mesh.address, kill, acknowledged))
            streaming.start()
            time.sleep(chance.uniform(0.5, 2.0))
            mesh.kill()
            streaming.join()
    print(f"{KILLS} kills, {len(acknowledged)} acknowledged items")
    assert len(acknowledged) >= 16 * KILLS


def _check(client: Client, acknowledged: dict[str, int]) -> None:
    collection = client.get_collection("stream")
    newest = max(acknowledged.values(), default=0)
    assert collection.revision >= newest
    ids = list(acknowledged)
    found = client.get_items("stream", ids, min_revision=collection.revision).items if ids else ()
    assert [item.id for item in found] == ids
    assert all(item.attributes == {"id": item.id} for item in found)
    # Live items: everything acknowledged, and at most the one message per kill that was stored but not yet told.
    assert len(ids) <= collection.text_count <= len(ids) + 16 * KILLS
    hits = client.search("stream", text=f"text of {ids[-1]}", top_k=50).neighbors if ids else ()
    assert len({hit.item.id for hit in hits}) == len(hits)
