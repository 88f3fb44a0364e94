"""Work side by side: all results, or the first failure as it is."""

from __future__ import annotations

import asyncio
import threading

import pytest

from isthmus.gateway.gather import gather_all
from isthmus.gateway.offload import Offload
from isthmus.runtime.base.errors import UnavailableError


async def _wait(seconds: float, result: str) -> str:
    await asyncio.sleep(seconds)
    return result


async def test_results_come_in_the_order_given() -> None:
    """Whoever ends first, the order stays; nothing gives nothing."""
    assert await gather_all([_wait(0.02, "a"), _wait(0, "b")]) == ["a", "b"]
    assert await gather_all([]) == []


async def test_a_failure_calls_off_the_rest() -> None:
    """The error is raised as it is, not in a group, and nobody is left running."""
    cancelled = asyncio.Event()

    async def _endless() -> str:
        try:
            return await _wait(60, "never")
        except asyncio.CancelledError:
            cancelled.set()
            raise

    async def _fail() -> str:
        await asyncio.sleep(0)
        msg = "away"
        raise UnavailableError(msg, reason="BACKEND_UNAVAILABLE")

    with pytest.raises(UnavailableError):
        await gather_all([_endless(), _fail()])
    assert cancelled.is_set()


async def test_small_work_stays_and_large_work_goes_to_a_thread() -> None:
    """What takes long does not hold up the loop; what does not is not sent around."""
    offload = Offload()
    try:
        assert await offload.run(threading.current_thread, size_bytes=1_000) is threading.main_thread()
        assert await offload.run(threading.current_thread, size_bytes=1_000_000) is not threading.main_thread()
        assert await offload.run(threading.current_thread, count=1_000) is not threading.main_thread()
    finally:
        offload.close()
