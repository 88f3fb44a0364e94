"""The engine: fit, keep, align, evaluate; each refusal with its reason."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from isthmus.alignment.config import AlignmentConfig
from isthmus.alignment.engine import AlignmentEngine, FitProgress
from isthmus.alignment.ports import CollectionHead, ItemBatch
from isthmus.core import Modality, canonical
from isthmus.core.aligners import FITTED_METHODS, CenterAligner, FitOptions, IdentityAligner
from isthmus.core.calibration import CalibrationSource
from isthmus.core.splits import held_out
from isthmus.runtime.base.errors import (
    DataLossError,
    FailedPreconditionError,
    InternalError,
    InvalidArgumentError,
    IsthmusError,
    NotFoundError,
    ResourceExhaustedError,
    UnavailableError,
)
from tests.unit.alignment.conftest import OTHER_SPACE, SPACE, MakeItems, MemoryReader


async def started(config: AlignmentConfig, reader: MemoryReader) -> AlignmentEngine:
    """Return an engine that is ready."""
    engine = AlignmentEngine(config, reader)
    await engine.start()
    return engine


async def fit(
    engine: AlignmentEngine,
    *,
    method: str = "center",
    aligner_id: str = "mine",
    request_id: str = "r1",
    options: FitOptions | None = None,
) -> list[FitProgress]:
    """Fit to the end and return every step."""
    steps = engine.fit(
        "acme",
        "photos",
        aligner_id=aligner_id,
        method=method,
        options=options or FitOptions(),
        min_revision=3,
        request_id=request_id,
    )
    return [step async for step in steps]


async def test_a_fit_reports_progress_and_ends_with_the_aligner(config: AlignmentConfig, make_items: MakeItems) -> None:
    """Progress never falls; the stages come in order; the last step, and only it, holds the artefact."""
    reader = MemoryReader(make_items())
    steps = await fit(await started(config, reader))
    assert [step.progress for step in steps] == sorted(step.progress for step in steps)
    assert list(dict.fromkeys(step.stage for step in steps)) == ["reading", "fitting", "verifying", "saving", "done"]
    assert steps[-1].progress == 1.0
    assert [step.artefact is not None for step in steps] == [False] * (len(steps) - 1) + [True]
    assert reader.asked == [("photos", 3, True)]


@pytest.mark.parametrize("method", FITTED_METHODS)
async def test_a_fit_is_calibrated_and_judged_on_pairs_it_has_not_seen(
    method: str, config: AlignmentConfig, make_items: MakeItems
) -> None:
    """The manifest holds a fitted calibration, and a report over the held-out fifth with the guard's verdict."""
    options = FitOptions(dimension=8) if method == "spectral" else None  # the vectors have 16 components only
    steps = await fit(await started(config, MemoryReader(make_items())), method=method, options=options)
    artefact = steps[-1].artefact
    assert artefact is not None
    manifest = artefact.manifest
    assert manifest.calibration is not None
    assert manifest.calibration.source is CalibrationSource.FITTED
    assert 50 <= manifest.report["n"] <= 110  # 72 of 400 measured
    learned = 400 - manifest.report["n"]
    assert manifest.pair_count < learned  # some of the others calibrate
    assert manifest.report["recall"]["t2i"]["r10"] > 0.8  # 0.94 measured for cca, 1.0 for identity, among 72 photos
    assert manifest.report["before"]["n"] == manifest.report["guard"]["n"] == manifest.report["n"]
    assert manifest.report["ece"] < 0.5


async def test_a_fitted_aligner_is_there_after_a_restart(config: AlignmentConfig, make_items: MakeItems) -> None:
    """It is kept before the last step is sent."""
    reader = MemoryReader(make_items())
    artefact = (await fit(await started(config, reader)))[-1].artefact
    assert artefact is not None
    again = await started(config, reader)
    assert (await again.get("acme", "mine")).revision == artefact.revision
    assert (await again.get("acme", artefact.space)).revision == artefact.revision


async def test_the_same_request_again_fits_nothing(config: AlignmentConfig, make_items: MakeItems) -> None:
    """A retried call gets the aligner that the first one made, and reads no item."""
    reader = MemoryReader(make_items())
    engine = await started(config, reader)
    first = (await fit(engine))[-1].artefact
    reader.items = make_items(photos=300)
    steps = await fit(engine)
    assert len(steps) == 1
    assert steps[0].artefact == first
    assert len(reader.asked) == 1


