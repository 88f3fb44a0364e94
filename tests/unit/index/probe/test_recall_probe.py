"""Recall of what is served, measured in the background."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, cast

import numpy as np
import pytest
from numpy.typing import NDArray

from isthmus.core.modality import Modality
from isthmus.index.engine import SearcherEngine
from isthmus.index.follower import Follower
from isthmus.index.metrics import RECALL, RECALL_QUERIES, RECALL_TARGET
from isthmus.index.probe.measuring import TOP_K, measured_recall
from isthmus.index.probe.pace import Pace, StoppedError
from isthmus.index.probe.prober import QUERIES_MIN_COUNT
from isthmus.index.probe.reservoir import QUERIES_MAX_COUNT, Reservoir
from isthmus.index.segments import LiveSegment
from isthmus.index.service import SearchServicer
from isthmus.index.snapshot import Snapshot
from isthmus.index.structures import Arranged, Effort, Structure, build
from isthmus.runtime.base.shards import WHOLE
from isthmus.runtime.base.structure_kinds import Kind
from isthmus.v1.index_search_service_pb2 import GetStructuresRequest
from tests.unit.index.cache.saved import Saved, fill
from tests.unit.index.support import (
    ONE_SPACE,
    SPACE,
    TENANT,
    center,
    create,
    images,
    request_id,
    running_searcher,
    running_writer,
    texts,
    upsert,
    vectors,
)

_QUERIES: Final = vectors(11, 60)
_WAIT_S: Final = 20.0


@pytest.fixture(scope="module")
def follower(tmp_path_factory: pytest.TempPathFactory) -> Follower:
    """1,500 images of which some are dead, and 40 texts."""
    root = tmp_path_factory.mktemp("probed")
    fill(root / "store")
    saved = Saved.at(root / "store", root / "none")
    return saved.load()


@pytest.fixture
def snapshot(follower: Follower) -> Snapshot:
    """With one segment of images, 20 of them dead."""
    whole = follower.snapshot()
    (part,) = whole.segments[Modality.IMAGE]
    part = part.without(np.arange(0, 1_500, 75))
    return replace(whole, segments={**whole.segments, Modality.IMAGE: (part,)})


def _pace() -> Pace:
    return Pace(1.0)


def _with(snapshot: Snapshot, structure: Structure, effort: Effort) -> Snapshot:
    (part,) = snapshot.segments[Modality.IMAGE]
    arranged = LiveSegment(part.segment.arranged_as(Arranged(structure, effort)), part.live, part.dead_count)
    return replace(snapshot, segments={**snapshot.segments, Modality.IMAGE: (arranged,)})


def _plain_recall(snapshot: Snapshot, raw: NDArray[np.float32]) -> float:
    """Recall as one would write it down: sets of rows, float64, all rows at once."""
    asked = snapshot.query_rows(raw, Modality.TEXT)
    (part,) = snapshot.segments[Modality.IMAGE]
    live = part.live_rows
    scores = asked.astype(float) @ part.segment.vectors[live].T.astype(float)
    true = [set(live[np.argsort(-line)[:TOP_K]].tolist()) for line in scores]
    found_scores, rows = part.search(asked, TOP_K)
    shares = []
    for query, wanted in enumerate(true):
        order = np.argsort(-found_scores[query], kind="stable")[:TOP_K]
        shares.append(len(set(rows[query][order].tolist()) & wanted) / TOP_K)
    return float(np.mean(shares))


def test_all_vectors_searched_is_a_recall_of_one(snapshot: Snapshot) -> None:
    """Dead rows are neither answers nor missed."""
    assert measured_recall(snapshot, Modality.IMAGE, _QUERIES, pace=_pace()) == 1.0
    assert measured_recall(snapshot, Modality.TEXT, vectors(3, 20), pace=_pace()) == 1.0


def test_equal_items_in_either_order_are_a_recall_of_one(tmp_path: Path) -> None:
    """40 images of one vector: any ten of them are the ten nearest."""

    async def write() -> None:
        async with running_writer(tmp_path) as writer:
            await create(writer, aligner=center())
            rows = np.concatenate([np.repeat(vectors(1, 1), 40, axis=0), vectors(2, 200)])
            await upsert(writer, images([f"i{number}" for number in range(240)]), rows)

    asyncio.run(write())
    found = Saved.at(tmp_path, tmp_path / "none").load().snapshot()
    raw = np.concatenate([vectors(1, 1), _QUERIES[:5]])
    assert measured_recall(found, Modality.IMAGE, raw, pace=_pace()) == 1.0


def test_fewer_than_ten_items_are_a_recall_of_one(snapshot: Snapshot) -> None:
    """What is not there is not missed."""
    (part,) = snapshot.segments[Modality.IMAGE]
    few = part.without(part.live_rows[4:])
    few_left = replace(snapshot, segments={**snapshot.segments, Modality.IMAGE: (few,)})
    assert few_left.count(Modality.IMAGE) == 4
    assert measured_recall(few_left, Modality.IMAGE, _QUERIES, pace=_pace()) == 1.0


@pytest.mark.parametrize(("probes", "low", "high"), [(1, 0.05, 0.6), (8, 0.5, 0.98), (64, 1.0, 1.0)])
def test_neighbours_that_a_structure_loses_are_counted(
    snapshot: Snapshot, probes: int, low: float, high: float
) -> None:
    """Of 64 lists one, eight or all are looked into: the recall is that of a plain comparison of sets, to 1e-9."""
    vectors_of = snapshot.segments[Modality.IMAGE][0].segment.vectors
    lossy = _with(snapshot, build(Kind.IVF_SQ8, vectors_of, list_count=64), Effort(probes=probes))
    found = measured_recall(lossy, Modality.IMAGE, _QUERIES, pace=_pace())
    print(f"{probes} of 64 lists: {found:.3f}")
    assert found == pytest.approx(_plain_recall(lossy, _QUERIES), abs=1e-9)
    assert low <= found <= high  # 0.39, 0.78, 1


def test_what_is_kept_is_bounded_and_forgets() -> None:
    """Of 5,000 queries 200 are kept in 2 bytes a component, most of them of the last 3,000; all while they are few."""
    reservoir = Reservoir(4)
    reservoir.offer(np.full((QUERIES_MAX_COUNT, 4), 0.25, dtype=np.float32))
    assert len(reservoir) == QUERIES_MAX_COUNT
    for number in range(4_800):
        reservoir.offer(np.full((1, 4), number, dtype=np.float32))
    assert (len(reservoir), reservoir.offered) == (QUERIES_MAX_COUNT, 5_000)
    kept = reservoir.queries(1_000)
    assert kept.shape == (QUERIES_MAX_COUNT, 4)
    assert kept.dtype == np.float32
    assert 0.6 < (kept[:, 0] >= 1_800).mean() < 0.95  # 1 - exp(-3,000 / 2,000) = 0.78
    assert (kept[:, 0] == 0.25).mean() < 0.2
    assert len(reservoir.queries(7)) == 7


def test_work_takes_its_share_of_a_cpu() -> None:
    """A fifth: 60 ms of work last 300 ms or more."""
    pace = Pace(0.2)
    pace.begin()
    started_s, worked_s = time.monotonic(), time.thread_time()
    while time.thread_time() - worked_s < 0.06:
        sum(range(20_000))
        pace.step()
    assert time.monotonic() - started_s >= 0.8 * 0.06 / 0.2


def test_work_waits_for_a_quiet_moment_and_ends_when_told() -> None:
    """While callers are served a step waits; a process that ends does not wait for the work."""
    quiet = threading.Event()
    pace = Pace(1.0, is_quiet=quiet.is_set)
    threading.Timer(0.1, quiet.set).start()
    started_s = time.monotonic()
    pace.step()
    assert time.monotonic() - started_s >= 0.09
    pace.stop()
    with pytest.raises(StoppedError):
        pace.step()


async def _until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(_WAIT_S):
        while True:
            if holds():
                return
            await asyncio.sleep(0.02)


def _exported(modality: str = "image") -> tuple[float, float, float, float]:
    labels = (TENANT, "things", modality)
    return (
        RECALL.labels(*labels)._value.get(),
        RECALL_TARGET.labels(*labels)._value.get(),
        RECALL_QUERIES.labels(*labels, "real")._value.get(),
        RECALL_QUERIES.labels(*labels, "items")._value.get(),
    )


async def _ask(searcher: SearcherEngine, count: int, *, seed: int, item_modality: Modality | None) -> None:
    for row in vectors(seed, count):
        await searcher.search(
            TENANT,
            "things",
            modality=Modality.TEXT,
            space=SPACE,
            queries=row[None],
            top_k=3,
            item_modality=item_modality,
            timeout_s=_WAIT_S,
        )


async def test_a_searcher_measures_on_items_then_on_what_was_asked(tmp_path: Path) -> None:
    """Texts of the collection ask until people have asked 100 times for images by text; exported, then forgotten."""
    async with running_writer(tmp_path) as writer:
        await create(writer, aligner=center())
        await upsert(writer, images([f"i{number}" for number in range(300)]), vectors(1, 300))
        await upsert(writer, texts([f"t{number}" for number in range(30)]), vectors(2, 30))
        async with running_searcher(tmp_path, probe_interval_s=0.0, probe_cpu_share=1.0) as searcher:
            await _until(lambda: _exported() == (1.0, 0.95, 0, 30))
            await _until(lambda: _exported("text") == (1.0, 0.95, 0, 100))
            await _ask(searcher, 50, seed=3, item_modality=Modality.TEXT)  # says nothing of images
            await _ask(searcher, QUERIES_MIN_COUNT - 1, seed=4, item_modality=Modality.IMAGE)
            await _until(lambda: _exported()[3] == 30)
            await _ask(searcher, 1, seed=5, item_modality=None)
            await _until(lambda: _exported() == (1.0, 0.95, QUERIES_MIN_COUNT, 0))
            figures = {figure.item_modality: figure for figure in await searcher.recall_figures(TENANT, "things")}
            assert figures[Modality.IMAGE].is_real
            assert not figures[Modality.TEXT].is_real
            assert figures[Modality.IMAGE].revision == 3
            told = await SearchServicer(searcher, WHOLE).GetStructures(
                GetStructuresRequest(collection="things"), cast("Any", None)
            )
            images_told, texts_told = told.structures
            assert (images_told.served.recall, images_told.served.query_count, images_told.served.real) == (
                1,
                100,
                True,
            )
            assert not texts_told.served.real
            assert images_told.served.time_micros > 0
            await writer.delete_collection(TENANT, "things", request_id=request_id())
            await _until(lambda: (TENANT, "things", "image") not in RECALL._metrics)


async def test_nothing_is_measured_where_it_is_turned_off_or_cannot_be(tmp_path: Path) -> None:
    """Not with a share of 0, and not in a collection that takes one modality: its structures meet no other query."""
    async with running_writer(tmp_path) as writer:
        await create(writer, aligner=center())
        await create(writer, "pictures", replace(ONE_SPACE, text_space="", text_dimension=0))
        for name in ("pictures", "things"):
            await upsert(writer, images(["a", "b"]), vectors(1, 2), name=name)
        await upsert(writer, texts(["c"]), vectors(2, 1))
        off_options = {"probe_interval_s": 0.0, "probe_cpu_share": 0.0}
        async with running_searcher(tmp_path, **off_options) as off:
            async with running_searcher(tmp_path, probe_interval_s=0.0, probe_cpu_share=1.0) as on:
                await _until(lambda: len(on._prober._collections) == 1 and _exported("text")[0] == 1.0)
                assert len(await on.recall_figures(TENANT, "things")) == 2
                assert await on.recall_figures(TENANT, "pictures") == ()
            await _ask(off, 1, seed=4, item_modality=None)
            assert await off.recall_figures(TENANT, "things") == ()
