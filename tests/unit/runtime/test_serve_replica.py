"""A replica of Ray Serve is warm before it is ready, is probed while it runs, and closes its service once."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterator

import pytest
from grpc_health.v1 import health_pb2

from isthmus.runtime.base.errors import UnavailableError
from isthmus.runtime.serve.replica import Replica
from tests.unit.runtime.scripted import Scripted
from tests.unit.runtime.test_serve_handlers import ENCODE, RayContextStub


@pytest.fixture(autouse=True)
def _own_logging() -> Iterator[None]:
    """A replica takes the logging of its process over; give it back."""
    root = logging.getLogger("isthmus")
    before = (root.handlers[:], root.level, root.propagate)
    yield
    root.handlers[:], root.level, root.propagate = before[0], before[1], before[2]


async def test_it_is_warm_before_it_answers() -> None:
    """`open` returns once the service is warm; then its methods and the health protocol answer."""
    service, warmed = Scripted(), []

    async def _warm() -> None:
        warmed.append(hasattr(replica, "Encode"))

    service.warmed = _warm
    replica = Replica()
    await replica.open(service.hosted())
    assert warmed == [True]
    ray = RayContextStub()
    await replica.Encode(ENCODE, grpc_context=ray)  # type: ignore[attr-defined]
    answer = await replica.Check(health_pb2.HealthCheckRequest(), grpc_context=ray)
    assert answer.status == health_pb2.HealthCheckResponse.SERVING
    await replica.close()
    await replica.close()
    assert service.closed == 1


async def test_it_waits_for_what_another_replica_still_holds() -> None:
    """NOT_READY, as a writer says while the old one holds the store, is tried again; anything else is not."""
    service, tries = Scripted(), []

    async def _held_twice() -> None:
        tries.append(1)
        if len(tries) < 3:
            msg = "another writer holds this store"
            raise UnavailableError(msg, reason="NOT_READY")

    service.warmed = _held_twice
    replica = Replica()
    await replica.open(service.hosted())
    assert len(tries) == 3
    await replica.close()

    async def _broken() -> None:
        msg = "no"
        raise UnavailableError(msg, reason="BACKEND_UNAVAILABLE")

    broken = Scripted()
    broken.warmed = _broken
    with pytest.raises(UnavailableError):
        await Replica().open(broken.hosted())
    assert broken.closed == 1


async def test_its_health_is_the_service_s_own_proof() -> None:
    """The check fails when the service's probe does, which makes Ray replace the replica."""

    async def _wedged() -> None:
        msg = "wedged"
        raise UnavailableError(msg, reason="NOT_READY")

    replica = Replica()
    await replica.open(dataclasses.replace(Scripted().hosted(), probe=_wedged))
    with pytest.raises(UnavailableError):
        await replica.check_health()
    await replica.close()