async def test_center_needs_pairs_and_identity_does_not(config: AlignmentConfig, make_items: MakeItems) -> None:
    """`identity` of a few pairs is made without calibration; `center` says how many pairs it needs."""
    engine = await started(config, MemoryReader(make_items(photos=20)))
    with pytest.raises(FailedPreconditionError, match="at least 64") as caught:
        await fit(engine)
    assert caught.value.reason == "NOT_ENOUGH_PAIRS"
    artefact = (await fit(engine, method="identity"))[-1].artefact
    assert artefact is not None
    assert artefact.manifest.calibration is None


@pytest.mark.parametrize(
    ("spaces", "reason"),
    [((SPACE, OTHER_SPACE), "ALIGNER_SPACES_MISMATCH"), ((SPACE, ""), "NOT_ENOUGH_PAIRS")],
)
async def test_a_fit_needs_one_raw_space(
    spaces: tuple[str, str], reason: str, config: AlignmentConfig, make_items: MakeItems
) -> None:
    """Two raw spaces are for learned heads; one modality alone has no pairs."""
    reader = MemoryReader(make_items(), image_space=spaces[0], text_space=spaces[1])
    engine = await started(config, reader)
    for method in ("identity", "center", "spectral"):
        with pytest.raises(FailedPreconditionError) as caught:
            await fit(engine, method=method)
        assert caught.value.reason == reason


async def test_the_options_of_a_fit_reach_the_method(config: AlignmentConfig, make_items: MakeItems) -> None:
    """One that the method does not have is refused, with those that have it."""
    engine = await started(config, MemoryReader(make_items()))
    artefact = (await fit(engine, method="cca", options=FitOptions(dimension=5, hubness=True, seed=4)))[-1].artefact
    assert artefact is not None
    assert (artefact.manifest.dimension, artefact.manifest.seed) == (5, 4)
    assert artefact.manifest.settings["hubness_neighbours"] == 10
    with pytest.raises(InvalidArgumentError, match="strength: cca has none; shift, center") as caught:
        await fit(engine, method="cca", options=FitOptions(strength=0.5), request_id="r2")
    assert caught.value.reason == "INVALID_FIELD"


async def test_a_photo_on_both_sides_of_the_split_is_refused(config: AlignmentConfig, make_items: MakeItems) -> None:
    """The same vector under two pair keys would be learned from and judged on."""
    items = make_items()
    images = items[Modality.IMAGE]
    out = held_out([key or "" for key in images.pair_keys], seed=0)
    images.vectors[np.flatnonzero(out)[0]] = images.vectors[np.flatnonzero(~out)[0]]
    with pytest.raises(FailedPreconditionError, match="give equal photos one pair_key") as caught:
        await fit(await started(config, MemoryReader(items)))
    assert caught.value.reason == "PAIRS_LEAK"


async def test_a_fit_whose_caller_goes_keeps_nothing_and_frees_its_turn(
    config: AlignmentConfig, make_items: MakeItems
) -> None:
    """Given up while it fits, it is not judged and not kept, and the next job runs."""
    engine = await started(config.model_copy(update={"job_queue_count": 0}), MemoryReader(make_items()))
    stages: list[str] = []
    fitting = asyncio.Event()

    async def watch() -> None:
        async for step in engine.fit(
            "acme",
            "photos",
            aligner_id="gone",
            method="transport",
            options=FitOptions(),
            min_revision=0,
            request_id="r",
        ):
            stages.append(step.stage)
            if step.stage == "fitting":
                fitting.set()

    watching = asyncio.create_task(watch())
    await fitting.wait()
    await asyncio.sleep(0)  # let it ask for the next step, which is the fit
    watching.cancel()
    with pytest.raises(asyncio.CancelledError):
        await watching
    assert stages[-1] == "fitting"
    assert (await fit(engine, aligner_id="next"))[-1].stage == "done"
    with pytest.raises(NotFoundError):
        await engine.get("acme", "gone")


