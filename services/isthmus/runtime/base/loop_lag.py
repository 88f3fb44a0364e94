"""How late the event loop is: the one figure that tells when something blocks it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Final

from isthmus.runtime.base.metrics import SECONDS_BUCKETS, Histogram

__all__ = ["LOOP_LAG_SECONDS", "watched_loop"]

_INTERVAL_S: Final = 0.02

LOOP_LAG_SECONDS: Final = Histogram(
    "isthmus_event_loop_lag_seconds",
    "How much later than asked a sleeping task of the event loop woke up.",
    buckets=SECONDS_BUCKETS,
)


async def _watch() -> None:
    loop = asyncio.get_running_loop()
    while True:
        due_s = loop.time() + _INTERVAL_S
        await asyncio.sleep(_INTERVAL_S)
        LOOP_LAG_SECONDS.observe(max(0.0, loop.time() - due_s))


@contextlib.asynccontextmanager
async def watched_loop() -> AsyncIterator[None]:
    """Observe the running loop's lag fifty times a second."""
    watcher = asyncio.ensure_future(_watch())
    try:
        yield
    finally:
        watcher.cancel()
