"""Shadow aligners: a writer, its store, and searchers that ask real searches under a second aligner too."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from prometheus_client import REGISTRY

from isthmus.core.modality import Modality
from isthmus.core.sampling import hashed_share
from isthmus.index.engine import SearcherEngine, WriterEngine
from isthmus.index.events import SHADOW_ID
from isthmus.index.model import AlignerFiles, SearchResult
from isthmus.index.shadow_tally import ShadowReport, ShadowState
from isthmus.runtime.base import context
from isthmus.runtime.base.errors import FailedPreconditionError, InvalidArgumentError, NotFoundError
from isthmus.runtime.base.names import check_item_id
from tests.unit.index.support import (
    SPACE,
    TENANT,
    UNVERIFIED,
    center,
    create,
    heads,
    identity,
    images,
    request_id,
    running_searcher,
    running_writer,
    texts,
    upsert,
    vectors,
)

EVERY_SEARCH = {"shadow_share": 1.0}
COUNT = 60


async def _fill(writer: WriterEngine, aligner: AlignerFiles | None = None) -> int:
    await create(writer, aligner=aligner)
    items = [*images([f"i{n}" for n in range(COUNT)]), *texts([f"t{n}" for n in range(COUNT)])]
    return (await upsert(writer, items, vectors(1, 2 * COUNT))).revision


async def _set(writer: WriterEngine, aligner: AlignerFiles | None) -> int:
    info = await writer.set_shadow_aligner(TENANT, "things", aligner=aligner, request_id=request_id())
    return info.revision


async def _search(
    searcher: SearcherEngine, queries: NDArray[np.float32], min_revision: int = 0, *, named: str = ""
) -> SearchResult:
    context.enter(context.CallContext(request_id=named or request_id()))
    return await searcher.search(
        TENANT,
        "things",
        modality=Modality.IMAGE,
        space=SPACE,
        queries=queries,
        top_k=10,
        min_revision=min_revision,
        timeout_s=20.0,
    )


async def _report(
    searcher: SearcherEngine, until: Callable[[ShadowReport], bool], *, min_revision: int = 0
) -> ShadowReport:
    """Return the first report that `until` holds for."""
    async with asyncio.timeout(20.0):
        while True:
            report = await searcher.shadow_report(TENANT, "things", min_revision=min_revision, timeout_s=20.0)
            if until(report):
                return report
            await asyncio.sleep(0.01)


def _ready_at(revision: int) -> Callable[[ShadowReport], bool]:
    return lambda report: report.state is ShadowState.READY and report.revision == revision


def _answers(result: SearchResult) -> list[list[tuple[object, ...]]]:
    return [
        [(found.item.id, found.score, found.calibrated_score, found.probability) for found in neighbors]
        for neighbors in result.neighbors
    ]


async def _compared(searcher: SearcherEngine, queries: NDArray[np.float32]) -> ShadowReport:
    """Search one query after the other, each once the one before it is compared."""
    before = (await _report(searcher, lambda _: True)).requests
    for number, query in enumerate(queries, start=1):
        await _search(searcher, query[None])
        await _report(searcher, lambda report, n=number: report.requests == before + n)  # type: ignore[misc]
    return await _report(searcher, lambda _: True)


class TestComparison:
    """What is found."""

    async def test_the_figures_are_those_of_a_promotion(self, tmp_path: Path) -> None:
        """Overlap, best answer and own share are what searching before and after a promotion shows."""
        queries = vectors(7, 12)
        async with running_writer(tmp_path) as writer, running_searcher(tmp_path, **EVERY_SEARCH) as searcher:
            await _fill(writer)
            revision = await _set(writer, center())
            await _report(searcher, _ready_at(revision), min_revision=revision)
            found = await _compared(searcher, queries)
            before = await _search(searcher, queries)
            info = await writer.set_aligner(
                TENANT, "things", aligner=center(), terms=UNVERIFIED, request_id=request_id()
            )
            after = await _search(searcher, queries, info.revision)
            promoted = await _report(searcher, lambda _: True, min_revision=info.revision)
        pairs = list(zip(before.neighbors, after.neighbors, strict=True))
        ids = [({n.item.id for n in mine}, {n.item.id for n in theirs}) for mine, theirs in pairs]
        assert found.overlap == pytest.approx(np.mean([len(mine & theirs) / 10 for mine, theirs in ids]))
        assert found.top1_changed == pytest.approx(np.mean([a[0].item.id != b[0].item.id for a, b in pairs]))
        shares = [[np.mean([n.item.modality is Modality.IMAGE for n in side]) for side in pair] for pair in pairs]
        assert (found.own_share_active, found.own_share_shadow) == pytest.approx(tuple(np.mean(shares, axis=0)))
        assert 0.0 < (found.overlap or 0.0) < 1.0
        assert (found.requests, found.queries, found.active_aligner) == (12, 12, "")
        assert (found.active_s or 0.0) > 0.0
        assert (found.shadow_s or 0.0) > 0.0
        # what was promoted is nothing to compare any more, and its second set of structures is gone
        assert (promoted.state, promoted.memory_bytes) == (ShadowState.IS_ACTIVE, 0)

    async def test_answers_are_the_same_bit_for_bit_with_and_without(self, tmp_path: Path) -> None:
        """A shadow changes nothing that a caller sees: while it is set, built, asked, and after it is taken off."""
        queries = vectors(7, 30)
        async with running_writer(tmp_path) as writer, running_searcher(tmp_path, **EVERY_SEARCH) as searcher:
            revision = await _fill(writer, identity())
            without = _answers(await _search(searcher, queries, revision))
            revision = await _set(writer, center())
            assert _answers(await _search(searcher, queries, revision)) == without
            await _report(searcher, _ready_at(revision), min_revision=revision)
            for _ in range(5):
                assert _answers(await _search(searcher, queries)) == without
            found = await _report(searcher, lambda report: report.requests > 0)
            assert found.overlap is not None
            revision = await _set(writer, None)
            assert _answers(await _search(searcher, queries, revision)) == without

    async def test_an_aligner_compared_with_itself_differs_in_nothing(self, tmp_path: Path) -> None:
        """The same map under another name: overlap 1, no best answer changed, equal shares."""
        async with running_writer(tmp_path) as writer, running_searcher(tmp_path, **EVERY_SEARCH) as searcher:
            await _fill(writer)
            revision = await _set(writer, identity())
            await _report(searcher, _ready_at(revision), min_revision=revision)
            found = await _compared(searcher, vectors(7, 5))
        assert (found.overlap, found.top1_changed) == (1.0, 0.0)
        assert found.own_share_active == found.own_share_shadow

    async def test_a_share_of_the_searches_is_chosen_by_their_request_ids(self, tmp_path: Path) -> None:
        """The same ids on every searcher and after every restart; of a batch at most 8 queries are compared."""
        ids = [f"search-{number}" for number in range(40)]
        chosen = [one for one in ids if hashed_share(one, seed=0) < 0.25]
        async with running_writer(tmp_path) as writer, running_searcher(tmp_path, shadow_share=0.25) as searcher:
            await _fill(writer)
            revision = await _set(writer, center())
            await _report(searcher, _ready_at(revision), min_revision=revision)
            seen = 0
            for one in ids:
                await _search(searcher, vectors(7, 20), named=one)
                seen += one in chosen
                await _report(searcher, lambda report, n=seen: report.requests == n)  # type: ignore[misc]
            found = await _report(searcher, lambda _: True)
        assert 0 < len(chosen) < 40
        assert (found.requests, found.queries) == (len(chosen), 8 * len(chosen))


class TestFollowing:
    """A shadow is a mutation like any other."""

    async def test_it_follows_writes_deletions_promotions_rollbacks_and_restarts(self, tmp_path: Path) -> None:
        """Its structures are brought to the same items; another active aligner begins a comparison anew."""
        async with running_writer(tmp_path) as writer, running_searcher(tmp_path, **EVERY_SEARCH) as searcher:
            await _fill(writer, identity())
            revision = await _set(writer, center())
            await _report(searcher, _ready_at(revision), min_revision=revision)
            assert (await _compared(searcher, vectors(7, 3))).requests == 3
            await upsert(writer, images(["i1", "new"]), vectors(3, 2))
            revision, _ = await writer.delete(TENANT, "things", ids=["i2", "t3"], request_id=request_id())
            await _report(searcher, _ready_at(revision), min_revision=revision)
            assert (await _compared(searcher, vectors(3, 2))).requests == 5
            info = await writer.set_aligner(
                TENANT, "things", aligner=center(5), terms=UNVERIFIED, request_id=request_id()
            )
            assert info.shadow_aligner.startswith("center@")
            found = await _report(searcher, _ready_at(info.revision), min_revision=info.revision)
            assert (found.active_aligner, found.requests) == (info.aligner, 0)
            info = await writer.rollback_aligner(TENANT, "things", request_id=request_id())
            found = await _report(searcher, _ready_at(info.revision), min_revision=info.revision)
            assert found.active_aligner == info.aligner
        async with running_writer(tmp_path) as writer, running_searcher(tmp_path, **EVERY_SEARCH) as searcher:
            assert await writer.get_collection(TENANT, "things") == info
            await _report(searcher, _ready_at(info.revision))
            # a fresh build and one that followed every write answer alike
            assert (await _compared(searcher, vectors(3, 2))).requests == 2

    async def test_it_is_set_once_and_taken_off(self, tmp_path: Path) -> None:
        """The same again changes nothing; a request id is applied once; off is off, and its figures are gone."""
        async with running_writer(tmp_path) as writer, running_searcher(tmp_path, **EVERY_SEARCH) as searcher:
            await _fill(writer)
            first = await writer.set_shadow_aligner(TENANT, "things", aligner=center(), request_id="once")
            again = await writer.set_shadow_aligner(TENANT, "things", aligner=center(), request_id=request_id())
            repeated = await writer.set_shadow_aligner(TENANT, "things", aligner=center(1), request_id="once")
            assert first == again == repeated
            await _report(searcher, _ready_at(first.revision), min_revision=first.revision)
            labels = {"tenant": TENANT, "collection": "things"}
            assert (REGISTRY.get_sample_value("isthmus_index_shadow_bytes", labels) or 0) > 0
            revision = await _set(writer, None)
            found = await _report(searcher, lambda report: report.state is ShadowState.OFF, min_revision=revision)
            assert (found.aligner, found.memory_bytes, found.requests) == ("", 0, 0)
            await _report(searcher, lambda _: REGISTRY.get_sample_value("isthmus_index_shadow_bytes", labels) is None)
            assert (await writer.get_collection(TENANT, "things")).shadow_aligner == ""

    async def test_what_the_collection_cannot_use_is_refused(self, tmp_path: Path) -> None:
        """Another raw space, a damaged artefact, no collection: as a promotion would be; nothing is committed."""
        async with running_writer(tmp_path) as writer:
            await create(writer)
            whole = center()
            damaged = AlignerFiles(whole.manifest, whole.tensors[:-1] + bytes([whole.tensors[-1] ^ 1]))
            for aligner, error, reason in (
                (heads(), FailedPreconditionError, "ALIGNER_SPACES_MISMATCH"),
                (damaged, InvalidArgumentError, "ARTEFACT_DAMAGED"),
            ):
                with pytest.raises(error) as caught:
                    await _set(writer, aligner)
                assert caught.value.reason == reason
            with pytest.raises(NotFoundError):
                await writer.set_shadow_aligner(TENANT, "other", aligner=whole, request_id=request_id())
            assert (await writer.get_collection(TENANT, "things")).revision == 1

    def test_no_item_can_have_the_id_of_a_shadow(self) -> None:
        """The event that sets one is no item's, whatever callers send."""
        with pytest.raises(InvalidArgumentError):
            check_item_id(SHADOW_ID)


