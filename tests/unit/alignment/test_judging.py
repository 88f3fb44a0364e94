"""Judging over a collection: evaluate, verify, compare; each refusal with its reason."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from isthmus.alignment.asking import asked_of
from isthmus.alignment.config import AlignmentConfig
from isthmus.alignment.measuring import MeasureRequest
from isthmus.alignment.ports import CollectionHead, ItemBatch, NotesWanted
from isthmus.core import Modality
from isthmus.core.aligners import FITTED_METHODS, FitOptions
from isthmus.core.calibration import CalibrationSource
from isthmus.runtime.base.errors import (
    FailedPreconditionError,
    InternalError,
    InvalidArgumentError,
    NotFoundError,
    ResourceExhaustedError,
)
from isthmus.v1 import alignment_service_pb2, common_pb2
from tests.unit.alignment.conftest import ATTRIBUTE, OTHER_SPACE, SPACE, MakeItems, MemoryReader, fit, started


async def test_an_aligner_is_judged_on_what_its_fit_held_out(config: AlignmentConfig, make_items: MakeItems) -> None:
    """Judged again, it gets the figures that it carries."""
    engine = await started(config, MemoryReader(make_items()))
    artefact = (await fit(engine, options=FitOptions(seed=5)))[-1].artefact
    assert artefact is not None
    report = artefact.manifest.report
    verified, revision = await engine.judge.verify("acme", "photos", "mine", min_revision=0, seed=0)
    assert (verified.aligner, verified.method, revision) == (artefact.space, "center", 7)
    assert dict(verified.found.after) == {name: report[name] for name in verified.found.after}
    assert verified.found.guard.to_dict() == report["guard"]
    with pytest.raises(NotFoundError):
        await engine.judge.verify("acme", "photos", "other", min_revision=0, seed=0)


async def test_an_aligner_is_judged_against_the_active_one(config: AlignmentConfig, make_items: MakeItems) -> None:
    """What is served now is what may not get worse: against itself an aligner gains nothing."""
    reader = MemoryReader(make_items())
    engine = await started(config, reader)
    artefact = (await fit(engine))[-1].artefact
    assert artefact is not None
    assert artefact.manifest.report["against"] == ""
    assert artefact.manifest.report["guard"]["ok"]
    reader.aligner = artefact
    again, _ = await engine.judge.verify("acme", "photos", "mine", min_revision=0, seed=0)
    assert again.found.against == artefact.space
    assert again.found.before == again.found.after
    assert not again.found.guard.ok
    assert "nDCG@10 over both modalities: +0.000" in again.found.guard.reasons[0]


async def test_no_more_is_read_than_was_asked_for(config: AlignmentConfig, make_items: MakeItems) -> None:
    """A plain verification reads pairs and nothing beside; slices need notes, a gain every item, paired or not."""
    items = make_items()
    loose = replace(items[Modality.IMAGE], pair_keys=["", *items[Modality.IMAGE].pair_keys[1:]])
    reader = MemoryReader(items | {Modality.IMAGE: loose})
    engine = await started(config, reader)
    await fit(engine)
    request = alignment_service_pb2.AlignmentServiceVerifyAlignerRequest()
    plain = asked_of(request)
    request.slices.CopyFrom(common_pb2.SliceOptions(attribute=ATTRIBUTE, caption_length=True))
    sliced = asked_of(request)
    request.ClearField("slices")
    request.gains.rows.add(query_id="photo-0", item_id="caption-0", gain=2.0)
    worth = asked_of(request)
    found = []
    for asked in (plain, sliced, worth):
        reader.asked.clear()
        reader.noted.clear()
        verified, _ = await engine.judge.verify("acme", "photos", "mine", min_revision=0, seed=0, asked=asked)
        found.append((reader.asked[0][2], reader.noted[0], verified.found))
    assert [(paired_only, notes) for paired_only, notes, _ in found] == [
        (True, NotesWanted()),
        (True, NotesWanted(attribute=ATTRIBUTE, words=True)),
        (False, NotesWanted()),
    ]
    assert [one.slices is not None for _, _, one in found] == [False, True, False]
    gain = found[2][2].gain
    assert gain is not None
    # A photo without a pair may ask: nothing was fitted on it.
    assert (gain.query_count, gain.top_k, gain.skipped) == (1, 10, {})
    assert found[0][2].after == found[1][2].after == found[2][2].after


async def test_labels_are_read_only_where_they_were_asked_for(config: AlignmentConfig, make_items: MakeItems) -> None:
    """A photo's own season; what is not classified says why."""
    reader = MemoryReader(make_items())
    engine = await started(config, reader)
    plain = MeasureRequest(seed=0, sample_count=100, compare_distances=False)
    labelled = replace(plain, label_attribute=ATTRIBUTE, label_problem="labels: nobody embeds them")
    reports = []
    for request in (plain, labelled):
        found = await engine.judge.measure("acme", "photos", min_revision=0, reference=None, request=request)
        reports.append(found.report)
    assert reader.noted == [NotesWanted(), NotesWanted(attribute=ATTRIBUTE)]
    assert (reports[0].homogeneity, reports[0].missing) == (None, {})
    assert reports[1].homogeneity is not None
    assert reports[1].homogeneity.label_count == 2
    assert reports[1].missing == {"zero_shot": "labels: nobody embeds them"}


