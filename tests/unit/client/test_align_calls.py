"""What each call about aligners and judgements sends and returns, sync and async: every test runs on both clients."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from isthmus.client import (
    FailedPreconditionError,
    FitOptions,
    FitProgress,
    InternalError,
    Moved,
    NotFoundError,
    ProbeRecall,
)
from tests.unit.client.both_clients import Both
from tests.unit.client.small_gateway import (
    ALIGNER,
    SmallGateway,
)


async def test_an_evaluation_keeps_every_figure(filled: Both) -> None:
    """Figures are fractions, as on the wire."""
    report = await filled("evaluate", "c", through_search=True)
    assert (report.pairs, report.image_queries, report.text_queries, report.through_search) == (10, 10, 50, True)
    assert (report.t2i.r1, report.t2i.r5, report.t2i.r10) == (0.25, 0.5, 0.75)
    assert (report.i2t.r1, report.mixed_text_query.ndcg10, report.mixed_image_query.own_share) == (0.375, 0.25, 0.5)
    assert (report.aligner, report.calibration) == (ALIGNER, "fitted")


async def test_a_measurement_tells_what_was_not_taken_from_nought(filled: Both, gateway: SmallGateway) -> None:
    """A measure that gave 0 is 0, one that was not taken is None; the request says how it is to be done."""
    report = await filled("measure_gap", "c", aligner=ALIGNER, seed=7, sample_count=18, compare_distances=True)
    assert (report.gap["centroid"], report.gap["paired_cosine"], report.gap["fid"]) == (0.5, 0.0, None)
    assert (report.pairs, report.text_count, report.share, report.seed) == (20, 40, 0.5, 7)
    assert json.loads(report.report_json)["missing"] == {"fid": "too few"}
    (request,) = gateway.requests["MeasureGap"]
    assert (request.aligner, request.sample_count, request.compare_distances) == (ALIGNER, 18, True)
    assert request.min_revision == gateway.collections["c"].revision


async def test_a_verification_says_why_it_refuses(filled: Both, gateway: SmallGateway) -> None:
    """A calibration error of 0 is 0; the whole report is there as JSON."""
    report = await filled("verify_aligner", "c", ALIGNER, seed=2)
    assert (report.guard_ok, report.guard_reasons) == (False, ("hubness growth: too much",))
    assert (report.aligner, report.pairs, report.ece) == (ALIGNER, 20, 0.0)
    assert json.loads(report.report_json).keys() == {"before", "after", "guard", "calibration"}
    (request,) = gateway.requests["VerifyAligner"]
    assert (request.seed, request.min_revision) == (2, report.revision)


async def test_a_comparison_tells_the_judged_from_the_refused(filled: Both, gateway: SmallGateway) -> None:
    """Methods stay in the order asked; one that cannot be fitted has its reason."""
    found = await filled("compare_aligners", "c", methods=("center", "cca", "spectral"), hubness=True)
    assert [report.method for report in found.reports] == ["center", "cca"]
    assert (found.refused, found.best) == ({"spectral": "too few pairs"}, "center")
    assert gateway.requests["CompareAligners"][0].hubness


@pytest.mark.parametrize(
    ("method", "arguments"),
    [("measure_gap", ()), ("verify_aligner", (ALIGNER,)), ("compare_aligners", ())],
    ids=["measure", "verify", "compare"],
)
async def test_a_page_comes_only_when_it_is_asked_for(method: str, arguments: tuple[str, ...], filled: Both) -> None:
    """The mesh draws it, which takes time; without asking there is none."""
    options = {"methods": ("center", "cca")} if method == "compare_aligners" else {}
    assert (await filled(method, "c", *arguments, **options)).page == ""
    assert (await filled(method, "c", *arguments, **options, page=True)).page == "<p>c</p>"


async def test_links_come_in_order_with_what_they_are_from(filled: Both, gateway: SmallGateway) -> None:
    """Both messages make one proposal; terms travel as they are named, and unset ones stay unset."""
    found = await filled("propose_links", "c")
    assert [link.image_id for link in found.links] == [f"i{n}" for n in range(30)]
    assert (found.links[1].text_id, found.links[1].score) == ("t1", -1.0)
    assert (found.image_count, found.text_count, found.accept_above) == (40, 50, None)
    assert (found.aligner, found.revision) == (ALIGNER, gateway.collections["c"].revision)
    few = await filled(
        "propose_links", "c", mode="best_text", false_accept_rate=0.05, expected_share=0.5, max_count=4, aligner="a"
    )
    assert (len(few.links), few.accept_above, few.aligner) == (4, 0.5, "a")
    first, second = gateway.requests["ProposeLinks"]
    assert (first.terms.mode, first.terms.HasField("expected_share"), first.min_revision) == (1, False, found.revision)
    assert (second.terms.mode, second.terms.false_accept_rate, second.terms.expected_share) == (3, 0.05, 0.5)


async def test_a_proposal_that_is_refused_or_cut_short_is_an_error(call: Both, gateway: SmallGateway) -> None:
    """The reason and the counts are the mesh's; a stream with links missing is no proposal; nonsense is not sent."""
    for name in ("paired", "cut"):
        await call("create_collection", name)
    with pytest.raises(FailedPreconditionError, match="0 images and 4 texts") as caught:
        await call("propose_links", "paired")
    assert (caught.value.reason, caught.value.metadata["text_count"]) == ("NOTHING_TO_LINK", "4")
    with pytest.raises(InternalError, match="before all had come"):
        await call("propose_links", "cut")
    sent = gateway.calls["ProposeLinks"]
    for wrong in ({"mode": "all"}, {"max_count": -1}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            await call("propose_links", "cut", **wrong)
    assert gateway.calls["ProposeLinks"] == sent


async def test_a_fit_tells_its_progress_and_returns_the_aligner(filled: Both, gateway: SmallGateway) -> None:
    """Each step is told; a stream that ends without an aligner is an InternalError."""
    steps: list[FitProgress] = []
    options = FitOptions(strength=0.5)
    found = await filled(
        "fit_aligner", "c", aligner_id="mine", method="center", options=options, seed=3, progress=steps.append
    )
    (request,) = gateway.requests["FitAligner"]
    assert (request.options.strength, request.options.HasField("lift"), request.seed) == (0.5, False, 3)
    assert (found.aligner, found.method) == ("mine@0000000000000001", "center")
    assert [(step.progress, step.stage) for step in steps] == [(0.25, "reading"), (0.75, "fitting"), (1, "done")]
    with pytest.raises(InternalError, match="without an aligner"):
        await filled("fit_aligner", "c", aligner_id="never", method="center")
    with pytest.raises(NotFoundError):
        await filled("fit_aligner", "nowhere", aligner_id="mine", method="center")


async def test_aligners_are_listed_imported_and_promoted(filled: Both, gateway: SmallGateway, tmp_path: Path) -> None:
    """An import sends the two files of an artefact's folder; a promotion returns the collection as it is then."""
    assert [aligner.aligner for aligner in await filled("list_aligners")] == [ALIGNER]
    (tmp_path / "manifest.json").write_bytes(b"{}")
    (tmp_path / "aligner.safetensors").write_bytes(b"tensors")
    assert (await filled("import_aligner", tmp_path)).aligner == "mine@0000000000000002"
    artefact = gateway.requests["ImportAligner"][0].artefact
    assert (artefact.manifest, artefact.tensors) == (b"{}", b"tensors")
    collection = await filled(
        "promote_aligner", "c", "mine@0000000000000002", allow_unverified=True, override_reason="so decided"
    )
    (request,) = gateway.requests["PromoteAligner"]
    assert (request.allow_unverified, request.override_reason) == (True, "so decided")
    assert collection.aligner == "mine@0000000000000002"
    with pytest.raises(FileNotFoundError):
        await filled("import_aligner", tmp_path / "missing")


async def test_an_aligner_is_shown_and_exported(filled: Both, gateway: SmallGateway, tmp_path: Path) -> None:
    """The artefact travels only when it is exported; what is written can be imported as it lies."""
    found = await filled("get_aligner", ALIGNER)
    assert (found.aligner, found.method) == (ALIGNER, "heads")
    assert await filled("export_aligner", ALIGNER, tmp_path / "new" / "folder") == found
    assert [r.include_artefact for r in gateway.requests["GetAligner"]] == [False, True]
    await filled("import_aligner", tmp_path / "new" / "folder")
    artefact = gateway.requests["ImportAligner"][0].artefact
    assert (artefact.manifest, artefact.tensors) == (b"{}", b"tensors")
    with pytest.raises(NotFoundError, match="ALIGNER_NOT_FOUND"):
        await filled("get_aligner", "nobody")


async def test_a_rollback_returns_the_collection_and_is_read_after(filled: Both, gateway: SmallGateway) -> None:
    """Reads that follow see it; with nothing to return to it is refused."""
    rolled_back = await filled("rollback_aligner", "c")
    assert rolled_back.aligner == ""
    await filled("search", "c", text="a")
    assert gateway.requests["SearchItems"][-1].min_revision == rolled_back.revision
    with pytest.raises(FailedPreconditionError, match="NO_PREVIOUS_ALIGNER"):
        await filled("rollback_aligner", "c")


async def test_what_was_active_is_listed(filled: Both) -> None:
    """Newest first, with the time as one, and the reason of a promotion that was forced."""
    found = await filled("list_promotions", "c")
    assert found.total_count == 12
    forced, created = found.promotions
    assert (forced.aligner, forced.revision, forced.kind) == (ALIGNER, 7, "promoted")
    assert (forced.override_reason, forced.unverified) == ("the editors decided so", False)
    assert forced.time.isoformat() == "2023-11-14T22:13:20.123456+00:00"
    assert (created.aligner, created.kind, created.override_reason) == ("", "created", "")
    with pytest.raises(NotFoundError):
        await filled("list_promotions", "nowhere")


async def test_a_shadow_is_set_reported_and_taken_off(filled: Both, gateway: SmallGateway) -> None:
    """Figures that nobody has yet are None; the report is asked for as new as this client's own writes."""
    assert (await filled("shadow_report", "c")).overlap is None
    made = await filled("set_shadow_aligner", "c", ALIGNER)
    assert made.shadow_aligner == ALIGNER
    found = await filled("shadow_report", "c")
    assert gateway.requests["GetShadowReport"][-1].min_revision == made.revision
    assert (found.aligner, found.state, found.requests, found.queries) == (ALIGNER, "ready", 40, 50)
    assert (found.overlap, found.top1_changed, found.own_share_active, found.own_share_shadow) == (
        0.75,
        0.5,
        1.0,
        0.375,
    )
    assert (found.active_s, found.shadow_s, found.dropped_busy_count) == (0.002, 0.003, 3)
    assert (await filled("set_shadow_aligner", "c", None)).shadow_aligner == ""
    assert (await filled("shadow_report", "c")).state == "off"


async def test_a_watched_collection_tells_how_it_moved_and_what_is_proposed(
    filled: Both, gateway: SmallGateway
) -> None:
    """What is unknown is None or absent, never 0; times are times; a dismissal carries its reason."""
    found = await filled("get_watch", "c")
    assert (found.aligner, found.revision, found.pairs, found.unmeasured) == (ALIGNER, 7, 200, "")
    assert found.time.isoformat() == "2023-11-14T22:13:20.123456+00:00"
    assert (found.raw_gap, found.aligned_gap) == (None, 0.125)
    assert found.drift.keys() == {"image"}
    assert found.drift["image"].mean == Moved(distance=0.5, noise_floor=0.125, share=0.25, floors=4.0)
    assert found.probe is None
    assert found.fit_probe == ProbeRecall(gallery=50, pairs=100, image_query=0.75, text_query=0.5)
    assert found.limits.recall_drop == 0.0625
    (proposal,) = found.proposals
    assert (proposal.cause, proposal.subject, proposal.state, proposal.closed) == ("mean", "image", "open", None)
    assert await filled("list_proposals", "c", include_closed=True) == (proposal,)
    assert gateway.requests["ListProposals"][-1].include_closed
    closed = await filled("dismiss_proposal", "c", proposal.proposal, reason="known")
    assert (closed.state, closed.reason, closed.closed.year) == ("dismissed", "known", 2023)
    with pytest.raises(NotFoundError):
        await filled("get_watch", "nowhere")
