"""A small gateway for each test, and clients of it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from isthmus.client import Client
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
