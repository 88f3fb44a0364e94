"""How long a searcher alone takes until it serves, from its cache files and from the store (promise D10).

ISTHMUS_BENCH_RESTART_ITEMS says how many items of 512 components: 100,000 unless it is set.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import grpc
import numpy as np

from isthmus.core.canonical import canonical
from isthmus.core.modality import Modality
from isthmus.index.config import IndexConfig
from isthmus.index.engine import WriterEngine
from isthmus.index.model import CollectionSettings, NewItem, SpacedVectors
from isthmus.runtime.rpc.codec import encode_vectors
from isthmus.v1 import common_pb2
from isthmus.v1.index_search_service_pb2 import SearchRequest
from isthmus.v1.index_search_service_pb2_grpc import IndexSearchServiceStub
from tests.bench.record import Figure
from tests.harness.process import Process

__all__ = ["measure"]

ITEMS: Final = int(os.environ.get("ISTHMUS_BENCH_RESTART_ITEMS", "100000"))
DIMENSION: Final = 512
ROUNDS: Final = 3
QUERIES: Final = 8
TOP_K: Final = 10
SPACE: Final = "made@0000000000000000"
COLLECTION: Final = "things"
WRITE_ROWS: Final = 1_000
CACHE_WAIT_S: Final = 300.0

Answers = list[list[tuple[str, float]]]


def measure(_address: str) -> list[Figure]:
    """Return how long starts take from process creation to SERVING, and whether the first answers are equal."""
    with tempfile.TemporaryDirectory() as folder:
        return list(_figures(Path(folder)))


def _figures(folder: Path) -> Iterator[Figure]:
    asyncio.run(_fill(folder / "store"))
    from_store = [_start(folder, cached=False) for _ in range(ROUNDS)]
    cache_bytes = _fill_cache(folder)
    from_cache = [_start(folder, cached=True) for _ in range(ROUNDS)]
    assert all(answers == from_store[0][1] for _, answers in (*from_store, *from_cache))
    size = f"{ITEMS:,} x {DIMENSION}, flat, first answers equal"
    for name, target_s, found in (("the store", 15.0, from_store), ("cache files", 5.0, from_cache)):
        seconds = statistics.median(took_s for took_s, _ in found)
        parts = f"{size}; {ROUNDS} starts, {min(s for s, _ in found):.1f} to {max(s for s, _ in found):.1f} s"
        if found is from_cache:
            parts += f"; files of {cache_bytes / 2**20:.0f} MiB"
        met = seconds <= target_s if ITEMS <= 100_000 else None
        yield Figure(
            f"start of a searcher from {name} until it serves", f"{seconds:.1f} s", f"≤ {target_s:g} s", parts, met
        )


async def _fill(store_dir: Path) -> None:
    """Store canonical random vectors, images and texts by turns."""
    engine = WriterEngine(IndexConfig.load(role="writer", store_dir=store_dir, durability="process"))
    await engine.start()
    settings = CollectionSettings(
        image_space=SPACE, text_space=SPACE, image_dimension=DIMENSION, text_dimension=DIMENSION
    )
    await engine.create_collection("default", COLLECTION, settings=settings, aligner=None, request_id="create")
    rng = np.random.default_rng(0)
    for start in range(0, ITEMS, WRITE_ROWS):
        modality = Modality.IMAGE if start // WRITE_ROWS % 2 else Modality.TEXT
        ids = range(start, min(ITEMS, start + WRITE_ROWS))
        items = [NewItem(id=str(number), modality=modality, attributes={"number": number}) for number in ids]
        rows = canonical(rng.standard_normal((len(items), DIMENSION)))
        await engine.upsert(
            "default", COLLECTION, items=items, vectors={modality: SpacedVectors(SPACE, rows)}, request_id=str(start)
        )
    await engine.close()


def _searcher(folder: Path, *, cached: bool) -> Process:
    env = {"ISTHMUS_INDEX_STORE_DIR": str(folder / "store"), "ISTHMUS_INDEX_CACHE_REST_S": "0.5"}
    if cached:
        env["ISTHMUS_INDEX_CACHE_DIR"] = str(folder / "cache")
    return Process(
        ["-m", "isthmus.index", "--role", "searcher"], ready="isthmus index_search ready ", env=env, ready_timeout_s=600
    )


def _start(folder: Path, *, cached: bool) -> tuple[float, Answers]:
    """Return how long it took until it was ready, and what it answers first."""
    with _searcher(folder, cached=cached) as process:
        answers = asyncio.run(_ask(process.address))
        assert ("structures read from files" in process.log()) is cached
        return process.ready_s, answers


def _fill_cache(folder: Path) -> int:
    """Run a searcher until it has written files of all items; return their size."""
    with _searcher(folder, cached=True) as process:
        give_up_s = time.monotonic() + CACHE_WAIT_S
        files: list[Path] = []
        while len({file.name.partition("-")[0] for file in files}) < len(Modality):
            assert time.monotonic() < give_up_s, process.log()
            time.sleep(0.2)
            files = list((folder / "cache").rglob("*.cache"))
        return sum(file.stat().st_size for file in (folder / "cache").rglob("*.cache"))


async def _ask(address: str) -> Answers:
    queries = canonical(np.random.default_rng(1).standard_normal((QUERIES, DIMENSION)))
    async with grpc.aio.insecure_channel(address) as channel:
        response = await IndexSearchServiceStub(channel).Search(
            SearchRequest(
                collection=COLLECTION,
                modality=common_pb2.MODALITY_TEXT,
                space=SPACE,
                queries=encode_vectors(queries),
                top_k=TOP_K,
            ),
            timeout=60,
        )
    return [[(neighbor.item.id, neighbor.score) for neighbor in result.neighbors] for result in response.results]