async def test_an_aligner_is_judged_on_what_its_fit_held_out(config: AlignmentConfig, make_items: MakeItems) -> None:
    """Judged again, it gets the figures that it carries."""
    engine = await started(config, MemoryReader(make_items()))
    artefact = (await fit(engine, options=FitOptions(seed=5)))[-1].artefact
    assert artefact is not None
    report = artefact.manifest.report
    verified, revision = await engine.verify("acme", "photos", "mine", min_revision=0, seed=0)
    assert (verified.aligner, verified.method, revision) == (artefact.space, "center", 7)
    assert dict(verified.found.after) == {name: report[name] for name in verified.found.after}
    assert verified.found.guard.to_dict() == report["guard"]
    with pytest.raises(NotFoundError):
        await engine.verify("acme", "photos", "other", min_revision=0, seed=0)


async def test_an_aligner_is_judged_against_the_active_one(config: AlignmentConfig, make_items: MakeItems) -> None:
    """What is served now is what may not get worse: against itself an aligner gains nothing."""
    reader = MemoryReader(make_items())
    engine = await started(config, reader)
    artefact = (await fit(engine))[-1].artefact
    assert artefact is not None
    assert artefact.manifest.report["against"] == ""
    assert artefact.manifest.report["guard"]["ok"]
    reader.aligner = artefact
    again, _ = await engine.verify("acme", "photos", "mine", min_revision=0, seed=0)
    assert again.found.against == artefact.space
    assert again.found.before == again.found.after
    assert not again.found.guard.ok
    assert "nDCG@10 over both modalities: +0.000" in again.found.guard.reasons[0]


async def test_methods_are_compared_on_one_split(config: AlignmentConfig, make_items: MakeItems) -> None:
    """Nothing is kept; a method that cannot be fitted has its reason; the best keeps the guard."""
    engine = await started(config, MemoryReader(make_items()))
    names = [artefact.manifest.aligner_id for artefact in await engine.list_newest("acme")]
    found, revision = await engine.compare("photos", (), min_revision=0, options=FitOptions())
    assert {one.method for one in found.judged} | {method for method, _ in found.refused} == set(FITTED_METHODS)
    assert [reason for method, reason in found.refused if method == "spectral"] == [
        "dimension: must be from 1 to 15, below the raw dimension"
    ]
    assert len({one.found.guard.pair_count for one in found.judged}) == 1
    assert {one.method: one.found.guard.ok for one in found.judged}[found.best]
    assert revision == 7
    assert [artefact.manifest.aligner_id for artefact in await engine.list_newest("acme")] == names
    with pytest.raises(InvalidArgumentError, match="methods must be one of"):
        await engine.compare("photos", ("magic",), min_revision=0, options=FitOptions())


async def test_heads_are_not_fitted_here(config: AlignmentConfig, make_items: MakeItems) -> None:
    """Training needs torch and minutes; it is a command, not a call."""
    with pytest.raises(InvalidArgumentError, match="method must be one of identity, shift, center"):
        await fit(await started(config, MemoryReader(make_items())), method="heads")


async def test_aligning_needs_the_aligners_own_raw_space(config: AlignmentConfig, make_items: MakeItems) -> None:
    """Vectors of another space are refused with both spaces in the error, never mapped."""
    engine = await started(config, MemoryReader(make_items()))
    artefact = (await fit(engine))[-1].artefact
    assert artefact is not None
    x = canonical(np.random.default_rng(0).normal(size=(5, 16)))
    space, aligned = await engine.align("acme", "mine", x, modality=Modality.TEXT, space=SPACE)
    assert space == artefact.space
    expected = CenterAligner.from_artefact(artefact).align(x, Modality.TEXT)
    assert (aligned == expected).all()
    with pytest.raises(FailedPreconditionError) as caught:
        await engine.align("acme", "mine", x, modality=Modality.TEXT, space=OTHER_SPACE)
    assert caught.value.reason == "SPACE_MISMATCH"
    assert caught.value.metadata == {"space": OTHER_SPACE, "expected": SPACE}


@pytest.mark.parametrize("x", [np.full((1, 16), np.nan), np.zeros((1, 16)), np.ones((1, 15))])
async def test_bad_vectors_are_refused(x: NDArray[np.float64], config: AlignmentConfig, make_items: MakeItems) -> None:
    """NaN, zero length and a wrong dimension are INVALID_VECTOR."""
    engine = await started(config, MemoryReader(make_items()))
    await fit(engine)
    with pytest.raises(InvalidArgumentError) as caught:
        await engine.align("acme", "mine", x.astype(np.float32), modality=Modality.IMAGE, space=SPACE)
    assert caught.value.reason == "INVALID_VECTOR"


