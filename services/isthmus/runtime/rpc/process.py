"""`python -m isthmus.<service>`: one service alone in its process."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from isthmus.runtime.base import logging as isthmus_logging
from isthmus.runtime.base import metrics
from isthmus.runtime.base.loop_lag import watched_loop
from isthmus.runtime.rpc.server import Hosted, RpcServer, run_until_signal

__all__ = ["serve"]


def serve(
    build: Callable[[], Hosted],
    *,
    listen: str,
    drain_wait_s: float = 0.0,
    metrics_port: int | None = None,
    log_level: str = "INFO",
) -> int:
    """Run the service that `build` makes until SIGTERM; print `isthmus NAME ready ADDRESS` on stdout when it is warm.

    Returns:
        The exit status: 0 after a clean drain.
    """
    isthmus_logging.configure(log_level)
    if metrics_port is not None:
        metrics.expose(metrics_port)

    async def run() -> None:
        hosted = build()
        async with watched_loop():
            await run_until_signal(
                RpcServer(hosted, listen),
                on_ready=lambda address: print(f"isthmus {hosted.name} ready {address}", flush=True),
                drain_wait_s=drain_wait_s,
            )

    asyncio.run(run())
    return 0