class TestLimits:
    """What a shadow may cost."""

    async def test_one_that_does_not_fit_is_not_built(self, tmp_path: Path) -> None:
        """The report says what it would take; searches go on. One byte more, and it is built."""
        async with running_writer(tmp_path) as writer:
            revision = await _fill(writer)
            revision = await _set(writer, center())
            async with running_searcher(tmp_path, **EVERY_SEARCH) as searcher:
                needed = (await _report(searcher, _ready_at(revision))).memory_bytes
            assert needed >= 2 * COUNT * 16 * 4
            async with running_searcher(tmp_path, **EVERY_SEARCH, shadow_max_bytes=needed - 1) as searcher:
                found = await _report(searcher, lambda report: report.state is ShadowState.OVER_BUDGET)
                assert (found.memory_bytes, found.memory_limit_bytes) == (needed, needed - 1)
                await _search(searcher, vectors(7, 1))
                found = await _report(searcher, lambda report: report.dropped.get("not_built", 0) == 1)
                assert (found.requests, found.overlap) == (0, None)
            async with running_searcher(tmp_path, **EVERY_SEARCH, shadow_max_bytes=needed) as searcher:
                await _report(searcher, _ready_at(revision))

    async def test_a_searcher_may_be_told_to_compare_nothing(self, tmp_path: Path) -> None:
        """With a share of 0 nothing is built."""
        async with running_writer(tmp_path) as writer:
            await _fill(writer)
            revision = await _set(writer, center())
            async with running_searcher(tmp_path, shadow_share=0.0) as searcher:
                found = await _report(searcher, lambda _: True, min_revision=revision)
                assert (found.state, found.aligner != "") == (ShadowState.OFF, True)

    async def test_a_search_that_is_chosen_while_another_is_compared_is_dropped(self, tmp_path: Path) -> None:
        """One is compared at a time and none waits; every search is compared or counted as dropped."""
        async with running_writer(tmp_path) as writer, running_searcher(tmp_path, **EVERY_SEARCH) as searcher:
            await _fill(writer)
            revision = await _set(writer, center())
            await _report(searcher, _ready_at(revision), min_revision=revision)
            await asyncio.gather(*(_search(searcher, vectors(n, 8)) for n in range(40)))
            found = await _report(searcher, lambda report: report.requests + report.dropped.get("busy", 0) == 40)
        assert found.requests >= 1
        assert found.dropped["busy"] >= 1

    async def test_what_is_logged_names_no_item(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        """One line a comparison, with figures; no id, no vector."""
        caplog.set_level(logging.INFO, logger="isthmus.index")
        started_s = time.monotonic()
        async with running_writer(tmp_path) as writer, running_searcher(tmp_path, **EVERY_SEARCH) as searcher:
            await _fill(writer)
            revision = await _set(writer, center())
            await _report(searcher, _ready_at(revision), min_revision=revision)
            await _compared(searcher, vectors(7, 1))
        (line,) = [record for record in caplog.records if record.message == "shadow compared"]
        told = {key: value for key, value in vars(line).items() if key in ("fields", "isthmus_fields")}
        (logged,) = told.values()
        assert logged.keys() == {
            "collection",
            "aligner",
            "shadow",
            "revision",
            "top_k",
            "queries",
            "overlap",
            "top1_changed",
            "own_share_change",
            "extra_ms",
        }
        text = json.dumps(logged)
        assert not any(f'"i{n}"' in text or f'"t{n}"' in text for n in range(COUNT))
        assert time.monotonic() - started_s < 30
