"""Deadlines, with real sockets and deadlines that nobody can keep."""

from __future__ import annotations

import json
import time
from collections.abc import Awaitable, Callable
from importlib import resources
from typing import Any

import pytest

from isthmus.client import AsyncClient, Client, ClientConfig, DeadlineExceededError, Item, Timeouts
from tests.unit.client.small_gateway import Running, SmallGateway

CALLS: dict[str, Callable[[Any], Any]] = {
    "embed": lambda client: client.embed(texts=["a"], timeout_s=1e-6),
    "upsert": lambda client: client.upsert("c", [Item(id="a", text="a")], timeout_s=1e-6),
    "delete": lambda client: client.delete("c", ["a"], timeout_s=1e-6),
    "get_items": lambda client: client.get_items("c", ["a"], timeout_s=1e-6),
    "search": lambda client: client.search("c", text="a", timeout_s=1e-6),
    "create_collection": lambda client: client.create_collection("c", timeout_s=1e-6),
    "get_collection": lambda client: client.get_collection("c", timeout_s=1e-6),
    "list_collections": lambda client: client.list_collections(timeout_s=1e-6),
    "delete_collection": lambda client: client.delete_collection("c", timeout_s=1e-6),
    "evaluate": lambda client: client.evaluate("c", timeout_s=1e-6),
    "list_aligners": lambda client: client.list_aligners(timeout_s=1e-6),
    "fit_aligner": lambda client: client.fit_aligner("c", aligner_id="a", method="center", timeout_s=1e-6),
    "promote_aligner": lambda client: client.promote_aligner("c", "a", timeout_s=1e-6),
    "set_shadow_aligner": lambda client: client.set_shadow_aligner("c", "a", timeout_s=1e-6),
    "shadow_report": lambda client: client.shadow_report("c", timeout_s=1e-6),
    "list_promotions": lambda client: client.list_promotions("c", timeout_s=1e-6),
    "get_watch": lambda client: client.get_watch("c", timeout_s=1e-6),
    "list_proposals": lambda client: client.list_proposals(timeout_s=1e-6),
    "dismiss_proposal": lambda client: client.dismiss_proposal("c", "p", timeout_s=1e-6),
    "status": lambda client: client.status(timeout_s=1e-6),
}


@pytest.mark.parametrize("name", CALLS)
def test_every_call_keeps_its_deadline(name: str, client: Client) -> None:
    """A microsecond is over before the first byte: the call raises DeadlineExceededError, and does so at once."""
    started_s = time.monotonic()
    with pytest.raises(DeadlineExceededError):
        CALLS[name](client)
    assert time.monotonic() - started_s < 2


@pytest.mark.parametrize("name", CALLS)
async def test_every_async_call_keeps_its_deadline(name: str, server: Running) -> None:
    """The same for the client of asyncio."""
    async with AsyncClient(server.address) as client:
        call: Awaitable[Any] = CALLS[name](client)
        with pytest.raises(DeadlineExceededError):
            await call


def test_defaults_come_from_the_configuration(server: Running, gateway: SmallGateway) -> None:
    """A call without `timeout_s` takes the configured deadline of its kind."""
    gateway.delay_s["GetStatus"] = gateway.delay_s["Embed"] = 5
    with Client(server.address, config=ClientConfig(timeouts=Timeouts(call_s=0.05, embed_s=0.1))) as client:
        for call in (client.status, lambda: client.embed(texts=["a"])):
            started_s = time.monotonic()
            with pytest.raises(DeadlineExceededError):
                call()
            assert time.monotonic() - started_s < 2


def test_a_caller_may_wait_longer_than_the_default(server: Running, gateway: SmallGateway) -> None:
    """`timeout_s` wins over the default in both directions."""
    gateway.delay_s["GetStatus"] = 0.3
    with Client(server.address, config=ClientConfig(timeouts=Timeouts(call_s=0.05))) as client:
        assert client.status(timeout_s=10).version == "0.1.0"


def test_default_deadlines_do_not_exceed_the_shipped_service_config() -> None:
    """Whoever takes the defaults waits no longer than the service config says for other clients."""
    text = (resources.files("isthmus.v1") / "grpc_service_config.json").read_text()
    seconds = {
        entry["method"]: float(methods["timeout"].removesuffix("s"))
        for methods in json.loads(text)["methodConfig"]
        for entry in methods["name"]
    }
    timeouts = Timeouts()
    assert timeouts.call_s <= min(seconds.values())
    assert timeouts.embed_s <= seconds["Embed"]
    assert timeouts.evaluate_s <= seconds["Evaluate"]
    assert timeouts.stream_s <= min(seconds["UpsertItems"], seconds["FitAligner"])
