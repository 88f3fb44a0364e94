"""A vector query through the mesh against FAISS alone."""

from __future__ import annotations

import statistics
import time

import faiss
import numpy as np
from numpy.typing import NDArray

from isthmus.client import Client, Item, SpacedVector
from tests.bench.load import latencies_s, median_ms
from tests.bench.record import Figure

__all__ = ["measure"]

ITEMS = 100_000
DIMENSION = 512
SPACE = "bench@0123456789abcdef"
ROUNDS = 5
CALLS = 60


def measure(address: str) -> list[Figure]:
    """Return what the mesh adds to a top-10 query on 100,000 items, and how fast those items were stored."""
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((ITEMS, DIMENSION), dtype=np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    queries = rng.standard_normal((CALLS, DIMENSION), dtype=np.float32)
    alone = faiss.IndexFlatIP(DIMENSION)
    alone.add(vectors)
    with Client(address) as client:
        client.create_collection("bench-100k", image_space=SPACE, image_dimension=DIMENSION)
        started_s = time.perf_counter()
        summary = client.upsert("bench-100k", (_item(n, vector) for n, vector in enumerate(vectors)))
        stored_per_s = ITEMS / (time.perf_counter() - started_s)
        assert summary.created == ITEMS
        client.search("bench-100k", vector=_query(queries[0]), timeout_s=60)
        ours_ms, alone_ms, differences = [], [], []
        for _ in range(ROUNDS):
            alone_ms.append(min(_alone_ms(alone, queries, threads=count) for count in (1, 2)))
            waiting = iter([*queries, *queries])
            ours = latencies_s(
                lambda: client.search("bench-100k", vector=_query(next(waiting)), top_k=10),  # noqa: B023
                count=CALLS,
                warm_up=CALLS,
            )
            ours_ms.append(statistics.median(ours) * 1000)
            differences.append(ours_ms[-1] - alone_ms[-1])
        client.delete_collection("bench-100k")
    added_ms = statistics.median(differences)
    parts = f"mesh {statistics.median(ours_ms):.2f} ms, FAISS {statistics.median(alone_ms):.2f} ms, p50"
    return [
        Figure(
            "vector query on 100,000 x 512, top 10, over FAISS alone",
            f"{added_ms:+.2f} ms",
            "≤ +2 ms",
            parts,
            added_ms <= 2,
        ),
        Figure("vectors stored a second, 100,000 x 512, durable", f"{stored_per_s:.0f}/s"),
    ]


def _alone_ms(index: faiss.IndexFlatIP, queries: NDArray[np.float32], *, threads: int) -> float:
    """Return FAISS's own p50 with so many threads: which count is quicker differs from machine to machine."""
    faiss.omp_set_num_threads(threads)
    waiting = iter([*queries, *queries])
    return median_ms(latencies_s(lambda: index.search(next(waiting)[None], 10), count=CALLS, warm_up=CALLS))


def _item(number: int, vector: np.ndarray) -> Item:
    return Item(id=str(number), vector=SpacedVector(vector, modality="image", space=SPACE))


def _query(vector: np.ndarray) -> SpacedVector:
    return SpacedVector(vector, modality="image", space=SPACE)
