"""One BatchSearch of 32 through gateway and searcher against FAISS alone on the same cores, and where its time goes.

ISTHMUS_BENCH_BATCH_ITEMS says how many images of 512 components there are: 100,000 unless it is set; 1,000,000 take
5 GiB and some minutes to store. Queries are vectors of texts that search images, as cached texts are once they are
looked up.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any, Final

import faiss
import numpy as np
from numpy.typing import NDArray

from isthmus.client import Client, Item, Query, SpacedVector
from tests.bench.record import Figure

__all__ = ["measure"]

ITEMS: Final = int(os.environ.get("ISTHMUS_BENCH_BATCH_ITEMS", "100000"))
DIMENSION: Final = 512
QUERIES: Final = 32
TOP_K: Final = 10
ROUNDS: Final = 15 if ITEMS <= 200_000 else 7
SHARE: Final = 0.8

_SPACE: Final = "bench@0123456789abcdef"
_COLLECTION: Final = "bench-batch"
_STEP: Final = 50_000
_WAIT_S: Final = 300.0

_faiss: Any = faiss  # its type stubs know the C++ signatures, not what its Python wrappers add


def measure(address: str) -> list[Figure]:
    """Return how fast 32 texts at a time find their 10 images, over the quicker of FAISS in one thread and in all."""
    rng = np.random.default_rng(0)
    alone = _faiss.IndexFlatIP(DIMENSION)
    with Client(address) as client:
        client.create_collection(
            _COLLECTION,
            image_space=_SPACE,
            text_space=_SPACE,
            image_dimension=DIMENSION,
            text_dimension=DIMENSION,
            index="flat_float32",  # as FAISS alone
        )
        client.upsert(_COLLECTION, _items(rng, alone))
        vectors = _unit(rng.standard_normal((QUERIES, DIMENSION), dtype=np.float32))
        queries = [Query(vector=SpacedVector(row, modality="text", space=_SPACE)) for row in vectors]
        found = client.batch_search(_COLLECTION, queries, modality="image", timeout_s=_WAIT_S)
        _compare(found, alone, vectors)
        searches: list[int] = []

        def ask(*, basic: bool) -> None:
            answer = client.batch_search(_COLLECTION, queries, modality="image", top_k=TOP_K, basic=basic)
            searches.append(answer.timings.search_micros)

        best = _quickest_s(
            lambda: _alone(alone, vectors, threads=1),
            lambda: _alone(alone, vectors, threads=len(os.sched_getaffinity(0))),
            lambda: ask(basic=False),
            lambda: ask(basic=True),
        )
        client.delete_collection(_COLLECTION)
    faiss_s = min(best[:2])
    full, basic = (faiss_s / ours_s for ours_s in best[2:])
    parts = (
        f"mesh {best[2] * 1000:.1f} ms, BASIC {best[3] * 1000:.1f} ms, of it search {min(searches) / 1000:.1f} ms; "
        f"FAISS {best[0] * 1000:.1f} ms in one thread, {best[1] * 1000:.1f} ms in all"
    )
    what = f"BatchSearch of {QUERIES} texts on {ITEMS:,} images x {DIMENSION}, top {TOP_K}"
    return [
        Figure(f"{what}, over FAISS alone (queries/s)", f"{full:.2f}", f"≥ {SHARE}", parts, full >= SHARE),
        Figure(f"{what}, view BASIC, over FAISS alone", f"{basic:.2f}", f"≥ {SHARE}", "", basic >= SHARE),
        Figure(f"{what}, queries a second", f"{QUERIES / best[2]:.0f}/s", "", f"FAISS {QUERIES / faiss_s:.0f}/s"),
    ]


def _items(rng: np.random.Generator, alone: Any) -> Iterator[Item]:
    """Yield images with three attributes each; FAISS gets their vectors as the store rounds them."""
    for start in range(0, ITEMS, _STEP):
        rows = _unit(rng.standard_normal((min(_STEP, ITEMS - start), DIMENSION), dtype=np.float32))
        rows = rows.astype(np.float16).astype(np.float32)
        alone.add(rows)
        for place, row in enumerate(rows):
            number = start + place
            yield Item(
                id=f"item-{number}",
                vector=SpacedVector(row, modality="image", space=_SPACE),
                attributes={"title": f"Thing number {number}", "price": number / 7, "in_stock": number % 3 == 0},
            )


def _compare(found: Any, alone: Any, vectors: NDArray[np.float32]) -> None:
    """Check that the mesh and FAISS agree before their times are compared."""
    _, rows = alone.search(vectors, TOP_K)
    ours = [{neighbor.id for neighbor in one.neighbors} for one in found.results]
    overlap = statistics.mean(
        len(mine & {f"item-{row}" for row in theirs}) / TOP_K for mine, theirs in zip(ours, rows.tolist(), strict=True)
    )
    # Vectors are scaled to unit norm and rounded once more on the way, so near ties may change places.
    assert overlap >= 0.98, overlap


def _alone(index: Any, vectors: NDArray[np.float32], *, threads: int) -> None:
    _faiss.omp_set_num_threads(threads)
    index.search(vectors, TOP_K)


def _quickest_s(*works: Callable[[], object]) -> list[float]:
    """Return the quickest of each kind of call, taken in turn, for other work only ever adds."""
    best = [float("inf")] * len(works)
    for _ in range(ROUNDS):
        for place, work in enumerate(works):
            started_s = time.perf_counter()
            work()
            best[place] = min(best[place], time.perf_counter() - started_s)
    return best


def _unit(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    scaled: NDArray[np.float32] = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return scaled