async def test_an_aligner_that_is_not_there_is_not_found(config: AlignmentConfig, make_items: MakeItems) -> None:
    """By name, by revision, and in another tenant."""
    engine = await started(config, MemoryReader(make_items()))
    await fit(engine)
    for tenant, reference in (("acme", "other"), ("acme", f"mine@{'0' * 16}"), ("zenith", "mine")):
        with pytest.raises(NotFoundError) as caught:
            await engine.get(tenant, reference)
        assert caught.value.reason == "ALIGNER_NOT_FOUND"


async def test_an_imported_artefact_is_verified_first(config: AlignmentConfig, make_items: MakeItems) -> None:
    """A damaged one is the caller's mistake; a whole one is kept and listed."""
    engine = await started(config, MemoryReader(make_items()))
    artefact = IdentityAligner.fit(aligner_id="given", space=SPACE, dimension=16, created_by="a test")
    manifest, tensors = artefact.to_bytes()
    with pytest.raises(InvalidArgumentError) as caught:
        await engine.keep("acme", manifest=manifest, tensors=tensors + b"x", request_id="r")
    assert caught.value.reason == "ARTEFACT_DAMAGED"
    kept = await engine.keep("acme", manifest=manifest, tensors=tensors, request_id="r")
    assert kept.revision == artefact.revision
    assert "given" in [found.manifest.aligner_id for found in await engine.list_newest("acme")]


async def test_a_tenant_has_a_bounded_number_of_names(config: AlignmentConfig, make_items: MakeItems) -> None:
    """One list holds them all: a name too many is refused, a new revision of a known name is not."""
    engine = await started(config.model_copy(update={"names_count": 2}), MemoryReader(make_items()))
    await fit(engine, aligner_id="one")  # the shipped one is the other name
    with pytest.raises(ResourceExhaustedError) as caught:
        await fit(engine, aligner_id="two")
    assert caught.value.reason == "LIMIT_EXCEEDED"
    two = IdentityAligner.fit(aligner_id="two", space=SPACE, dimension=16, created_by="a test")
    with pytest.raises(ResourceExhaustedError):
        await engine.keep("acme", manifest=two.to_bytes()[0], tensors=two.to_bytes()[1], request_id="r")
    await fit(engine, aligner_id="one", method="identity", request_id="r2")


async def test_an_artefact_damaged_on_disk_is_data_loss(config: AlignmentConfig, make_items: MakeItems) -> None:
    """What we kept and cannot verify is our failure, not the caller's."""
    engine = await started(config, MemoryReader(make_items()))
    artefact = (await fit(engine))[-1].artefact
    assert artefact is not None
    folder = Path(config.aligners_dir) / "acme" / "mine" / artefact.revision
    (folder / "aligner.safetensors").write_bytes(b"damaged")
    with pytest.raises(DataLossError) as caught:
        await engine.get("acme", "mine")
    assert caught.value.reason == "ARTEFACT_DAMAGED"


async def test_an_evaluation_names_revision_aligner_and_calibration(
    config: AlignmentConfig, make_items: MakeItems
) -> None:
    """Without an aligner it is the raw space under an estimated calibration; all items are read."""
    reader = MemoryReader(make_items())
    found = await (await started(config, reader)).evaluate("acme", "photos", min_revision=5, reference=None)
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
    named = await engine.evaluate("acme", "photos", min_revision=0, reference="mine")
    reader.aligner = center
    active = await engine.evaluate("acme", "photos", min_revision=0, reference=None)
    assert named == active
    assert (active.aligner, active.calibration) == (center.space, CalibrationSource.FITTED)
    await fit(engine, method="identity", aligner_id="plain", request_id="r2")
    assert (await engine.evaluate("acme", "photos", min_revision=0, reference="plain")).aligner.startswith("plain@")


async def test_two_raw_spaces_need_an_aligner(config: AlignmentConfig, make_items: MakeItems) -> None:
    """The refusal holds the command that mends it; an aligner for other spaces is refused with all four."""
    reader = MemoryReader(make_items(), text_space=OTHER_SPACE)
    engine = await started(config, reader)
    with pytest.raises(FailedPreconditionError) as caught:
        await engine.evaluate("acme", "photos", min_revision=0, reference=None)
    assert caught.value.reason == "NO_ALIGNER"
    assert caught.value.metadata["command"].startswith("isthmus aligners promote")
    reader.text_space = SPACE
    await fit(engine)
    reader.text_space = OTHER_SPACE
    with pytest.raises(FailedPreconditionError) as caught:
        await engine.evaluate("acme", "photos", min_revision=0, reference="mine")
    assert caught.value.reason == "ALIGNER_SPACES_MISMATCH"
    assert caught.value.metadata["collection_text_space"] == OTHER_SPACE
    assert caught.value.metadata["aligner_text_space"] == SPACE


