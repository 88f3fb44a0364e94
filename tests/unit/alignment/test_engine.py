"""The engine: fit; each refusal with its reason."""

from __future__ import annotations

import asyncio
import importlib
import threading

import numpy as np
import pytest

from isthmus.alignment.config import AlignmentConfig
from isthmus.core import Modality
from isthmus.core.aligners import FITTED_METHODS, FitOptions
from isthmus.core.aligners.reference import without_reference
from isthmus.core.calibration import CalibrationSource
from isthmus.core.checkpoint import checkpoint
from isthmus.core.splits import held_out
from isthmus.runtime.base.errors import (
    FailedPreconditionError,
    InvalidArgumentError,
    NotFoundError,
    ResourceExhaustedError,
)
from tests.unit.alignment.conftest import OTHER_SPACE, SPACE, MakeItems, MemoryReader, fit, started


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
    assert (await again.keeper.get("acme", "mine")).revision == artefact.revision
    assert (await again.keeper.get("acme", artefact.space)).revision == artefact.revision


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


async def test_the_maps_of_an_aligner_stay_under_a_new_calibration(
    config: AlignmentConfig, make_items: MakeItems
) -> None:
    """Those of the active one, or of the one that is named; judged against the active one, as everything is."""
    reader = MemoryReader(make_items())
    engine = await started(config, reader)
    base = (await fit(engine, method="cca", aligner_id="base"))[-1].artefact
    other = (await fit(engine, method="ridge", aligner_id="other"))[-1].artefact
    assert base is not None
    assert other is not None
    with pytest.raises(InvalidArgumentError, match="recalibrate: needs an aligner whose maps it keeps"):
        await fit(engine, method="recalibrate")
    reader.aligner = base
    made = (await fit(engine, method="recalibrate", options=FitOptions(hubness=True)))[-1].artefact
    assert made is not None
    assert made.manifest.method == "cca"
    assert made.manifest.settings["on_top_of"] == base.space
    assert made.manifest.settings["hubness_neighbours"] == 10
    assert made.manifest.report["against"] == base.space
    assert made.manifest.calibration != base.manifest.calibration
    for name, tensor in without_reference(base.tensors).items():
        np.testing.assert_array_equal(made.tensors[name], tensor)
    named = (await fit(engine, method="recalibrate", on_top_of="other", request_id="r2"))[-1].artefact
    assert named is not None
    assert (named.manifest.method, named.manifest.report["against"]) == ("ridge", base.space)
    assert named.tensors.keys() == other.tensors.keys()
    with pytest.raises(NotFoundError):
        await fit(engine, method="recalibrate", on_top_of="nobody", request_id="r3")
    with pytest.raises(InvalidArgumentError, match=r"options.on_top_of: cca keeps no aligner's maps") as caught:
        await fit(engine, method="cca", on_top_of="other", request_id="r4")
    assert caught.value.metadata["field"] == "options.on_top_of"
    reader.image_space = reader.text_space = OTHER_SPACE
    with pytest.raises(FailedPreconditionError, match="not of the raw spaces that the aligner accepts"):
        await fit(engine, method="recalibrate", on_top_of="other", request_id="r5")


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
        await engine.keeper.get("acme", "gone")


@pytest.mark.parametrize(
    "loop", ["aligners.transport", "calibration.fit", "held_out", "gap.bootstrap", "calibration.reliability"]
)
async def test_a_fit_is_given_up_in_the_middle_of_whatever_it_is_at(
    config: AlignmentConfig, make_items: MakeItems, monkeypatch: pytest.MonkeyPatch, loop: str
) -> None:
    """Within a stage too: the one thread there is is free for the next job at once, and nothing is kept."""
    module = importlib.import_module(f"isthmus.core.{loop}")
    event_loop, reached = asyncio.get_running_loop(), asyncio.Event()
    went_on = threading.Event()
    passed: list[str] = []

    def spied() -> None:
        """Tell that the loop is reached, and let it go on once the caller is gone."""
        if not reached.is_set():
            event_loop.call_soon_threadsafe(reached.set)
            went_on.wait(20)
        checkpoint()
        passed.append(loop)

    monkeypatch.setattr(module, "checkpoint", spied)
    engine = await started(config, MemoryReader(make_items()))
    watching = asyncio.create_task(fit(engine, aligner_id="gone", method="transport"))
    await asyncio.wait_for(reached.wait(), 60)
    watching.cancel()
    with pytest.raises(asyncio.CancelledError):
        await watching
    monkeypatch.undo()
    went_on.set()
    assert (await fit(engine, aligner_id="next"))[-1].stage == "done"
    assert passed == []
    with pytest.raises(NotFoundError):
        await engine.keeper.get("acme", "gone")


async def test_heads_are_not_fitted_here(config: AlignmentConfig, make_items: MakeItems) -> None:
    """Training needs torch and minutes; it is a command, not a call."""
    with pytest.raises(InvalidArgumentError, match="method must be one of identity, shift, center"):
        await fit(await started(config, MemoryReader(make_items())), method="heads")


async def test_a_fit_of_a_name_too_many_is_refused(config: AlignmentConfig, make_items: MakeItems) -> None:
    """It is refused before an item is read; a new revision of a known name is not."""
    reader = MemoryReader(make_items())
    engine = await started(config.model_copy(update={"names_count": 2}), reader)
    await fit(engine, aligner_id="one")  # the shipped one is the other name
    with pytest.raises(ResourceExhaustedError) as caught:
        await fit(engine, aligner_id="two")
    assert caught.value.reason == "LIMIT_EXCEEDED"
    assert len(reader.asked) == 1
    await fit(engine, aligner_id="one", method="identity", request_id="r2")
