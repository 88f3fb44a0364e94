"""Promoting an aligner on a large collection, while it is searched: how long until searches see it, and who noticed."""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import numpy as np
from numpy.typing import NDArray

from isthmus.client import Client, IsthmusError, Item, SpacedVector
from isthmus.core.aligners import Artefact, FitOptions, FitPairs, Label, fit_artefact
from tests.bench.record import Figure

__all__ = ["measure"]

ITEMS: Final = 100_000
DIMENSION: Final = 512
SECONDS_MAX: Final = 5.0
ROUNDS: Final = 3
CALLERS: Final = 2
PAIRS: Final = 2 * DIMENSION

_SPACE: Final = "bench@0123456789abcdef"
_COLLECTION: Final = "bench-promote"
_WAIT_S: Final = 60.0


def measure(address: str) -> list[Figure]:
    """Return how long a promotion takes until every search is answered with it, and searches that failed meanwhile.

    The median of three promotions of different aligners, each a full matrix of 512 x 512. The clock starts at the call
    and ends when a search names the new revision. Two callers search without a pause.
    """
    rng = np.random.default_rng(0)
    vectors = _unit(rng.standard_normal((ITEMS, DIMENSION), dtype=np.float32))
    with Client(address) as client, TemporaryDirectory() as folder:
        aligners = [client.import_aligner(_kept(seed, Path(folder))).aligner for seed in range(ROUNDS)]
        client.create_collection(_COLLECTION, image_space=_SPACE, image_dimension=DIMENSION)
        client.upsert(_COLLECTION, (_item(row, vector) for row, vector in enumerate(vectors)))
        client.search(_COLLECTION, vector=_query(vectors[0]), timeout_s=_WAIT_S)
        acknowledged_s, served_s, searches = [], [], _Searches(address, vectors[:64])
        with searches:
            for aligner in aligners:
                started_s = time.perf_counter()
                promoted = client.promote_aligner(_COLLECTION, aligner, allow_unverified=True)
                acknowledged_s.append(time.perf_counter() - started_s)
                searches.wait(lambda: searches.revision >= promoted.revision)  # noqa: B023 - called in this round
                served_s.append(time.perf_counter() - started_s)
        client.delete_collection(_COLLECTION)
    middle = statistics.median(served_s)
    each = ", ".join(f"{one:.1f}" for one in served_s)
    what = f"promote on {ITEMS // 1000}k x {DIMENSION} flat, searched by {CALLERS} callers"
    return [
        Figure(
            f"{what}: until searches are answered with it",
            f"{middle:.1f} s",
            f"≤ {SECONDS_MAX:.0f} s",
            f"{each} s; acknowledged after {statistics.median(acknowledged_s):.2f} s",
            middle <= SECONDS_MAX,
        ),
        Figure(
            f"{what}: searches that failed",
            f"{searches.failed}",
            "0",
            f"of {len(searches.took_s)}; p50 {1000 * statistics.median(searches.took_s):.0f} ms, "
            f"longest {1000 * max(searches.took_s):.0f} ms",
            searches.failed == 0,
        ),
    ]


class _Searches:
    """Callers that search without a pause while the block runs."""

    def __init__(self, address: str, queries: NDArray[np.float32]) -> None:
        self._address = address
        self._queries = queries
        self._stop = threading.Event()
        self._changed = threading.Condition()
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(CALLERS)]
        self.revision = 0
        self.failed = 0
        self.took_s: list[float] = []

    def wait(self, met: Callable[[], bool]) -> None:
        """Wait until an answer makes `met` true.

        Raises:
            RuntimeError: None does in time.
        """
        with self._changed:
            if not self._changed.wait_for(met, timeout=_WAIT_S):
                msg = f"no search was answered at the new revision within {_WAIT_S:.0f} s"
                raise RuntimeError(msg)

    def __enter__(self) -> None:
        for thread in self._threads:
            thread.start()

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        with Client(self._address) as client:
            number = 0
            while not self._stop.is_set():
                number += 1
                started_s = time.perf_counter()
                try:
                    found = client.search(_COLLECTION, vector=_query(self._queries[number % len(self._queries)]))
                except IsthmusError:
                    with self._changed:
                        self.failed += 1
                    continue
                with self._changed:
                    self.took_s.append(time.perf_counter() - started_s)
                    self.revision = max(self.revision, found.revision)
                    self._changed.notify_all()


def _kept(seed: int, folder: Path) -> Path:
    """Return the folder of an aligner that turns every component."""
    rng = np.random.default_rng(seed)
    meaning = rng.standard_normal((PAIRS, DIMENSION), dtype=np.float32)
    images, texts = (_unit(meaning + rng.standard_normal(meaning.shape, dtype=np.float32)) for _ in range(2))
    pairs = FitPairs(images=images, texts=texts, image_space=_SPACE, text_space=_SPACE)
    label = Label(aligner_id=f"bench-{seed}", created_by="a bench", seed=seed)
    artefact: Artefact = fit_artefact("cca", pairs, label=label, options=FitOptions(dimension=DIMENSION))
    artefact.save(folder / str(seed))
    return folder / str(seed)


def _unit(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows


def _item(number: int, vector: NDArray[np.float32]) -> Item:
    return Item(id=str(number), vector=SpacedVector(vector, modality="image", space=_SPACE))


def _query(vector: NDArray[np.float32]) -> SpacedVector:
    return SpacedVector(vector, modality="image", space=_SPACE)