async def test_a_collection_of_one_modality_has_no_pairs(config: AlignmentConfig, make_items: MakeItems) -> None:
    """Its evaluation is refused for want of pairs, not for want of an aligner."""
    items = make_items()
    reader = MemoryReader({Modality.IMAGE: items[Modality.IMAGE]}, text_space="")
    with pytest.raises(FailedPreconditionError) as caught:
        await (await started(config, reader)).evaluate("acme", "photos", min_revision=0, reference=None)
    assert caught.value.reason == "NOT_ENOUGH_PAIRS"


async def test_a_collection_over_the_limit_is_refused_while_it_is_read(
    config: AlignmentConfig, make_items: MakeItems
) -> None:
    """Memory is bounded: the refusal comes with the first item too many."""
    small = config.model_copy(update={"job_max_items_count": 100})
    with pytest.raises(ResourceExhaustedError, match="more than 100 items") as caught:
        await (await started(small, MemoryReader(make_items()))).evaluate(
            "acme", "photos", min_revision=0, reference=None
        )
    assert caught.value.reason == "LIMIT_EXCEEDED"


class GatedReader(MemoryReader):
    """Holds its stream until it is let go."""

    gate: asyncio.Event

    async def read(
        self, collection: str, *, min_revision: int, paired_only: bool
    ) -> AsyncIterator[CollectionHead | ItemBatch]:
        """Wait, then yield as ever."""
        await self.gate.wait()
        async for message in super().read(collection, min_revision=min_revision, paired_only=paired_only):
            yield message


async def test_more_work_than_may_wait_is_refused_at_once(config: AlignmentConfig, make_items: MakeItems) -> None:
    """One runs, one waits, the third is told when to come back; afterwards there is room again."""
    reader = GatedReader(make_items())
    reader.gate = asyncio.Event()
    engine = await started(config.model_copy(update={"job_queue_count": 1}), reader)

    async def judge() -> object:
        return await engine.evaluate("acme", "photos", min_revision=0, reference=None)

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
            await engine.evaluate("acme", "photos", min_revision=0, reference=None)
    reader.gate.set()
    assert (await engine.evaluate("acme", "photos", min_revision=0, reference=None)).revision == 7


async def test_before_its_start_the_engine_is_not_ready(config: AlignmentConfig, make_items: MakeItems) -> None:
    """A call that comes too early is told to come back."""
    engine = AlignmentEngine(config, MemoryReader(make_items()))
    with pytest.raises(UnavailableError) as caught:
        await engine.get("acme", "mine")
    assert caught.value.reason == "NOT_READY"


async def test_a_stream_without_its_head_is_a_bug(config: AlignmentConfig, make_items: MakeItems) -> None:
    """The searcher always names the collection first; if not, no figure is made up."""

    class Headless(MemoryReader):
        async def read(
            self, collection: str, *, min_revision: int, paired_only: bool
        ) -> AsyncIterator[CollectionHead | ItemBatch]:
            stream = super().read(collection, min_revision=min_revision, paired_only=paired_only)
            async for message in stream:
                if isinstance(message, ItemBatch):
                    yield message

    with pytest.raises(InternalError):
        await (await started(config, Headless(make_items()))).evaluate("acme", "c", min_revision=0, reference=None)


async def test_every_refusal_is_safe_to_show(config: AlignmentConfig, make_items: MakeItems) -> None:
    """No path, no module and no Python in any message."""
    engine = await started(config, MemoryReader(make_items(photos=20)))
    messages = []
    for attempt in (
        engine.get("acme", "none"),
        engine.keep("acme", manifest=b"{", tensors=b"", request_id="r"),
        engine.align("acme", "none", np.ones((1, 2), np.float32), modality=Modality.IMAGE, space=SPACE),
    ):
        with pytest.raises(IsthmusError) as caught:
            await attempt
        messages.append(caught.value.message)
    for message in messages:
        assert str(config.aligners_dir) not in message
        assert "isthmus." not in message
        assert "Error" not in message
