"""Promotions held to what they were judged against, and told afterwards: the writer and its store."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from isthmus.core.aligners import CenterAligner
from isthmus.index.engine import WriterEngine
from isthmus.index.history import PROMOTIONS_MAX_COUNT, PromotionKind
from isthmus.index.model import AlignerFiles, CollectionInfo
from isthmus.index.promotion import PromotionTerms
from isthmus.runtime.base.errors import FailedPreconditionError, NotFoundError
from tests.unit.index.support import (
    SPACE,
    TENANT,
    UNVERIFIED,
    center,
    create,
    files,
    identity,
    request_id,
    running_writer,
    vectors,
)

LIMITS = {"epsilon": 0.02, "structure_least": 0.5, "hubness_growth": 0.02}
STRICT = PromotionTerms()
FORCED = PromotionTerms(override_reason="the editors decided so")


def _judged(seed: int, *, against: str) -> AlignerFiles:
    """Return a centring whose report keeps the guard, compared with `against`."""
    fitted = CenterAligner.fit(
        vectors(seed, 20), vectors(seed + 1, 20), aligner_id="center", space=SPACE, created_by="test", seed=seed
    )
    report = {"against": against, "guard": {"ok": True, "reasons": [], "limits": LIMITS}}
    return files(fitted.with_findings(calibration=None, report=report))


async def _promote(
    writer: WriterEngine, aligner: AlignerFiles, terms: PromotionTerms = STRICT, *, request: str | None = None
) -> CollectionInfo:
    return await writer.set_aligner(TENANT, "things", aligner=aligner, terms=terms, request_id=request or request_id())


class TestVerdicts:
    """A verdict is about what it compares with what; promoted is only what was compared with the active aligner."""

    async def test_a_verdict_against_another_aligner_than_the_active_one_is_outdated(self, tmp_path: Path) -> None:
        """The refusal names both and what to do; nothing changes. Judged against the active one it is taken."""
        async with running_writer(tmp_path) as writer:
            await create(writer)
            first = await _promote(writer, _judged(1, against=""))
            with pytest.raises(FailedPreconditionError, match=f"judged against no aligner, and {first.aligner}") as no:
                await _promote(writer, _judged(2, against=""))
            assert no.value.reason == "VERDICT_OUTDATED"
            assert no.value.metadata == {
                "judged_against": "",
                "active": first.aligner,
                "field": "override_reason",
            }
            assert await writer.get_collection(TENANT, "things") == first
            second = await _promote(writer, _judged(2, against=first.aligner))
            assert second.aligner.startswith("center@")
            assert second.aligner != first.aligner

    async def test_an_identity_that_is_active_is_not_the_same_as_none(self, tmp_path: Path) -> None:
        """It brings a calibration of its own, by which modalities are merged: a verdict on raw search is another."""
        async with running_writer(tmp_path) as writer:
            made = await create(writer, aligner=identity())
            with pytest.raises(FailedPreconditionError, match=f"judged against no aligner, and {made.aligner}"):
                await _promote(writer, _judged(1, against=""))
            await _promote(writer, _judged(1, against=made.aligner))

    async def test_a_rollback_makes_verdicts_current_again(self, tmp_path: Path) -> None:
        """What counts is what is active now; the rollback itself asks no guard."""
        async with running_writer(tmp_path) as writer:
            await create(writer)
            await _promote(writer, _judged(1, against=""))
            other = _judged(2, against="")
            with pytest.raises(FailedPreconditionError):
                await _promote(writer, other)
            await writer.rollback_aligner(TENANT, "things", request_id=request_id())
            assert (await _promote(writer, other)).aligner.startswith("center@")

    async def test_of_two_promotions_at_once_that_were_judged_alike_one_passes(self, tmp_path: Path) -> None:
        """They may share a commit: the second is held against the first, not against what both were read beside."""
        async with running_writer(tmp_path) as writer:
            await create(writer)
            found = await asyncio.gather(
                *(_promote(writer, _judged(seed, against="")) for seed in range(1, 5)), return_exceptions=True
            )
            refused = [one.reason for one in found if isinstance(one, FailedPreconditionError)]
            assert refused == ["VERDICT_OUTDATED"] * 3
            assert (await writer.get_collection(TENANT, "things")).revision == 2

    async def test_a_promotion_repeated_is_answered_alike(self, tmp_path: Path) -> None:
        """With its request id even after another one; and what is active already may be promoted again."""
        async with running_writer(tmp_path) as writer:
            await create(writer)
            first = await _promote(writer, _judged(1, against=""), request="once")
            assert await _promote(writer, _judged(1, against=""), request="again") == first
            second = await _promote(writer, _judged(2, against=first.aligner))
            assert await _promote(writer, _judged(1, against=""), request="once") == second

    async def test_an_outdated_verdict_is_overridden_with_a_reason_only(self, tmp_path: Path) -> None:
        """`allow_unverified` is for an aligner without a verdict; this one has one, about something else."""
        async with running_writer(tmp_path) as writer:
            await create(writer, aligner=identity())
            with pytest.raises(FailedPreconditionError) as no:
                await _promote(writer, _judged(1, against=""), UNVERIFIED)
            assert no.value.reason == "VERDICT_OUTDATED"
            await _promote(writer, _judged(1, against=""), FORCED)
            (newest, _) = (await writer.promotions(TENANT, "things")).promotions
            assert newest.override_reason == "the editors decided so"


class TestHistory:
    """`promotions`."""

    async def test_everything_that_was_active_is_told_newest_first(self, tmp_path: Path) -> None:
        """Since when, how, and why it was forced; a rollback says what it restored; a restart forgets nothing."""
        started_us = time.time_ns() // 1000
        async with running_writer(tmp_path) as writer:
            await create(writer)
            good = await _promote(writer, _judged(1, against=""))
            forced = await _promote(writer, _judged(2, against=""), FORCED)
            trusted = await _promote(writer, center(7), UNVERIFIED)
            for _ in range(3):
                await writer.rollback_aligner(TENANT, "things", request_id=request_id())
        async with running_writer(tmp_path) as writer:
            history = await writer.promotions(TENANT, "things")
        told = [
            (one.aligner, one.revision, one.kind, one.override_reason, one.unverified, one.restored_revision)
            for one in history.promotions
        ]
        reason = "the editors decided so"
        assert told == [
            ("", 7, PromotionKind.ROLLED_BACK, "", False, 1),
            (good.aligner, 6, PromotionKind.ROLLED_BACK, "", False, 2),
            (forced.aligner, 5, PromotionKind.ROLLED_BACK, reason, False, 3),
            (trusted.aligner, 4, PromotionKind.PROMOTED, "", True, 0),
            (forced.aligner, 3, PromotionKind.PROMOTED, reason, False, 0),
            (good.aligner, 2, PromotionKind.PROMOTED, "", False, 0),
            ("", 1, PromotionKind.CREATED, "", False, 0),
        ]
        times = [one.time_us for one in history.promotions]
        assert times == sorted(times, reverse=True)
        assert all(started_us <= one <= time.time_ns() // 1000 for one in times)

    async def test_only_the_newest_are_told_and_all_are_counted(self, tmp_path: Path) -> None:
        """The answer is bounded, and says what it left out."""
        async with running_writer(tmp_path) as writer:
            await create(writer)
            for number in range(PROMOTIONS_MAX_COUNT):
                await _promote(writer, center(number % 2), UNVERIFIED)
            history = await writer.promotions(TENANT, "things")
        assert [one.revision for one in history.promotions] == list(range(101, 1, -1))
        assert history.total_count == 101

    async def test_a_collection_that_is_not_there_has_none(self, tmp_path: Path) -> None:
        """As everywhere."""
        async with running_writer(tmp_path) as writer:
            with pytest.raises(NotFoundError):
                await writer.promotions(TENANT, "things")
