"""`isthmus up`: one mesh on this machine until somebody ends it, whatever hosts the services behind its gateway."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Final, TypeAlias

from isthmus.deploy.embedded import embedded_mesh
from isthmus.deploy.embedded_config import EmbeddedConfig
from isthmus.deploy.ray_mesh import ray_mesh
from isthmus.runtime.base import logging as isthmus_logging
from isthmus.runtime.base import metrics
from isthmus.runtime.base.loop_lag import watched_loop

__all__ = ["EmbeddedConfig", "run"]

_Mesh: TypeAlias = Callable[[EmbeddedConfig], AbstractAsyncContextManager[str]]

_MESHES: Final[Mapping[str, _Mesh]] = {"embedded": embedded_mesh, "ray": ray_mesh}


async def _run(mesh: _Mesh, config: EmbeddedConfig) -> None:
    stopping, ready = asyncio.Event(), asyncio.Event()

    async def serve() -> None:
        async with mesh(config) as address, watched_loop():
            ready.set()
            print(f"isthmus ready {address}", flush=True)
            await stopping.wait()

    serving = asyncio.ensure_future(serve())

    def on_signal() -> None:
        stopping.set()
        # Before the mesh is ready nobody waits for `stopping`: give up warming instead.
        if not ready.is_set():
            serving.cancel()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal)
    try:
        await serving
    except asyncio.CancelledError:
        if not stopping.is_set():
            raise


def run(config: EmbeddedConfig) -> int:
    """Run the mesh until SIGTERM or SIGINT; print `isthmus ready HOST:PORT` on stdout when it is warm.

    Returns:
        The exit status: 0 after a clean drain.

    Raises:
        OSError: the port or the data directory is taken.
        ImportError: Ray is asked for and not installed.
    """
    isthmus_logging.configure(config.log_level)
    if config.metrics_port is not None:
        metrics.expose(config.metrics_port, host=config.metrics_host)
    asyncio.run(_run(_MESHES[config.engine], config))
    return 0
