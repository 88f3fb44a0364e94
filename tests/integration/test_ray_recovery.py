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
from prometheus_client.parser import text_string_to_metric_families

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


async def test_what_replicas_count_is_exported_by_their_node(stage: Stage, client: AsyncClient) -> None:
    """Histograms, counters and gauges of every application, by the names an alert asks for, with `ray_` before them."""
    names = ("text_encoder", "image_encoder", "alignment", "index_writer", "index_search")
    await client.embed(texts=["counted"])
    found: dict[str, float] = {}

    async def exported() -> bool:
        page = await asyncio.to_thread(stage.metrics_page)
        for family in text_string_to_metric_families(page):
            for sample in family.samples:
                service = sample.labels.get("service", sample.labels.get("backend", ""))
                found[f"{sample.name} {service}"] = max(sample.value, found.get(f"{sample.name} {service}", 0.0))
        told = all(found.get(f"ray_isthmus_serving {name}") == 1 for name in names)
        return told and found.get("ray_isthmus_rpc_seconds_bucket EncoderService", 0) > 0

    await until(exported, timeout_s=90)


async def _serve_all(stage: Stage, *, without: int) -> bool:
    serving = await stage.encoded_items("text_encoder")
    return len(serving) == 2 and without not in serving
