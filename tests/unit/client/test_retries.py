"""Retries come from the service config that ships with the client, and from nowhere else."""

from __future__ import annotations

import pytest

from isthmus.client import AsyncClient, Client, IsthmusError, ResourceExhaustedError, UnavailableError
from isthmus.runtime.base import errors as served
from tests.unit.client.small_gateway import Running, SmallGateway


def _gone() -> served.UnavailableError:
    return served.UnavailableError("a service is gone", reason="BACKEND_UNAVAILABLE")


def test_a_read_survives_two_failures(client: Client, gateway: SmallGateway) -> None:
    """The third attempt is answered, and the caller notices nothing."""
    gateway.failures["GetStatus"].extend([_gone(), _gone()])
    assert client.status().version == "0.1.0"
    assert gateway.calls["GetStatus"] == 3


def test_a_read_gives_up_after_three_attempts(client: Client, gateway: SmallGateway) -> None:
    """MaxAttempts of the config is 3."""
    gateway.failures["GetStatus"].extend([_gone()] * 5)
    with pytest.raises(UnavailableError):
        client.status()
    assert gateway.calls["GetStatus"] == 3


async def test_the_async_client_retries_the_same_way(server: Running, gateway: SmallGateway) -> None:
    """Three attempts there too."""
    gateway.failures["GetStatus"].extend([_gone()] * 5)
    async with AsyncClient(server.address) as client:
        with pytest.raises(UnavailableError):
            await client.status()
    assert gateway.calls["GetStatus"] == 3


def test_a_mutation_is_retried_under_the_same_request_id(client: Client, gateway: SmallGateway) -> None:
    """A retried mutation carries one request id, so that it is applied once."""
    gateway.failures["CreateCollection"].append(_gone())
    client.create_collection("c")
    assert gateway.calls["CreateCollection"] == 2
    assert len({request.request_id for request in gateway.requests["CreateCollection"]}) == 1


@pytest.mark.parametrize(
    "failure",
    [
        served.InvalidArgumentError("wrong", reason="INVALID_FIELD"),
        served.ResourceExhaustedError("full", reason="QUEUE_FULL"),
        served.InternalError("a bug"),
    ],
    ids=lambda failure: failure.code,
)
def test_what_cannot_help_is_not_retried(failure: served.IsthmusError, client: Client, gateway: SmallGateway) -> None:
    """Only UNAVAILABLE is tried again."""
    gateway.failures["GetStatus"].append(failure)
    with pytest.raises(IsthmusError, match=failure.reason):
        client.status()
    assert gateway.calls["GetStatus"] == 1


def test_a_total_outage_is_not_amplified(client: Client, gateway: SmallGateway) -> None:
    """With everything failing, the throttle stops retries: 100 calls cost at most 110 attempts (measured: 103)."""
    gateway.failures["GetStatus"].extend([_gone()] * 1000)
    for _ in range(100):
        with pytest.raises(UnavailableError):
            client.status()
    assert 100 <= gateway.calls["GetStatus"] <= 110


def test_a_long_fit_is_never_retried(client: Client, gateway: SmallGateway) -> None:
    """A stream with side effects has no retry policy."""
    gateway.failures["FitAligner"].append(_gone())
    client.create_collection("c")
    with pytest.raises(UnavailableError):
        client.fit_aligner("c", aligner_id="a", method="center")
    assert gateway.calls["FitAligner"] == 1


def test_a_refusal_for_load_keeps_the_pause_it_asks_for(client: Client, gateway: SmallGateway) -> None:
    """RESOURCE_EXHAUSTED goes to the caller, who knows whether waiting makes sense."""
    gateway.failures["Embed"].append(served.ResourceExhaustedError("full", reason="OVERLOADED", retry_after_s=0.25))
    with pytest.raises(ResourceExhaustedError) as caught:
        client.embed(texts=["a"])
    assert caught.value.retry_after_s == 0.25
