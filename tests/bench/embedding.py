"""Embedding through the gateway against the engine called directly with the same bytes."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any

from isthmus.client import AsyncClient
from isthmus.image_encoder.config import ImageEncoderConfig
from isthmus.image_encoder.engine import image_encoder_engine
from isthmus.text_encoder.config import TextEncoderConfig
from isthmus.text_encoder.engine import text_encoder_engine
from tests.bench.load import fresh_images, fresh_texts
from tests.bench.record import Figure

__all__ = ["measure"]

ROUNDS = 5

Call = Callable[[Sequence[Any]], Awaitable[object]]


async def _items_per_s(call: Call, batches: Sequence[Sequence[Any]], *, callers: int) -> float:
    """Send every batch, `callers` at a time, and return items a second."""
    waiting = iter(batches)

    async def caller() -> None:
        for batch in waiting:
            await call(batch)

    started_s = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for _ in range(callers):
            group.create_task(caller())
    return sum(map(len, batches)) / (time.perf_counter() - started_s)


def _split(items: Sequence[Any], size: int) -> list[Sequence[Any]]:
    return [items[start : start + size] for start in range(0, len(items), size)]


async def _compare(
    name: str,
    target: float,
    *,
    fresh: Callable[[], Sequence[Any]],
    engine: tuple[Call, int, int],
    gateway: tuple[Call, int, int],
) -> Figure:
    """Measure both in turn, round by round; (call, batch size, callers) for each side."""
    ratios, engine_rates, gateway_rates = [], [], []
    for turn in range(ROUNDS + 1):
        rates = []
        for call, size, callers in (engine, gateway):
            rates.append(await _items_per_s(call, _split(fresh(), size), callers=callers))
        if turn:
            engine_rates.append(rates[0])
            gateway_rates.append(rates[1])
            ratios.append(rates[1] / rates[0])
    ratio = statistics.median(ratios)
    parts = f"gateway {statistics.median(gateway_rates):.0f}/s, engine {statistics.median(engine_rates):.0f}/s"
    return Figure(name, f"{ratio:.2f}", f"≥ {target:.2f}", parts, ratio >= target)


async def measure(address: str) -> list[Figure]:
    """Return four ratios: images by 32, texts by 64, single texts from 8 and from 32 callers."""
    images = image_encoder_engine(ImageEncoderConfig.load())
    texts = text_encoder_engine(TextEncoderConfig.load())
    await images.start()
    await texts.start()
    async with AsyncClient(address) as client:

        async def embed_images(batch: Sequence[bytes]) -> object:
            return await client.embed(images=batch)

        async def embed_texts(batch: Sequence[str]) -> object:
            return await client.embed(texts=batch)

        figures = []
        for callers in (2, 4):  # few callers show the longer path's latency, more show throughput at saturation
            figures.append(
                await _compare(
                    f"images in batches of 32 from {callers} callers, gateway over engine",
                    0.90,
                    fresh=partial(fresh_images, 96 * callers),
                    engine=(images.encode, 32, callers),
                    gateway=(embed_images, 32, callers),
                )
            )
            figures.append(
                await _compare(
                    f"texts in batches of 64 from {callers} callers, gateway over engine",
                    0.90,
                    fresh=partial(fresh_texts, 1536),
                    engine=(texts.encode, 64, callers),
                    gateway=(embed_texts, 64, callers),
                )
            )
        figures += [
            await _compare(
                f"single texts from {callers} callers over engine at batch {callers}",
                0.70,
                fresh=partial(fresh_texts, 40 * callers),
                engine=(texts.encode, callers, 1),
                gateway=(embed_texts, 1, callers),
            )
            for callers in (8, 32)
        ]
    await images.close()
    await texts.close()
    return figures
