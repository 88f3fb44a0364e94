"""Filtered search of segments against brute force, at three selectivities: `make bench`, or this file's bench alone.

Brute force finds the items that are left by a pass over typed columns, gathers their vectors, multiplies and sorts.
ISTHMUS_BENCH_FILTER_ITEMS says how many items of 512 components: 100,000 unless it is set; 1,000,000 take 5 GiB.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import faiss
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from isthmus.core.modality import Modality
from isthmus.index import ranking
from isthmus.index.attributes import AttributeColumns
from isthmus.index.segments import SEGMENT_MAX_ROWS, LiveSegment, Segment
from isthmus.runtime.base.filters import AllOf, Between, End, Filter, NoneOf, OneOf
from tests.bench.record import Figure

__all__ = ["measure"]

ITEMS: Final = int(os.environ.get("ISTHMUS_BENCH_FILTER_ITEMS", "100000"))
DIMENSION: Final = 512
TOP_K: Final = 10
COLORS: Final = ("red", "green", "blue", "white")
ROUNDS: Final[Mapping[int, int]] = {1: 30, 32: 6}
"""By queries at a time: calls of each kind, in turn; the quickest counts, for other work only ever adds."""

_faiss: Any = faiss  # its type stubs know the C++ signatures, not what its Python wrappers add

Rows = NDArray[np.float32]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Columns:
    """What the filters ask of: a number and one of four texts for each item."""

    prices: NDArray[np.float64]
    colors: NDArray[np.int64]


@dataclass(frozen=True)
class Case:
    """A filter, and what brute force makes of it."""

    share: float
    where: Filter
    held: Callable[[Columns], Mask]


CASES: Final = (
    Case(0.5, OneOf("color", ("red", "blue")), lambda of: (of.colors == 0) | (of.colors == 2)),
    Case(
        0.01,
        AllOf((Between("price", None, End(0.02, closed=False)), NoneOf((OneOf("color", ("red", "blue")),)))),
        lambda of: (of.prices < 0.02) & ~((of.colors == 0) | (of.colors == 2)),
    ),
    Case(
        0.0001,
        Between("price", End(0.5, closed=True), End(0.5001, closed=False)),
        lambda of: (of.prices >= 0.5) & (of.prices < 0.5001),
    ),
)


def measure(_address: str) -> list[Figure]:
    """Return what a filter costs and what it saves; every answer is compared with brute force."""
    with threadpool_limits(1):  # as in a search thread
        _faiss.omp_set_num_threads(1)
        return list(_figures())


def _figures() -> Iterator[Figure]:
    rng = np.random.default_rng(0)
    columns = Columns(rng.random(ITEMS), rng.integers(0, len(COLORS), ITEMS))
    parts = [
        _segment(rng, columns, start, min(ITEMS, start + SEGMENT_MAX_ROWS))
        for start in range(0, ITEMS, SEGMENT_MAX_ROWS)
    ]
    yield _ordering(parts)
    vectors = np.concatenate([part.segment.vectors for part in parts])
    queries = _unit(rng.standard_normal((max(ROUNDS), DIMENSION), dtype=np.float32))
    single_ms, batch_ms = (
        _quickest_ms(rounds, lambda: ranking._best_of(parts, queries[:count], TOP_K, None))[0]  # noqa: B023 - at once
        for count, rounds in ROUNDS.items()
    )
    ratio = batch_ms / (max(ROUNDS) * single_ms)
    yield Figure(
        f"{max(ROUNDS)} queries at a time on {ITEMS:,} x {DIMENSION} over one by one, one thread",
        f"{ratio:.2f}",
        "≤ 0.5",
        f"{batch_ms:.1f} ms for {max(ROUNDS)}, {single_ms:.1f} ms for one",
        ratio <= 0.5,
    )
    for case in CASES:
        for count in ROUNDS:
            asked = queries[:count]
            left = np.flatnonzero(case.held(columns))
            assert 0.5 * case.share < len(left) / ITEMS < 2 * case.share
            _compare(parts, vectors, asked, case.where, left)
            ours_ms, brute_ms, whole_ms = _quickest_ms(
                ROUNDS[count],
                lambda: ranking._best_of(parts, asked, TOP_K, case.where),  # noqa: B023 - called before the next turn
                lambda: _brute(vectors, np.flatnonzero(case.held(columns)), asked),  # noqa: B023
                lambda: ranking._best_of(parts, asked, TOP_K, None),  # noqa: B023
            )
            ratio = ours_ms / brute_ms
            left_of = f"{100 * case.share:g} % of {ITEMS:,} x {DIMENSION}"
            yield Figure(
                f"filter that leaves {left_of}, {count} at a time, over brute force",
                f"{ratio:.2f}",
                "≤ 1",
                f"filtered {ours_ms:.2f} ms, brute force {brute_ms:.2f} ms, without a filter {whole_ms:.2f} ms",
                ratio <= 1,
            )


def _ordering(parts: Sequence[LiveSegment]) -> Figure:
    """Return what it costs to have two attributes in order beside the vectors."""
    started_s = time.perf_counter()
    parsed = [AttributeColumns.parse(part.segment.items["attributes"].chunk(0)) for part in parts]
    parsed_s = time.perf_counter() - started_s
    held_bytes = sum(
        array.nbytes
        for of_part in parsed
        for kinds in of_part.columns.values()
        for ordered in kinds.values()
        for array in (ordered.values, ordered.starts, ordered.rows)
    )
    return Figure(
        "two attributes of an item, read and ordered",
        f"{parsed_s / ITEMS * 1e6:.1f} us",
        "",
        f"{ITEMS:,} items, {held_bytes / ITEMS:.0f} bytes an item beside {4 * DIMENSION} of its vector",
    )


def _compare(
    parts: Sequence[LiveSegment], vectors: Rows, queries: Rows, where: Filter, left: NDArray[np.int64]
) -> None:
    """Check that every query gets the best of those that are left, and as many as were asked for or are there."""
    expected_scores, expected_rows = _brute(vectors, left, queries)
    scores, numbers, rows = ranking._best_of(parts, queries, TOP_K, where)
    assert scores.shape == (len(queries), min(TOP_K, len(left)))
    np.testing.assert_allclose(scores, expected_scores, atol=1e-5)
    assert (np.sort(rows + numbers * SEGMENT_MAX_ROWS) == np.sort(expected_rows)).all()


def _brute(vectors: Rows, left: NDArray[np.int64], queries: Rows) -> tuple[Rows, NDArray[np.int64]]:
    scores = queries @ vectors[left].T
    count = min(TOP_K, len(left))
    best = np.argpartition(-scores, count - 1, axis=1)[:, :count]
    order = np.argsort(-np.take_along_axis(scores, best, axis=1), axis=1)
    best = np.take_along_axis(best, order, axis=1)
    return np.take_along_axis(scores, best, axis=1), left[best]


def _quickest_ms(rounds: int, *works: Callable[[], object]) -> list[float]:
    best = [math.inf] * len(works)
    for _ in range(rounds):
        for place, work in enumerate(works):
            started_s = time.perf_counter()
            work()
            best[place] = min(best[place], (time.perf_counter() - started_s) * 1000)
    return best


def _unit(rows: Rows) -> Rows:
    scaled: Rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return scaled


def _segment(rng: np.random.Generator, columns: Columns, start: int, end: int) -> LiveSegment:
    attributes = [
        json.dumps({"color": COLORS[columns.colors[row]], "price": columns.prices[row]}).encode()
        for row in range(start, end)
    ]
    count = end - start
    items = pa.table(
        {
            "id": [str(row) for row in range(start, end)],
            "attributes": pa.array(attributes, pa.binary()),
            "pair_key": [""] * count,
            "content_digest": [b""] * count,
            "revision": [1] * count,
            "_rowid": pa.array(range(start, end), pa.uint64()),
        }
    )
    return LiveSegment(Segment(Modality.IMAGE, [_unit(rng.standard_normal((count, DIMENSION), np.float32))], items))
