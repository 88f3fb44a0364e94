"""Where the client connects, and how."""

from __future__ import annotations

import json

import pytest

from isthmus.client import AsyncClient, Client, Limits, Resume
from isthmus.client.channel import channel_options, service_config
from isthmus.client.config import resolve_address
from isthmus.runtime.base import limits
from tests.unit.client.small_gateway import Running


def test_the_address_is_the_callers_then_the_environments_then_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    """An argument wins over ISTHMUS_ADDRESS, which wins over 127.0.0.1:7480."""
    monkeypatch.delenv("ISTHMUS_ADDRESS", raising=False)
    assert resolve_address(None) == "127.0.0.1:7480"
    monkeypatch.setenv("ISTHMUS_ADDRESS", "mesh:1")
    assert resolve_address(None) == "mesh:1"
    assert resolve_address("other:2") == "other:2"


@pytest.mark.parametrize("address", ["127.0.0.1:7480", "mesh.example:443", "[::1]:7480", "unix:/tmp/mesh.sock"])
def test_addresses_that_are_taken(address: str) -> None:
    """Host and port, IPv6 in brackets, unix sockets."""
    assert resolve_address(address) == address


@pytest.mark.parametrize(
    "address", ["mesh", ":7480", "mesh:", "mesh:x", "mesh:70000", "http://mesh:80", "unix:", "mesh:0"]
)
def test_addresses_that_are_refused(address: str) -> None:
    """Anything else is a ValueError that shows an example, before anything is sent."""
    with pytest.raises(ValueError, match=r"127\.0\.0\.1:7480"):
        Client(address)
    with pytest.raises(ValueError, match=r"127\.0\.0\.1:7480"):
        AsyncClient(address)


@pytest.mark.parametrize(
    ("address", "local"),
    [
        ("127.0.0.1:1", True),
        ("[::1]:1", True),
        ("localhost:1", True),
        ("unix:/s", True),
        ("10.0.0.1:1", False),
        ("mesh.example:1", False),
    ],
)
def test_a_proxy_never_sees_calls_to_this_machine(address: str, local: bool) -> None:  # noqa: FBT001 - a parameter
    """Loopback and unix sockets switch gRPC's proxy support off; other hosts leave it to the environment."""
    assert (("grpc.enable_http_proxy", 0) in channel_options(address, Limits())) is local


def test_a_proxy_in_the_environment_does_not_matter_on_loopback(
    server: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With http_proxy set to a port where nobody listens, the mesh on this machine still answers."""
    for name in ("http_proxy", "https_proxy", "grpc_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with Client(server.address) as client:
        assert client.status().version == "0.1.0"


def test_the_shipped_service_config_is_used_without_its_timeouts() -> None:
    """Retries and their throttle are the file's; deadlines travel with each call instead."""
    config = json.loads(service_config())
    assert config["retryThrottling"] == {"maxTokens": 10, "tokenRatio": 0.1}
    assert any("retryPolicy" in methods for methods in config["methodConfig"])
    assert not any("timeout" in methods for methods in config["methodConfig"])


def test_message_limits_agree_with_the_gateway() -> None:
    """What the client would send, the gateway would accept; chunks keep within both."""
    mine = Limits()
    assert mine.message_max_bytes == limits.GATEWAY_RECEIVE_MAX_BYTES
    assert mine.chunk_max_bytes <= 8 * 1024 * 1024
    assert mine.chunk_max_count <= min(limits.EMBED_MAX_COUNT, limits.UPSERT_MAX_COUNT)
    # An image at its limit fits a message, with everything an item may carry beside it.
    assert mine.message_max_bytes > limits.IMAGE_MAX_BYTES + limits.THUMBNAIL_MAX_BYTES + limits.ATTRIBUTES_MAX_BYTES


def test_pauses_double_up_to_the_longest() -> None:
    """0.1, 0.2, 0.4 … and then 2 seconds."""
    resume = Resume()
    assert [resume.backoff_s(n) for n in range(1, 8)] == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.6, 2, 2])


def test_closing_twice_is_fine(server: Running) -> None:
    """`close` is idempotent, and a `with` block closes."""
    with Client(server.address) as client:
        client.close()


async def test_closing_an_unused_async_client_is_fine(server: Running) -> None:
    """Nothing was opened, nothing is closed; nor is twice a problem."""
    client = AsyncClient(server.address)
    await client.close()
    async with client:
        await client.status()
    await client.close()
