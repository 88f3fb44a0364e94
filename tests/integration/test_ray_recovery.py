"""On Ray, under steady load: a rolling update and the death of a replica.

Calls are counted after the client's retries; attempts that failed on the way are stated beside them. The rest of what
is promised runs by hand, in `test_ray_recovery_long.py`.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time

import pytest

from isthmus.client import AsyncClient
from tests.harness.ray_stage import Stage
from tests.harness.steady_load import Attempts, until
from tests.integration.ray_calls import client, stage, text_load, told

__all__ = ["client", "stage"]

pytestmark = [pytest.mark.timeout(240), pytest.mark.asyncio(loop_scope="module")]


async def test_a_rolling_update_fails_no_call(stage: Stage, client: AsyncClient) -> None:
    """Every replica of the text encoder is replaced; each call is answered."""
    before = set(stage.replicas("text_encoder"))
    load, attempts = text_load(client), Attempts()
    async with load.running():
        await asyncio.sleep(1)
        started_s = time.monotonic()
        await stage.change("text_encoder", environment={"UPDATE": "1"})
        took_s = time.monotonic() - started_s
        await until(lambda: not before & set(stage.replicas("text_encoder")))
        await asyncio.sleep(1)
    told("rolling update of text_encoder", load, attempts, f"; updated in {took_s:.1f} s")
    assert load.failed.total() == 0


async def test_the_death_of_a_replica_costs_at_most_one_call(stage: Stage, client: AsyncClient) -> None:
    """One of two replicas is killed: at most one call fails after retries, none takes 15 s, and there are two again."""
    await stage.change("text_encoder", replicas=2)
    load, attempts = text_load(client), Attempts()
    async with load.running():
        await asyncio.sleep(1)
        victim = stage.replicas("text_encoder")[0]
        os.kill(victim, signal.SIGKILL)
        started_s = time.monotonic()
        await until(lambda: _serve_all(stage, without=victim), timeout_s=60)
        back_s = time.monotonic() - started_s
        await asyncio.sleep(1)
    told("one of two replicas killed", load, attempts, f"; two again after {back_s:.1f} s")
    await stage.change("text_encoder", replicas=1)
    assert load.failed.total() <= 1
    assert load.slowest_s <= 15


async def _serve_all(stage: Stage, *, without: int) -> bool:
    serving = await stage.encoded_items("text_encoder")
    return len(serving) == 2 and without not in serving
