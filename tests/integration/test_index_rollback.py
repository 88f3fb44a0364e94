"""Rolling an aligner back: the writer, its store and a searcher beside it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from isthmus.core.modality import Modality
from isthmus.index.engine import SearcherEngine
from isthmus.index.model import SearchResult
from isthmus.runtime.base.errors import FailedPreconditionError
from tests.unit.index.support import (
    SPACE,
    TENANT,
    UNVERIFIED,
    center,
    create,
    fitted_calibration,
    identity,
    images,
    request_id,
    running_searcher,
    running_writer,
    texts,
    upsert,
    vectors,
)


async def _search(searcher: SearcherEngine, queries: NDArray[np.float32], min_revision: int) -> SearchResult:
    return await searcher.search(
        TENANT,
        "things",
        modality=Modality.IMAGE,
        space=SPACE,
        queries=queries,
        top_k=20,
        item_modality=None,
        min_revision=min_revision,
        timeout_s=20.0,
    )


def _answers(result: SearchResult) -> list[tuple[object, ...]]:
    return [(found.item.id, found.score, found.calibrated_score, found.probability) for found in result.neighbors[0]]


async def test_after_a_rollback_every_answer_is_as_before_the_promotion(tmp_path: Path) -> None:
    """Scores, calibrated scores and probabilities are equal bit for bit; the artefact's bytes are the same."""
    rows, queries = vectors(1, 120), vectors(2, 1)
    async with running_writer(tmp_path) as writer, running_searcher(tmp_path) as searcher:
        await create(writer, aligner=identity(fitted_calibration()))
        items = [*images([f"i{n}" for n in range(60)]), *texts([f"t{n}" for n in range(60)])]
        stored = await upsert(writer, items, rows)
        before = await _search(searcher, queries, stored.revision)
        promoted = await writer.set_aligner(
            TENANT, "things", aligner=center(), terms=UNVERIFIED, request_id=request_id()
        )
        between = await _search(searcher, queries, promoted.revision)
        rolled_back = await writer.rollback_aligner(TENANT, "things", request_id=request_id())
        after = await _search(searcher, queries, rolled_back.revision)
        reader = await searcher.read_items(
            TENANT, "things", paired_only=False, min_revision=rolled_back.revision, timeout_s=20.0
        )
    assert (promoted.revision, rolled_back.revision) == (stored.revision + 1, stored.revision + 2)
    assert _answers(after) == _answers(before) != _answers(between)
    assert (after.space, after.calibration) == (before.space, before.calibration)
    assert reader.aligner == identity(fitted_calibration())


async def test_equal_scores_come_in_one_order_however_the_collection_came_to_be_read(tmp_path: Path) -> None:
    """Forty copies of one vector, stored in eight mutations, fill more than the list: the first twenty ids, in order.

    Followed mutation by mutation, built anew after a promotion and a rollback, and read at once by another searcher.
    """
    rows, queries = vectors(1, 1), vectors(2, 1)
    ids = [f"i{n:02}" for n in np.random.default_rng(0).permutation(40)]
    async with running_writer(tmp_path) as writer:
        async with running_searcher(tmp_path) as searcher:
            await create(writer, aligner=identity(fitted_calibration()))
            for start in range(0, 40, 5):
                stored = await upsert(writer, images(ids[start : start + 5]), np.repeat(rows, 5, axis=0))
                await _search(searcher, queries, stored.revision)
            before = await _search(searcher, queries, stored.revision)
            await writer.set_aligner(TENANT, "things", aligner=center(), terms=UNVERIFIED, request_id=request_id())
            rolled_back = await writer.rollback_aligner(TENANT, "things", request_id=request_id())
            after = await _search(searcher, queries, rolled_back.revision)
        async with running_searcher(tmp_path) as other:
            anew = await _search(other, queries, rolled_back.revision)
    assert [found.item.id for found in before.neighbors[0]] == sorted(ids)[:20]
    assert _answers(after) == _answers(before) == _answers(anew)


async def test_a_rollback_outlives_the_writer_and_goes_back_to_none(tmp_path: Path) -> None:
    """A writer that starts anew knows what came before; the same request id is applied once, at the bottom it ends."""
    async with running_writer(tmp_path) as writer:
        await create(writer)
        for seed in range(2):
            await writer.set_aligner(TENANT, "things", aligner=center(seed), terms=UNVERIFIED, request_id=request_id())
    async with running_writer(tmp_path) as writer:
        same = request_id()
        first = await writer.rollback_aligner(TENANT, "things", request_id=same)
        again = await writer.rollback_aligner(TENANT, "things", request_id=same)
        assert (first, first.revision) == (again, 4)
        assert first.aligner.startswith("center@")
        bottom = await writer.rollback_aligner(TENANT, "things", request_id=request_id())
        assert bottom.aligner == ""
        with pytest.raises(FailedPreconditionError) as caught:
            await writer.rollback_aligner(TENANT, "things", request_id=request_id())
    assert caught.value.reason == "NO_PREVIOUS_ALIGNER"


async def test_two_rollbacks_at_once_go_two_back(tmp_path: Path) -> None:
    """They may share a commit; each takes a revision of its own."""
    async with running_writer(tmp_path) as writer:
        await create(writer, aligner=identity())
        for seed in range(2):
            await writer.set_aligner(TENANT, "things", aligner=center(seed), terms=UNVERIFIED, request_id=request_id())
        await asyncio.gather(*(writer.rollback_aligner(TENANT, "things", request_id=request_id()) for _ in range(2)))
        info = await writer.get_collection(TENANT, "things")
    assert (info.revision, info.aligner.partition("@")[0]) == (5, "same")
