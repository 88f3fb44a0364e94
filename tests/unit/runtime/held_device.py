"""A batcher over a device that a test can hold, and what it reported."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from isthmus.runtime.base.batching import BatchLimits, MicroBatcher, Outcome
from isthmus.runtime.base.errors import (
    IsthmusError,
)


@dataclass
class Events:
    """Remembers what the batcher reported."""

    passes: list[int] = field(default_factory=list)
    drops: list[str] = field(default_factory=list)
    failures: int = 0
    waits: list[float] = field(default_factory=list)
    seconds: float = 0.0

    def forwarded(self, *, count: int, seconds: float) -> None:
        """Remember a forward pass."""
        self.passes.append(count)
        self.seconds += seconds

    def waited(self, *, seconds: float) -> None:
        """Remember a wait."""
        self.waits.append(seconds)

    def dropped(self, *, why: str) -> None:
        """Remember a drop."""
        self.drops.append(why)

    def failed(self) -> None:
        """Remember a guilty item."""
        self.failures += 1


@dataclass
class Device:
    """A forward function that can be held, counts its batches, and chokes on what it is told to."""

    poison: frozenset[int] = frozenset()
    seconds: float = 0.0
    batches: list[list[int]] = field(default_factory=list)
    gate: threading.Event = field(default_factory=threading.Event)
    entered: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        """Start open."""
        self.gate.set()

    def forward(self, batch: Sequence[int]) -> list[int]:
        """Return ten times each item."""
        self.batches.append(list(batch))
        self.entered.set()
        assert self.gate.wait(10)
        time.sleep(self.seconds)
        if self.poison & set(batch):
            msg = "secret inside"
            raise RuntimeError(msg)
        return [10 * item for item in batch]


Batcher = MicroBatcher[int, int, int]


@asynccontextmanager
async def running_batcher(
    device: Device,
    *,
    prepare: Callable[[int], int] = int,
    events: Events | None = None,
    size_of: Callable[[int], int] | None = None,
    **limits: float,
) -> AsyncIterator[Batcher]:
    """Run a batcher in front of a device; both are let go in the end."""
    batcher = MicroBatcher[int, int, int](
        prepare=prepare,
        forward=device.forward,
        limits=BatchLimits(**limits),  # type: ignore[arg-type]
        events=events or Events(),
        size_of=size_of,
    )
    try:
        yield batcher
    finally:
        device.gate.set()
        await batcher.close()


async def held(device: Device, batcher: Batcher) -> asyncio.Task[list[Outcome[int]]]:
    """Occupy the device with one item, and return when it is inside."""
    device.gate.clear()
    device.entered.clear()
    first = asyncio.ensure_future(batcher.submit_many([0]))
    assert await asyncio.to_thread(device.entered.wait, 5)
    return first


def errors_of(outcomes: Sequence[Outcome[int]]) -> dict[int, IsthmusError]:
    """Return what was refused, by place."""
    return {index: outcome.error for index, outcome in enumerate(outcomes) if outcome.error is not None}
