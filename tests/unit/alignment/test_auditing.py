"""Auditing over a collection: read whole, in the active aligner's space, under limits that are told."""

from __future__ import annotations

from dataclasses import replace

import pytest

from isthmus.alignment import auditing
from isthmus.alignment.audit_reports import audit_messages
from isthmus.alignment.config import AlignmentConfig
from isthmus.core import Modality
from isthmus.core.matching import Decision, MatchTerms
from isthmus.runtime.base.errors import FailedPreconditionError, ResourceExhaustedError
from tests.unit.alignment.conftest import OTHER_SPACE, MakeItems, MemoryReader, fit, started

PHOTOS, CAPTIONS = 400, 2


async def test_items_without_a_pair_key_are_rivals(config: AlignmentConfig, make_items: MakeItems) -> None:
    """They are in no pair, and read all the same: the photo that lost its key is what its captions are nearest to."""
    items = make_items(photos=PHOTOS, captions=CAPTIONS)
    images = items[Modality.IMAGE]
    # Photo 0 has lost its key to photo 1, whose own captions are left without a photo.
    items[Modality.IMAGE] = replace(images, pair_keys=["", "thing-0", *images.pair_keys[2:]])
    reader = MemoryReader(items)
    engine = await started(config, reader)
    found = await engine.auditor.audit("photos", min_revision=3, seed=0, terms=None)
    assert reader.asked == [("photos", 3, False)]
    assert len(found.pairs.log_odds) == (PHOTOS - 1) * CAPTIONS
    worst = [int(row) for row in found.pairs.text_rows[:CAPTIONS]]
    assert sorted(worst) == [0, 1]
    assert {int(row) for row in found.pairs.nearest_images[:CAPTIONS]} == {0}
    assert found.decided is None


async def test_the_active_aligner_decides_where_it_can(config: AlignmentConfig, make_items: MakeItems) -> None:
    """With its calibration every pair has a decision; a lower rate accepts fewer; the summary counts them."""
    reader = MemoryReader(make_items(photos=PHOTOS, captions=CAPTIONS))
    engine = await started(config, reader)
    reader.aligner = (await fit(engine))[-1].artefact
    assert reader.aligner is not None
    loose = await engine.auditor.audit("photos", min_revision=0, seed=0, terms=MatchTerms(false_accept_rate=0.1))
    strict = await engine.auditor.audit("photos", min_revision=0, seed=0, terms=MatchTerms(false_accept_rate=0.002))
    assert loose.decided is not None
    assert strict.decided is not None
    assert strict.decided.count(Decision.MATCH) < loose.decided.count(Decision.MATCH) <= PHOTOS * CAPTIONS
    summary, *parts = audit_messages(loose, top_count=1_000)
    assert summary.summary.match_count == loose.decided.count(Decision.MATCH)
    assert (summary.summary.aligner, summary.summary.revision) == (reader.aligner.space, 7)
    assert [len(part.pairs) for part in parts] == [PHOTOS * CAPTIONS]
    reader.aligner = reader.aligner.with_findings(calibration=None, report={})
    assert (await engine.auditor.audit("photos", min_revision=0, seed=0, terms=None)).decided is None
    with pytest.raises(FailedPreconditionError) as caught:
        await engine.auditor.audit("photos", min_revision=0, seed=0, terms=MatchTerms())
    assert caught.value.reason == "NOT_CALIBRATED"


async def test_long_lists_come_in_messages_of_a_thousand(config: AlignmentConfig, make_items: MakeItems) -> None:
    """1,200 pairs: 1,000 and 200, or as many as were asked for; none when none was."""
    engine = await started(config, MemoryReader(make_items(photos=PHOTOS, captions=3)))
    found = await engine.auditor.audit("photos", min_revision=0, seed=0, terms=None)
    for top_count, sizes in ((2_000, [1_000, 200]), (1_001, [1_000, 1]), (3, [3]), (0, [])):
        assert [len(part.pairs) for part in audit_messages(found, top_count=top_count)][1:] == sizes


async def test_what_is_too_much_or_nothing_is_refused(
    config: AlignmentConfig, make_items: MakeItems, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As many pairs as the limit are audited, one more is not; two spaces need an aligner; no pairs are no audit."""
    items = make_items(photos=PHOTOS, captions=CAPTIONS)
    reader = MemoryReader(items)
    engine = await started(config, reader)
    monkeypatch.setattr(auditing, "AUDIT_PAIRS_MAX", PHOTOS * CAPTIONS)
    await engine.auditor.audit("photos", min_revision=0, seed=0, terms=None)
    monkeypatch.setattr(auditing, "AUDIT_PAIRS_MAX", PHOTOS * CAPTIONS - 1)
    with pytest.raises(ResourceExhaustedError) as exhausted:
        await engine.auditor.audit("photos", min_revision=0, seed=0, terms=None)
    assert exhausted.value.reason == "LIMIT_EXCEEDED"
    assert exhausted.value.metadata["limit"] == str(PHOTOS * CAPTIONS - 1)
    reader.text_space = OTHER_SPACE
    with pytest.raises(FailedPreconditionError) as caught:
        await engine.auditor.audit("photos", min_revision=0, seed=0, terms=None)
    assert caught.value.reason == "NO_ALIGNER"
    texts = items[Modality.TEXT]
    unpaired = MemoryReader({**items, Modality.TEXT: replace(texts, pair_keys=[""] * len(texts.ids))})
    with pytest.raises(FailedPreconditionError) as caught:
        await (await started(config, unpaired)).auditor.audit("photos", min_revision=0, seed=0, terms=None)
    assert caught.value.reason == "NOT_ENOUGH_PAIRS"
