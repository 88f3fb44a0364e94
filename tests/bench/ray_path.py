"""The path through Ray Serve (HAProxy) against six plain processes: same machine, same run, round by round in turn."""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from isthmus.client import AsyncClient
from tests.bench.load import fresh_images, fresh_texts
from tests.bench.record import Figure
from tests.harness.processes import start_processes
from tests.harness.ray_mesh import start_ray_mesh

__all__ = ["measure"]

ROUNDS = 5
P50_TARGET = 2.0
THROUGHPUT_TARGET = 0.7

Call = Callable[[Sequence[Any]], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class _Round:
    """What one side did in one round."""

    p50_s: float
    items_per_s: float


async def _round(call: Call, batches: Sequence[Sequence[Any]], *, callers: int) -> _Round:
    waiting, durations = iter(batches), []

    async def caller() -> None:
        for batch in waiting:
            started_s = time.perf_counter()
            await call(batch)
            durations.append(time.perf_counter() - started_s)

    started_s = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for _ in range(callers):
            group.create_task(caller())
    return _Round(statistics.median(durations), sum(map(len, batches)) / (time.perf_counter() - started_s))


async def _compare(
    name: str, plain: Call, ray: Call, *, fresh: Callable[[], Sequence[Any]], size: int, callers: int
) -> list[Figure]:
    """Return p50 and throughput of Ray over plain: the median of the rounds' ratios; a first round only warms."""
    rounds: list[tuple[_Round, _Round]] = []
    for turn in range(ROUNDS + 1):
        both = []
        for call in (plain, ray):
            items = fresh()
            batches = [items[start : start + size] for start in range(0, len(items), size)]
            both.append(await _round(call, batches, callers=callers))
        if turn:
            rounds.append((both[0], both[1]))
    p50 = statistics.median(r.p50_s / p.p50_s for p, r in rounds)
    throughput = statistics.median(r.items_per_s / p.items_per_s for p, r in rounds)
    plain_ms, ray_ms = (1000 * statistics.median(pair[side].p50_s for pair in rounds) for side in (0, 1))
    plain_rate, ray_rate = (statistics.median(pair[side].items_per_s for pair in rounds) for side in (0, 1))
    return [
        Figure(
            f"{name}, p50, Ray over plain",
            f"{p50:.2f}",
            f"≤ {P50_TARGET:g}",
            f"Ray {ray_ms:.1f} ms, plain {plain_ms:.1f} ms",
            p50 <= P50_TARGET,
        ),
        Figure(
            f"{name}, throughput, Ray over plain",
            f"{throughput:.2f}",
            f"≥ {THROUGHPUT_TARGET:g}",
            f"Ray {ray_rate:.0f}/s, plain {plain_rate:.0f}/s",
            throughput >= THROUGHPUT_TARGET,
        ),
    ]


async def _measure(plain_address: str, ray_address: str) -> list[Figure]:
    async with AsyncClient(plain_address) as plain, AsyncClient(ray_address) as ray:

        def texts(client: AsyncClient) -> Call:
            return lambda batch: client.embed(texts=batch)

        def images(client: AsyncClient) -> Call:
            return lambda batch: client.embed(images=batch, timeout_s=30)

        figures = []
        for callers, count in ((1, 60), (32, 640)):
            figures += await _compare(
                f"single texts from {callers} caller{'s'[: callers > 1]}",
                texts(plain),
                texts(ray),
                fresh=partial(fresh_texts, count),
                size=1,
                callers=callers,
            )
        figures += await _compare(
            "images in batches of 32 from 1 caller",
            images(plain),
            images(ray),
            fresh=partial(fresh_images, 96),
            size=32,
            callers=1,
        )
        return figures


def measure(_address: str) -> list[Figure]:
    """Start both meshes, which take turns, and return six ratios."""
    with tempfile.TemporaryDirectory() as folder:
        plain_dir, ray_dir = Path(folder) / "plain", Path(folder) / "ray"
        with start_processes(plain_dir) as processes, start_ray_mesh(ray_dir) as ray:
            figures = asyncio.run(_measure(processes["gateway"].address, ray.address))
            ray.terminate()
            return figures
