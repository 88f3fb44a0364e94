"""A small gateway for each test, and clients of it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from isthmus.client import AsyncClient, Client, ClientConfig, Item, Limits
from tests.unit.client.both_clients import Both
from tests.unit.client.small_gateway import Running, SmallGateway, running


@pytest.fixture
def gateway() -> SmallGateway:
    """The gateway's state and script."""
    return SmallGateway()


@pytest.fixture
def server(gateway: SmallGateway) -> Iterator[Running]:
    """The gateway, listening."""
    with running(gateway) as listening:
        yield listening


@pytest.fixture
def client(server: Running) -> Iterator[Client]:
    """A client of it."""
    with Client(server.address) as connected:
        yield connected


@pytest.fixture(params=["sync", "async"])
async def call(request: pytest.FixtureRequest, server: Running) -> AsyncIterator[Both]:
    """A client with small messages: three inputs each."""
    config = ClientConfig(limits=Limits(chunk_max_count=3))
    if request.param == "sync":
        with Client(server.address, config=config) as client:
            yield Both(client)
    else:
        async with AsyncClient(server.address, config=config) as client:
            yield Both(client)


@pytest.fixture
async def filled(call: Both) -> Both:
    """A collection `c` with two images and two texts."""
    await call("create_collection", "c", store_thumbnails=True)
    await call(
        "upsert",
        "c",
        [
            Item(id="cat.jpg", image=b"cat", pair_key="cat", thumbnail=b"small"),
            Item(id="dog.jpg", image=b"dog", pair_key="dog"),
            Item(id="cat#0", text="cat", pair_key="cat", attributes={"text": "cat"}),
            Item(id="dog#0", text="dog", pair_key="dog"),
        ],
    )
    return call
