"""One service in one replica of Ray Serve: warmed first, probed while it runs, closed at the end. Knows no Ray."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Final

from grpc_health.v1 import health_pb2

from isthmus.runtime.base import logging as isthmus_logging
from isthmus.runtime.base.errors import UnavailableError
from isthmus.runtime.base.logging import fields
from isthmus.runtime.base.metrics import UP
from isthmus.runtime.rpc.server import Hosted
from isthmus.runtime.serve.handlers import serve_handlers
from isthmus.runtime.serve.serve_context import RayContext

__all__ = ["Replica"]

log = logging.getLogger("isthmus.serve")

_TAKEOVER_TIMEOUT_S: Final = 180.0
"""How long a replica waits for another to let go of what only one may hold: the store of the index writer. Longer than
any drain."""
_TAKEOVER_RETRY_S: Final = 0.1


class Replica:
    """Answers the methods of a service; Ray Serve finds them by name on the instance.

    `open` must have returned before the first call: a deployment awaits it in its constructor, so that Ray sends
    nothing to a replica that is not warm.
    """

    _hosted: Hosted | None = None

    async def open(self, hosted: Hosted, *, log_level: str = "INFO") -> None:
        """Take the service's methods over and warm it.

        Args:
            hosted: The service.
            log_level: Least severe level that is logged.

        Raises:
            UnavailableError: NOT_READY; what only one replica may hold is not let go of.
            Exception: whatever keeps the service from starting.
        """
        isthmus_logging.configure(log_level)
        for name, method in serve_handlers(hosted).items():
            setattr(self, name, method)
        started_s = time.monotonic()
        try:
            await _warm(hosted, give_up_s=started_s + _TAKEOVER_TIMEOUT_S)
        except BaseException:
            await hosted.close()
            raise
        self._hosted = hosted
        UP.labels(hosted.name).set(1)
        log.info("replica ready", extra=fields(service=hosted.name, seconds=round(time.monotonic() - started_s, 3)))

    @property
    def is_open(self) -> bool:
        """Whether it has a service to close."""
        return self._hosted is not None

    async def check_health(self) -> None:
        """Work on a dummy; Ray replaces a replica whose check fails or hangs.

        Raises:
            Exception: whatever the service says.
        """
        if self._hosted is not None:
            await self._hosted.probe()

    async def Check(  # the name that the health protocol gives it
        self, _request: health_pb2.HealthCheckRequest, grpc_context: RayContext
    ) -> health_pb2.HealthCheckResponse:
        """Answer `grpc.health.v1`: whoever can be asked is warm."""
        del grpc_context
        return health_pb2.HealthCheckResponse(status=health_pb2.HealthCheckResponse.SERVING)

    async def close(self) -> None:
        """Let go of everything, once the last call has ended."""
        hosted, self._hosted = self._hosted, None
        if hosted is not None:
            UP.labels(hosted.name).set(0)
            await hosted.close()
            log.info("replica stopped", extra=fields(service=hosted.name))


async def _warm(hosted: Hosted, *, give_up_s: float) -> None:
    while True:
        try:
            await hosted.warm()
        except UnavailableError as error:
            if error.reason != "NOT_READY" or time.monotonic() > give_up_s:
                raise
            await asyncio.sleep(_TAKEOVER_RETRY_S)
        else:
            return