async def test_methods_are_compared_on_one_split(config: AlignmentConfig, make_items: MakeItems) -> None:
    """Nothing is kept; a method that cannot be fitted has its reason; the best keeps the guard."""
    engine = await started(config, MemoryReader(make_items()))
    names = [artefact.manifest.aligner_id for artefact in await engine.keeper.list_newest("acme")]
    found, revision = await engine.judge.compare("photos", (), min_revision=0, options=FitOptions())
    assert {one.method for one in found.judged} | {method for method, _ in found.refused} == set(FITTED_METHODS)
    assert [reason for method, reason in found.refused if method == "spectral"] == [
        "dimension: must be from 1 to 15, below the raw dimension"
    ]
    assert len({one.found.guard.pair_count for one in found.judged}) == 1
    assert {one.method: one.found.guard.ok for one in found.judged}[found.best]
    assert revision == 7
    assert [artefact.manifest.aligner_id for artefact in await engine.keeper.list_newest("acme")] == names
    with pytest.raises(InvalidArgumentError, match="methods must be one of"):
        await engine.judge.compare("photos", ("magic",), min_revision=0, options=FitOptions())


async def test_the_active_aligner_s_maps_are_compared_too(config: AlignmentConfig, make_items: MakeItems) -> None:
    """Where one is active, under the name that fits them; asked for without one, the refusal says what is missing."""
    reader = MemoryReader(make_items())
    engine = await started(config, reader)
    without, _ = await engine.judge.compare("photos", ("recalibrate",), min_revision=0, options=FitOptions())
    assert [method for method, _ in without.refused] == ["recalibrate"]
    assert "make one active" in without.refused[0][1]
    reader.aligner = (await fit(engine, method="center"))[-1].artefact
    found, _ = await engine.judge.compare("photos", (), min_revision=0, options=FitOptions(hubness=True))
    methods = [one.method for one in found.judged] + [method for method, _ in found.refused]
    assert set(methods) == {*FITTED_METHODS, "recalibrate"}
    again = next(one for one in found.judged if one.method == "recalibrate").found
    assert again.after != again.before


async def test_an_evaluation_names_revision_aligner_and_calibration(
    config: AlignmentConfig, make_items: MakeItems
) -> None:
    """Without an aligner it is the raw space under an estimated calibration; all items are read."""
    reader = MemoryReader(make_items())
    found = await (await started(config, reader)).judge.evaluate("acme", "photos", min_revision=5, reference=None)
    assert (found.aligner, found.revision, found.calibration) == ("", 7, CalibrationSource.ESTIMATED)
    assert (found.report.pair_count, found.report.text_query_count) == (400, 800)
    assert reader.asked == [("photos", 5, False)]


async def test_an_evaluation_judges_the_active_or_the_named_aligner(
    config: AlignmentConfig, make_items: MakeItems
) -> None:
    """Centring lifts mixed retrieval across the gap; the named aligner goes before the active one."""
    reader = MemoryReader(make_items())
    engine = await started(config, reader)
    center = (await fit(engine))[-1].artefact
    assert center is not None
    named = await engine.judge.evaluate("acme", "photos", min_revision=0, reference="mine")
    reader.aligner = center
    active = await engine.judge.evaluate("acme", "photos", min_revision=0, reference=None)
    assert named == active
    assert (active.aligner, active.calibration) == (center.space, CalibrationSource.FITTED)
    await fit(engine, method="identity", aligner_id="plain", request_id="r2")
    plain = await engine.judge.evaluate("acme", "photos", min_revision=0, reference="plain")
    assert plain.aligner.startswith("plain@")


