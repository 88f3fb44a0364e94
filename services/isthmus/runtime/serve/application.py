"""Bind a service to Ray Serve."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from ray import serve
from ray.serve import Application

from isthmus.runtime.rpc.server import Hosted
from isthmus.runtime.serve.ray_metrics import RayMetrics
from isthmus.runtime.serve.replica import Replica

__all__ = ["Application", "bind", "with_options"]

_MAX_ONGOING_REQUESTS: Final = 256
_MAX_QUEUED_REQUESTS: Final = 256


class ServiceReplica(Replica):
    """A replica that makes its own service.

    Args:
        make: Makes the service of its settings; a function of a module, so that every node can import it.
        settings: By the names that the service's configuration gives them.
    """

    async def __init__(  # type: ignore[misc] # Ray awaits it
        self, make: Callable[[dict[str, Any]], Hosted], settings: dict[str, Any]
    ) -> None:
        await self.open(make(settings), log_level=str(settings.get("log_level", "INFO")))
        self._exporting = asyncio.create_task(RayMetrics().run())

    def __del__(self) -> Awaitable[None] | None:
        """Return what Ray awaits once the last call has ended; the garbage collector comes later and finds nothing."""
        if not self.is_open:
            return None
        self._exporting.cancel()
        return self.close()


def bind(name: str, make: Callable[[dict[str, Any]], Hosted], settings: dict[str, Any]) -> Application:
    """Return the application of one deployment.

    Args:
        name: Of the deployment; a Serve config sets its options under this name.
        make: Makes the service of its settings, in every replica anew.
        settings: By the names that the service's configuration gives them.
    """
    deployment = serve.deployment(
        name=name,
        # What a Serve config may change, but never leave out: Ray's own default is a queue without end.
        max_ongoing_requests=_MAX_ONGOING_REQUESTS,
        max_queued_requests=_MAX_QUEUED_REQUESTS,
    )(ServiceReplica)
    application: Application = deployment.bind(make, settings)
    return application


def with_options(application: Application, options: Mapping[str, Any], *, version: str) -> Application:
    """Return the application with options of its deployment changed, as a Serve config would.

    Args:
        application: Of one deployment.
        options: As in the `deployments` of a Serve config.
        version: Replicas of another version are replaced; those of the same one stay, however many there are to be.
    """
    # Ray has no public way from an application to its deployment, nor to its version: without one, every run of the
    # same code would replace every replica. Its own CLI and its handling of Serve configs go this way too.
    deployment = application._bound_deployment  # noqa: SLF001
    return Application(deployment.options(**options, version=version, _internal=True))
