"""Calls at a steady rate, whatever becomes of them: an open loop, so that a slow answer delays no later call."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable

from prometheus_client import REGISTRY

from isthmus.client import IsthmusError

__all__ = ["Attempts", "SteadyLoad", "until"]

_WAITING_MAX_COUNT = 500


class SteadyLoad:
    """Sends `calls_per_s` calls a second until it is left.

    Args:
        send: Makes one call; gets its number.
        calls_per_s: How many.

    Attributes:
        sent: Calls begun.
        failed: Calls that failed after the client's retries, by code and reason.
        slowest_s: Longest call.
    """

    def __init__(self, send: Callable[[int], Awaitable[object]], *, calls_per_s: float) -> None:
        self._send = send
        self._pause_s = 1 / calls_per_s
        self.sent = 0
        self.failed: Counter[str] = Counter()
        self.slowest_s = 0.0

    async def _one(self, number: int) -> None:
        started_s = time.monotonic()
        try:
            await self._send(number)
        except IsthmusError as error:
            self.failed[f"{error.code} {error.reason}"] += 1
        self.slowest_s = max(self.slowest_s, time.monotonic() - started_s)

    async def _run(self) -> None:
        waiting: set[asyncio.Task[None]] = set()
        due_s = time.monotonic()
        try:
            while True:
                assert len(waiting) < _WAITING_MAX_COUNT, "the mesh does not answer any more"
                task = asyncio.create_task(self._one(self.sent))
                self.sent += 1
                waiting.add(task)
                task.add_done_callback(waiting.discard)
                due_s += self._pause_s
                await asyncio.sleep(max(0.0, due_s - time.monotonic()))
        finally:
            await asyncio.gather(*waiting)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Send from here to the end of the block, and wait for the last answer."""
        sending = asyncio.create_task(self._run())
        try:
            yield
        finally:
            sending.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await sending


class Attempts:
    """Attempts that failed since it was made, at both hops, from the gateway's own metrics (in this process)."""

    def __init__(self) -> None:
        self._before = self._now()

    @staticmethod
    def _now() -> Counter[str]:
        found: Counter[str] = Counter()
        for family in REGISTRY.collect():
            for sample in family.samples:
                labels = sample.labels
                if sample.name == "isthmus_rpc_seconds_count" and labels["code"] != "OK":
                    found[f"client to gateway: {labels['code']}"] += int(sample.value)
                is_call = sample.name == "isthmus_backend_calls_total"
                if is_call and labels["code"] != "OK" and labels["backend"] != "direct":
                    found[f"gateway to {labels['backend']}: {labels['code']}"] += int(sample.value)
        return found

    def failed(self) -> dict[str, int]:
        """Return how many failed, by hop and code."""
        return dict(self._now() - self._before)


async def until(met: Callable[[], bool | Awaitable[bool]], *, timeout_s: float = 30.0) -> None:
    """Wait until `met` returns true; it is asked ten times a second.

    Raises:
        TimeoutError: it does not within `timeout_s`.
    """
    async with asyncio.timeout(timeout_s):
        while True:
            answer = met()
            if answer if isinstance(answer, bool) else await answer:
                return
            await asyncio.sleep(0.1)