async def test_two_raw_spaces_need_an_aligner(config: AlignmentConfig, make_items: MakeItems) -> None:
    """The refusal holds the command that mends it; an aligner for other spaces is refused with all four."""
    reader = MemoryReader(make_items(), text_space=OTHER_SPACE)
    engine = await started(config, reader)
    with pytest.raises(FailedPreconditionError) as caught:
        await engine.judge.evaluate("acme", "photos", min_revision=0, reference=None)
    assert caught.value.reason == "NO_ALIGNER"
    assert caught.value.metadata["command"].startswith("isthmus align promote")
    reader.text_space = SPACE
    await fit(engine)
    reader.text_space = OTHER_SPACE
    with pytest.raises(FailedPreconditionError) as caught:
        await engine.judge.evaluate("acme", "photos", min_revision=0, reference="mine")
    assert caught.value.reason == "ALIGNER_SPACES_MISMATCH"
    assert caught.value.metadata["collection_text_space"] == OTHER_SPACE
    assert caught.value.metadata["aligner_text_space"] == SPACE


async def test_a_collection_of_one_modality_has_no_pairs(config: AlignmentConfig, make_items: MakeItems) -> None:
    """Its evaluation is refused for want of pairs, not for want of an aligner."""
    items = make_items()
    reader = MemoryReader({Modality.IMAGE: items[Modality.IMAGE]}, text_space="")
    with pytest.raises(FailedPreconditionError) as caught:
        await (await started(config, reader)).judge.evaluate("acme", "photos", min_revision=0, reference=None)
    assert caught.value.reason == "NOT_ENOUGH_PAIRS"


async def test_a_collection_over_the_limit_is_refused_while_it_is_read(
    config: AlignmentConfig, make_items: MakeItems
) -> None:
    """Memory is bounded: the refusal comes with the first item too many."""
    small = config.model_copy(update={"job_max_items_count": 100})
    with pytest.raises(ResourceExhaustedError, match="more than 100 items") as caught:
        await (await started(small, MemoryReader(make_items()))).judge.evaluate(
            "acme", "photos", min_revision=0, reference=None
        )
    assert caught.value.reason == "LIMIT_EXCEEDED"


class GatedReader(MemoryReader):
    """Holds its stream until it is let go."""

    gate: asyncio.Event

    async def read(
        self, collection: str, *, min_revision: int, paired_only: bool, notes: NotesWanted | None = None
    ) -> AsyncIterator[CollectionHead | ItemBatch]:
        """Wait, then yield as ever."""
        await self.gate.wait()
        async for message in super().read(collection, min_revision=min_revision, paired_only=paired_only, notes=notes):
            yield message


async def test_more_work_than_may_wait_is_refused_at_once(config: AlignmentConfig, make_items: MakeItems) -> None:
    """One runs, one waits, the third is told when to come back; afterwards there is room again."""
    reader = GatedReader(make_items())
    reader.gate = asyncio.Event()
    engine = await started(config.model_copy(update={"job_queue_count": 1}), reader)

    async def judge() -> object:
        return await engine.judge.evaluate("acme", "photos", min_revision=0, reference=None)

    async with asyncio.TaskGroup() as group:
        admitted = [group.create_task(judge()) for _ in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(ResourceExhaustedError) as caught:
            await judge()
        reader.gate.set()
    assert caught.value.reason == "OVERLOADED"
    assert caught.value.retry_after_s is not None
    assert admitted[0].result() == admitted[1].result() == await judge()


async def test_a_cancelled_evaluation_gives_its_turn_back(config: AlignmentConfig, make_items: MakeItems) -> None:
    """A caller that hangs up while items are read blocks nobody."""
    reader = GatedReader(make_items())
    reader.gate = asyncio.Event()
    engine = await started(config.model_copy(update={"job_queue_count": 0}), reader)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await engine.judge.evaluate("acme", "photos", min_revision=0, reference=None)
    reader.gate.set()
    assert (await engine.judge.evaluate("acme", "photos", min_revision=0, reference=None)).revision == 7


async def test_a_stream_without_its_head_is_a_bug(config: AlignmentConfig, make_items: MakeItems) -> None:
    """The searcher always names the collection first; if not, no figure is made up."""

    class Headless(MemoryReader):
        async def read(
            self, collection: str, *, min_revision: int, paired_only: bool, notes: NotesWanted | None = None
        ) -> AsyncIterator[CollectionHead | ItemBatch]:
            stream = super().read(collection, min_revision=min_revision, paired_only=paired_only, notes=notes)
            async for message in stream:
                if isinstance(message, ItemBatch):
                    yield message

    engine = await started(config, Headless(make_items()))
    with pytest.raises(InternalError):
        await engine.judge.evaluate("acme", "c", min_revision=0, reference=None)
