"""On Ray, under steady load: everything else that is promised. `ISTHMUS_TEST_LONG=1` runs it."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

from isthmus.client import AsyncClient, Item, SpacedVector
from tests.harness.pictures import jpeg
from tests.harness.ray_mesh import start_ray_mesh
from tests.harness.ray_stage import Stage
from tests.harness.steady_load import Attempts, SteadyLoad, until
from tests.integration.ray_calls import client, stage, text_load, told

__all__ = ["client", "stage"]

pytestmark = [pytest.mark.timeout(240), pytest.mark.asyncio(loop_scope="module")]

SPACE = "own@0123456789abcdef"


async def test_the_death_of_the_only_replica_is_mended_within_15_s(stage: Stage, client: AsyncClient) -> None:
    """Calls wait for the new replica as long as their deadline allows; the first answer comes within 15 s."""
    attempts = Attempts()
    (victim,) = stage.replicas("text_encoder")
    os.kill(victim, signal.SIGKILL)
    started_s = time.monotonic()
    await client.embed(texts=[f"after the death, {time.time_ns()}"], timeout_s=25)
    back_s = time.monotonic() - started_s
    print(f"the only replica killed: next answer after {back_s:.1f} s; failed attempts {attempts.failed() or 0}")
    assert back_s <= 15


async def test_new_replicas_take_their_share_within_ten_seconds(stage: Stage, client: AsyncClient) -> None:
    """Scaled from one to three, and back to one: each new replica takes 20 % of the calls 10 s after it runs."""
    load, attempts = text_load(client), Attempts()
    async with load.running():
        await asyncio.sleep(1)
        await stage.change("text_encoder", replicas=3)  # returns when all three are RUNNING
        await asyncio.sleep(5)
        before = await stage.encoded_items("text_encoder")
        await asyncio.sleep(5)
        after = await stage.encoded_items("text_encoder")
        await stage.change("text_encoder", replicas=1)
        await until(lambda: len(stage.replicas("text_encoder")) == 1)
        await asyncio.sleep(1)
    counts = [after[pid] - before[pid] for pid in after]
    shares = [count / sum(counts) for count in counts]
    told("scaled 1 to 3 to 1", load, attempts, f"; shares {', '.join(f'{share:.0%}' for share in shares)}")
    assert len(shares) == 3
    assert min(shares) >= 0.20
    assert load.failed.total() == 0


@pytest.mark.parametrize("application", ["image_encoder", "index_search", "alignment"])
async def test_every_application_is_updated_without_a_failed_call(
    stage: Stage, client: AsyncClient, application: str
) -> None:
    """Each has its own calls: an image, a search, a list of aligners."""
    name = f"r{application.replace('_', '')}"
    await client.create_collection(name)
    await client.upsert(
        name,
        [
            *(Item(id=f"i{n}", image=jpeg(n), pair_key=str(n)) for n in range(8)),
            *(Item(id=f"t{n}", text=f"picture of blocks {n}", pair_key=str(n)) for n in range(8)),
        ],
    )

    async def send(number: int) -> object:
        if application == "image_encoder":
            return await client.embed(images=[jpeg(number)])
        if application == "index_search":
            return await client.search(name, item_id="t1", top_k=3)
        return await client.list_aligners()

    load, attempts = SteadyLoad(send, calls_per_s=10), Attempts()
    before = set(stage.replicas(application))
    async with load.running():
        await asyncio.sleep(1)
        await stage.change(application, environment={"UPDATE": "1"})
        await until(lambda: not before & set(stage.replicas(application)))
        await asyncio.sleep(1)
    told(f"rolling update of {application}", load, attempts)
    await client.delete_collection(name)
    assert load.failed.total() == 0


async def test_the_writer_is_updated_without_a_failed_write(stage: Stage, client: AsyncClient) -> None:
    """The old writer lets go of the store before the new one takes it; writes wait, and none is lost or doubled."""
    await client.create_collection("kept", image_space=SPACE, text_space=SPACE, image_dimension=8, text_dimension=8)

    async def write(number: int) -> object:
        vector = SpacedVector(np.ones(8), modality="text", space=SPACE)
        return await client.upsert("kept", [Item(id=f"t{number}", vector=vector)])

    load, attempts = SteadyLoad(write, calls_per_s=10), Attempts()
    (before,) = stage.replicas("index_writer")
    async with load.running():
        await asyncio.sleep(1)
        await stage.change("index_writer", environment={"UPDATE": "1"})
        assert before not in stage.replicas("index_writer"), "two writers at once"
        await asyncio.sleep(1)
    stored = await client.get_collection("kept")
    told("update of index_writer", load, attempts, f"; {stored.text_count} items stored")
    assert load.failed.total() == 0
    assert stored.text_count == load.sent


async def test_the_end_fails_no_call_that_was_begun(tmp_path: Path) -> None:
    """SIGTERM with 32 calls in flight: all are answered, the exit status is 0, and no process is left."""
    with start_ray_mesh(tmp_path / "data") as process:
        family = [process.pid, *(child.pid for child in psutil.Process(process.pid).children(recursive=True))]
        async with AsyncClient(process.address) as client:
            calls = [
                asyncio.ensure_future(client.embed(images=[jpeg(100 * n + k) for k in range(8)])) for n in range(32)
            ]
            await asyncio.sleep(0.2)
            os.kill(process.pid, signal.SIGTERM)
            answers = await asyncio.gather(*calls, return_exceptions=True)
        assert await asyncio.to_thread(process.terminate, timeout_s=60) == 0
    failed = [answer for answer in answers if isinstance(answer, BaseException)]
    print(f"SIGTERM with {len(calls)} calls in flight: {len(failed)} failed")
    assert not failed
    assert not [pid for pid in family if psutil.pid_exists(pid)]
