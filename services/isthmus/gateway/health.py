"""Ask the services behind the gateway how they are."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import Final

import grpc
from grpc_health.v1 import health_pb2

from isthmus.gateway.gather import gather_all
from isthmus.runtime.base.errors import UnavailableError

__all__ = ["BackendHealth"]

_FIRST_WAIT_S: Final = 0.02
_LONGEST_WAIT_S: Final = 0.5


_Check = grpc.aio.UnaryUnaryMultiCallable[health_pb2.HealthCheckRequest, health_pb2.HealthCheckResponse]


def _check(channel: grpc.aio.Channel) -> _Check:
    """Return the method of the health protocol; the generated stub has no types."""
    method: _Check = channel.unary_unary(
        "/grpc.health.v1.Health/Check",
        request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
        response_deserializer=health_pb2.HealthCheckResponse.FromString,
    )
    return method


class BackendHealth:
    """The health of every service behind the gateway.

    Args:
        backends: By short name, the channels to its groups, one for most, and the full name of the service.
        timeout_s: How long one question may take.
    """

    def __init__(self, backends: Mapping[str, tuple[Sequence[grpc.aio.Channel], str]], *, timeout_s: float) -> None:
        self._checks = {
            name: ([_check(channel) for channel in channels], service) for name, (channels, service) in backends.items()
        }
        self._timeout_s = timeout_s

    async def is_serving(self, name: str) -> bool:
        """Return whether a service says that it serves, every group of it."""
        checks, service = self._checks[name]
        return all(await gather_all([self._says(check, service) for check in checks]))

    async def _says(self, check: _Check, service: str) -> bool:
        try:
            answer = await check(health_pb2.HealthCheckRequest(service=service), timeout=self._timeout_s)
        except grpc.RpcError:
            return False
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)

    async def wait_for_all(self, timeout_s: float) -> None:
        """Wait until every service serves.

        Raises:
            UnavailableError: one does not within `timeout_s`; the message names it.
        """
        deadline_s = time.monotonic() + timeout_s
        await gather_all([self._wait(name, deadline_s) for name in self._checks])

    async def _wait(self, name: str, deadline_s: float) -> None:
        pause_s = _FIRST_WAIT_S
        while not await self.is_serving(name):
            if time.monotonic() + pause_s > deadline_s:
                msg = f"the {name} service does not serve"
                raise UnavailableError(msg, reason="BACKEND_UNAVAILABLE", metadata={"backend": name})
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_WAIT_S)
