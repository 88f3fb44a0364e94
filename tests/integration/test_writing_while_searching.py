"""One client writes at full speed while four search: no error, no stale answer, and every answer is right."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import pytest
from numpy.typing import NDArray

from isthmus.client import Client, Item, SpacedVector
from isthmus.core.canonical import canonical
from tests.harness.process import Process

_SECONDS: Final = 60.0 if os.environ.get("ISTHMUS_TEST_LONG") == "1" else 4.0
_SEARCHERS: Final = 4
_IDS: Final = 2_000
_UPSERTED: Final = 64
_DELETED: Final = 16
_DIMENSION: Final = 64
_TOP_K: Final = 10
_SPACE: Final = "busy@0123456789abcdef"
_RNG: Final = np.random.default_rng(0)
_ROWS: Final = canonical(_RNG.standard_normal((20_000, _DIMENSION)))
_QUERIES: Final = canonical(_RNG.standard_normal((64, _DIMENSION)))


def _spaced(row: NDArray[np.float32]) -> SpacedVector:
    return SpacedVector(row, modality="image", space=_SPACE)


@dataclass(frozen=True)
class _Answer:
    """What one search got."""

    query: int
    known: int
    """Newest revision that was acknowledged when it was asked, its `min_revision`."""
    revision: int
    ids: list[str]
    scores: list[float]
    took_s: float


@dataclass
class _Run:
    """What the writer was acknowledged, by revision, and what the searchers were answered."""

    collection: str
    address: str
    until_s: float
    written: list[tuple[int, dict[str, int | None]]] = field(default_factory=list)
    """Revision, and the row of each id that it stored; None where it deleted it."""
    answers: list[_Answer] = field(default_factory=list)
    failures: list[BaseException] = field(default_factory=list)

    def write(self, client: Client) -> None:
        """Upsert and delete, one acknowledged call after the other."""
        rng = np.random.default_rng(1)
        while time.monotonic() < self.until_s:
            ids = rng.choice(_IDS, _UPSERTED, replace=False).tolist()
            stored: dict[str, int | None] = {str(item): int(rng.integers(len(_ROWS))) for item in ids}
            items = [Item(id=item, vector=_spaced(_ROWS[row])) for item, row in stored.items() if row is not None]
            self.written.append((client.upsert(self.collection, items).revision, stored))
            gone = [str(item) for item in rng.choice(_IDS, _DELETED, replace=False).tolist()]
            deleted: dict[str, int | None] = dict.fromkeys(gone)
            self.written.append((client.delete(self.collection, gone).revision, deleted))

    def search(self, client: Client) -> None:
        """Search for what was acknowledged last, again and again."""
        number = 0
        while time.monotonic() < self.until_s:
            number += 1
            query, known = number % len(_QUERIES), self.written[-1][0]
            started_s = time.perf_counter()
            found = client.search(self.collection, vector=_spaced(_QUERIES[query]), top_k=_TOP_K, min_revision=known)
            took_s = time.perf_counter() - started_s
            ids, scores = [near.id for near in found.neighbors], [near.score for near in found.neighbors]
            self.answers.append(_Answer(query, known, found.revision, ids, scores, took_s))

    def work(self, step: str) -> None:
        """Write or search until the time is over, with a client of its own."""
        try:
            with Client(self.address) as client:
                getattr(self, step)(client)
        except BaseException as error:  # noqa: BLE001 - told by the main thread
            self.failures.append(error)

    def states(self) -> Iterator[tuple[int, dict[str, int]]]:
        """Yield every revision with the items it holds and their rows."""
        held: dict[str, int] = {}
        for revision, changed in self.written:
            for item, row in changed.items():
                if row is None:
                    held.pop(item, None)
                else:
                    held[item] = row
            yield revision, held


@pytest.mark.timeout(180)
def test_four_search_what_one_writes_at_full_speed(mesh: Process) -> None:
    """No call fails, no answer is of a revision before its `min_revision`, and all equal brute force at their revision.

    ISTHMUS_TEST_LONG=1 makes it a minute.
    """
    collection = "written-at-full-speed"
    with Client(mesh.address) as client:
        client.create_collection(collection, image_space=_SPACE, image_dimension=_DIMENSION)
        run = _Run(collection, mesh.address, 0.0)
        first: dict[str, int | None] = {str(item): item for item in range(_IDS)}
        items = (Item(id=str(item), vector=_spaced(_ROWS[item])) for item in range(_IDS))
        run.written.append((client.upsert(collection, items).revision, first))
        run.until_s = time.monotonic() + _SECONDS
        threads = [threading.Thread(target=run.work, args=(step,)) for step in ["write"] + _SEARCHERS * ["search"]]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        client.delete_collection(collection)
    if run.failures:
        raise run.failures[0]
    stale = [answer for answer in run.answers if answer.revision < answer.known]
    assert not stale, f"{len(stale)} of {len(run.answers)} answers are stale"
    _check(run)
    took_ms = np.array([answer.took_s for answer in run.answers]) * 1000
    changes = (len(run.written) - 1) // 2 * (_UPSERTED + _DELETED)
    print(
        f"{len(run.answers)} searches and {changes} changes of items in {_SECONDS:g} s: 0 errors, 0 stale; "
        f"p50 {np.quantile(took_ms, 0.5):.1f} ms, p99 {np.quantile(took_ms, 0.99):.1f} ms"
    )
    assert len(run.answers) > 20 * _SECONDS
    assert len(run.written) > 2 * _SECONDS


def _check(run: _Run) -> None:
    """Compare every answer with brute force at the revision that it names."""
    asked: dict[int, list[_Answer]] = {}
    for answer in run.answers:
        asked.setdefault(answer.revision, []).append(answer)
    for revision, held in run.states():
        answers = asked.pop(revision, [])
        if not answers:
            continue
        ids, rows = list(held), _ROWS[list(held.values())]
        for answer in answers:
            scores = rows @ _QUERIES[answer.query]
            best = np.sort(scores)[::-1][:_TOP_K]
            np.testing.assert_allclose(np.array(answer.scores), best, atol=1e-5)
            places = [ids.index(item) for item in answer.ids]
            np.testing.assert_allclose(scores[places], best, atol=1e-5)
    assert not asked, f"answers name revisions that nobody was acknowledged: {sorted(asked)}"
