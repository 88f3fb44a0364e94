"""Segments of a million images as a searcher holds them, and what is asked of them and timed."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import faiss
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from isthmus.core.modality import Modality
from isthmus.index import ranking
from isthmus.index.search_pool import SearchPool
from isthmus.index.segments import SEGMENT_MAX_ROWS, LiveSegment, Segment
from isthmus.index.structures import Arranged, Coarse, Effort, Kind, Part, train, tuned
from isthmus.runtime.base.filters import Filter
from tests.bench.filtering import COLORS, Columns

__all__ = ["BATCH", "RECALL_MIN", "TOP_K", "Built", "Parts", "Speed", "built", "recall", "segments_of", "speed"]

TOP_K: Final = 10
BATCH: Final = 32
RECALL_MIN: Final = 0.95
_SPEED_S: Final = 2.0
_CALLS_MIN: Final = 4

_faiss: Any = faiss  # its type stubs know the C++ signatures, not what its Python wrappers add

Rows: TypeAlias = NDArray[np.float32]
Parts: TypeAlias = Sequence[LiveSegment]


def segments_of(images: Rows, columns: Columns) -> list[LiveSegment]:
    """Return images as segments of the largest size, with a price and a color each.

    Args:
        images: (n, d) unit norm.
        columns: Of n items.
    """
    return [
        LiveSegment(_segment(images[start : start + SEGMENT_MAX_ROWS], columns, start))
        for start in range(0, len(images), SEGMENT_MAX_ROWS)
    ]


def _segment(rows: Rows, columns: Columns, start: int) -> Segment:
    numbers = range(start, start + len(rows))
    attributes = [
        json.dumps({"color": COLORS[columns.colors[number]], "price": columns.prices[number]}).encode()
        for number in numbers
    ]
    items = pa.table(
        {
            "id": [str(number) for number in numbers],
            "attributes": pa.array(attributes, pa.binary()),
            "pair_key": [""] * len(rows),
            "content_digest": [b""] * len(rows),
            "revision": [1] * len(rows),
            "_rowid": pa.array(numbers, pa.uint64()),
        }
    )
    return Segment(Modality.IMAGE, [rows], items)


@dataclass(frozen=True, kw_only=True)
class Built:
    """Segments that are searched by structures of one kind, as hard as a recall on captions asks for.

    Attributes:
        parts: The segments.
        coarse: Lists of an IVF.
        effort: How hard they are searched.
        train_s: Time to learn what they share.
        build_s: Time to build all of them, beside it.
        nbytes: Memory of the structures and of what they share; without float32 rows, which answers are scored by.
    """

    parts: Parts
    coarse: Coarse | None
    effort: Effort
    train_s: float
    build_s: float
    nbytes: int

    def searched_by(self, effort: Effort) -> Parts:
        """Return the segments searched as hard as told."""
        return [_with_effort(part, effort) for part in self.parts]


def _with_effort(part: LiveSegment, effort: Effort) -> LiveSegment:
    assert part.segment.arranged is not None
    return LiveSegment(part.segment.arranged_as(part.segment.arranged.with_effort(effort)))


def built(
    kind: Kind, parts: Parts, *, sample: Rows, captions: Rows | None, tuning: Rows, coarse: Coarse | None = None
) -> Built:
    """Train on a sample, build every segment, and find the effort that meets RECALL_MIN.

    Args:
        kind: Of the structures.
        parts: The segments, searched exactly.
        sample: (n, d) images.
        captions: (m, d) what the other modality asks; None trains on images alone.
        tuning: (q, d) captions that recall is tuned by.
        coarse: Lists that are at hand already.
    """
    started_s = time.perf_counter()
    rows = sum(part.segment.rows for part in parts)
    trained = train(kind, sample, queries=captions, rows=rows, coarse=coarse)
    trained_s = time.perf_counter()
    structures = [trained.build(part.segment.vectors) for part in parts]
    built_s = time.perf_counter()
    measured = [
        Part(part.segment.vectors, Arranged(structure, next(iter(structure.efforts()))))
        for part, structure in zip(parts, structures, strict=True)
    ]
    effort = tuned(measured, tuning, recall_min=RECALL_MIN).effort
    return Built(
        parts=[
            LiveSegment(part.segment.arranged_as(Arranged(structure, effort)))
            for part, structure in zip(parts, structures, strict=True)
        ],
        coarse=trained.coarse,
        effort=effort,
        train_s=trained_s - started_s,
        build_s=built_s - trained_s,
        nbytes=trained.nbytes + sum(structure.nbytes for structure in structures),
    )


def recall(parts: Parts, queries: Rows, truth: Rows, where: Filter | None = None) -> float:
    """Return the share of true neighbours found; checks that there are as many answers as there can be.

    Args:
        parts: The segments.
        queries: (q, d).
        truth: (q, k) scores of the true neighbours, best first; k less than TOP_K only where no more are left.
        where: Filter.
    """
    found = np.concatenate(
        [
            ranking._best_of(parts, queries[start : start + BATCH], TOP_K, where)[0]
            for start in range(0, len(queries), BATCH)
        ]
    )
    assert found.shape[1] >= truth.shape[1]
    assert (found[:, : truth.shape[1]] > -np.inf).all(), "fewer answers than items that a filter leaves"
    # Answers are scored exactly, but truth by a product, which adds up in another order.
    return float((found[:, : truth.shape[1]] >= truth[:, -1:] - 1e-6).mean())


@dataclass(frozen=True, kw_only=True)
class Speed:
    """Queries a second, of both cores."""

    single: float
    """Asked one at a time by two callers."""
    batch: float
    """Asked 32 at a time by one."""

    def __str__(self) -> str:
        return f"{self.single:,.0f}/s by one, {self.batch:,.0f}/s by {BATCH}"


def speed(parts: Parts, queries: Rows, *, threads: int) -> Speed:
    """Time searches in a searcher's pool of threads."""
    return asyncio.run(_speed(parts, queries, threads=threads))


async def _speed(parts: Parts, queries: Rows, *, threads: int) -> Speed:
    pool = SearchPool(threads=threads, queue_count=threads)
    try:
        single = await _rate(pool, lambda asked: ranking._best_of(parts, asked, TOP_K, None), queries, 1, threads)
        batch = await _rate(pool, lambda asked: ranking._best_of(parts, asked, TOP_K, None), queries, BATCH, 1)
    finally:
        pool.close()
    return Speed(single=single, batch=batch)


async def _rate(pool: SearchPool, ask: Callable[[Rows], object], queries: Rows, size: int, callers: int) -> float:
    """Return queries a second of so many callers that each ask `size` at a time, one call after the other."""
    await pool.run(lambda: ask(queries[:size]))
    started_s = time.perf_counter()
    calls = 0

    async def caller(first: int) -> None:
        nonlocal calls
        place = first
        while calls < _CALLS_MIN or time.perf_counter() - started_s < _SPEED_S:
            asked = queries[place : place + size] if place + size <= len(queries) else queries[:size]
            place = (place + callers * size) % len(queries)
            await pool.run(lambda: ask(asked))  # noqa: B023 - awaited before the next turn
            calls += 1

    await asyncio.gather(*(caller(number * size) for number in range(callers)))
    return calls * size / (time.perf_counter() - started_s)
