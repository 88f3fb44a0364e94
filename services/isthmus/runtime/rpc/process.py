"""`python -m isthmus.<service>`: one service alone in its process."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Callable
from typing import Final, TypeVar

from isthmus.runtime.base import logging as isthmus_logging
from isthmus.runtime.base import metrics
from isthmus.runtime.base.config import first_complaint
from isthmus.runtime.base.loop_lag import watched_loop
from isthmus.runtime.base.reload import UnusableFileError
from isthmus.runtime.base.server_config import ServerConfig
from isthmus.runtime.rpc.server import Hosted, RpcServer, run_until_signal

__all__ = ["complain", "run"]

ConfigT = TypeVar("ConfigT", bound=ServerConfig)

log = logging.getLogger("isthmus.rpc")

_FAILED: Final = 1
_USAGE: Final = 2


def run(load: Callable[[], ConfigT], build: Callable[[ConfigT], Hosted]) -> int:
    """Run a service until SIGTERM; print `isthmus NAME ready ADDRESS` on stdout when it is warm.

    Args:
        load: Reads its settings.
        build: Makes the service of them.

    Returns:
        The exit status: 0 after a clean drain; 1 when it cannot start, 2 when its settings are wrong, both said on
        stderr.
    """
    try:
        config = load()
    except ValueError as error:
        return complain(first_complaint(error), status=_USAGE)
    isthmus_logging.configure(config.log_level)
    if config.metrics_port is not None:
        metrics.expose(config.metrics_port, host=config.metrics_host)
    try:
        asyncio.run(_serve(config, build))
    except (OSError, UnusableFileError) as error:
        log.debug("start failed", exc_info=error)
        return complain(str(error))
    return 0


async def _serve(config: ConfigT, build: Callable[[ConfigT], Hosted]) -> None:
    hosted = build(config)
    async with watched_loop():
        await run_until_signal(
            RpcServer(hosted, config.listen, config.transport()),
            on_ready=lambda address: print(f"isthmus {hosted.name} ready {address}", flush=True),
            drain_wait_s=config.drain_wait_s,
        )


def complain(message: str, *, status: int = _FAILED) -> int:
    """Say on one line of stderr why the process does not run; return `status`."""
    sys.stderr.write(f"isthmus: {' '.join(message.split())}\n")
    return status
