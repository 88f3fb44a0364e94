"""What the tests of recovery on Ray share: one Ray, its client, a steady load of texts, and how results are told."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from isthmus.client import AsyncClient
from tests.harness.ray_stage import Stage, ray_stage
from tests.harness.steady_load import Attempts, SteadyLoad

__all__ = ["client", "stage", "text_load", "told"]

CALLS_PER_S = 20.0


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    """One Ray for all tests here: it takes 20 s to start."""
    # One call to an encoder a text: shares of replicas are then counted in calls.
    os.environ["ISTHMUS_GATEWAY_ENCODE_GATHER_COUNT"] = "1"
    try:
        async with ray_stage(tmp_path_factory.mktemp("data")) as running:
            yield running
    finally:
        del os.environ["ISTHMUS_GATEWAY_ENCODE_GATHER_COUNT"]


@pytest_asyncio.fixture(loop_scope="module")
async def client(stage: Stage) -> AsyncIterator[AsyncClient]:
    """The shipped client."""
    async with AsyncClient(stage.gateway.address) as connected:
        yield connected


def text_load(client: AsyncClient) -> SteadyLoad:
    """Return a load of texts that no cache has seen."""

    async def embed(number: int) -> object:
        return await client.embed(texts=[f"text {number} that no cache has seen, {time.time_ns()}"])

    return SteadyLoad(embed, calls_per_s=CALLS_PER_S)


def told(what: str, load: SteadyLoad, attempts: Attempts, more: str = "") -> None:
    """Print what became of a load."""
    print(
        f"{what}: {load.sent} calls, {load.failed.total()} failed; failed attempts {attempts.failed() or 0}; "
        f"slowest call {load.slowest_s:.2f} s{more}"
    )
