"""What each call sends and returns, sync and async: every test here runs on both clients."""

from __future__ import annotations

import inspect
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from isthmus.client import (
    AlreadyExistsError,
    AsyncClient,
    Client,
    ClientConfig,
    F,
    FailedPreconditionError,
    FitOptions,
    FitProgress,
    GuardLimits,
    Input,
    InternalError,
    InvalidArgumentError,
    Item,
    Limits,
    Moved,
    NotFoundError,
    ProbeRecall,
    SpacedVector,
)
from tests.unit.client.small_gateway import (
    ALIGNER,
    BROKEN_IMAGE,
    IMAGE_SPACE,
    TEXT_SPACE,
    Running,
    SmallGateway,
    embedding,
)


class _Both:
    """One of the two clients behind one way to call it."""

    def __init__(self, client: Client | AsyncClient) -> None:
        self._client = client

    async def __call__(self, name: str, *arguments: Any, **options: Any) -> Any:
        """Call a method, and wait where that is needed."""
        answer = getattr(self._client, name)(*arguments, **options)
        return await answer if inspect.isawaitable(answer) else answer


@pytest.fixture(params=["sync", "async"])
async def call(request: pytest.FixtureRequest, server: Running) -> AsyncIterator[_Both]:
    """A client with small messages: three inputs each."""
    config = ClientConfig(limits=Limits(chunk_max_count=3))
    if request.param == "sync":
        with Client(server.address, config=config) as client:
            yield _Both(client)
    else:
        async with AsyncClient(server.address, config=config) as client:
            yield _Both(client)


async def test_embeddings_come_back_in_order_over_several_messages(call: _Both, gateway: SmallGateway) -> None:
    """Five images and four texts take three messages; rows and their numbers are those of one call."""
    images = [bytes([n]) for n in range(5)]
    texts = ["a", "b", "c", "d"]
    result = await call("embed", images=images, texts=texts)
    assert gateway.calls["Embed"] == 3
    assert result.images.indexes.tolist() == [0, 1, 2, 3, 4]
    assert result.texts.indexes.tolist() == [5, 6, 7, 8]
    np.testing.assert_array_equal(result.images.vectors, [embedding(image) for image in images])
    np.testing.assert_array_equal(result.texts.vectors, [embedding(text.encode()) for text in texts])
    assert (result.images.space, result.texts.space) == (IMAGE_SPACE, TEXT_SPACE)
    assert (result.images.vectors.dtype, result.images.indexes.dtype) == (np.float32, np.int64)
    assert result.timings.cache_misses == 9
    result.raise_for_errors()


async def test_a_refused_input_is_named_and_leaves_a_gap(call: _Both) -> None:
    """Errors and cut texts carry the number of the input in the whole call; `vector` finds rows and refusals."""
    inputs = [
        Input(text="a"),
        Input(image=b"b"),
        Input(image=BROKEN_IMAGE),
        Input(text="this is a text of more than 20"),
        Input(text=" "),
    ]
    result = await call("embed", inputs=inputs)
    assert [(e.index, e.code, e.reason) for e in result.errors] == [
        (2, "INVALID_ARGUMENT", "INVALID_IMAGE"),
        (4, "INVALID_ARGUMENT", "EMPTY_TEXT"),
    ]
    assert (result.images.indexes.tolist(), result.texts.indexes.tolist()) == ([1], [0, 3])
    assert result.truncated == (3,)
    np.testing.assert_array_equal(result.vector(1), embedding(b"b"))
    with pytest.raises(InvalidArgumentError, match="INVALID_IMAGE"):
        result.vector(2)
    with pytest.raises(IndexError):
        result.vector(5)
    with pytest.raises(InvalidArgumentError):
        result.raise_for_errors()


async def test_embedding_nothing_returns_nothing(call: _Both, gateway: SmallGateway) -> None:
    """No inputs make no call; the result is empty, with empty arrays."""
    result = await call("embed")
    assert (len(result.images), len(result.texts), result.errors) == (0, 0, ())
    assert gateway.calls["Embed"] == 0


async def test_a_text_in_place_of_a_list_is_refused_here(call: _Both) -> None:
    """`texts="abc"` would embed three letters; it is a ValueError that says what to write."""
    with pytest.raises(ValueError, match="embed\\(texts=\\[text\\]\\)"):
        await call("embed", texts="abc")


async def test_an_input_larger_than_a_message_is_refused_alone(server: Running) -> None:
    """Its neighbours are embedded."""
    config = ClientConfig(limits=Limits(message_max_bytes=5000, chunk_max_bytes=5000))
    with Client(server.address, config=config) as client:
        result = client.embed(images=[b"a", bytes(6000)])
        alone = client.embed(images=[bytes(6000)])
    assert (result.images.indexes.tolist(), [e.reason for e in result.errors]) == ([0], ["MESSAGE_TOO_LARGE"])
    assert [e.index for e in alone.errors] == [0]


async def test_the_aligner_and_the_truncation_are_sent(call: _Both, gateway: SmallGateway) -> None:
    """Options travel as they are named."""
    result = await call("embed", texts=["a"], aligner=ALIGNER, truncation="refuse")
    assert result.texts.space == ALIGNER
    assert gateway.requests["Embed"][0].truncation == 2
    with pytest.raises(ValueError, match="truncation must be flag or refuse"):
        await call("embed", texts=["a"], truncation="drop")


@pytest.fixture
async def filled(call: _Both) -> _Both:
    """A collection `c` with two images and two texts."""
    await call("create_collection", "c", store_thumbnails=True)
    await call(
        "upsert",
        "c",
        [
            Item(id="cat.jpg", image=b"cat", pair_key="cat", thumbnail=b"small"),
            Item(id="dog.jpg", image=b"dog", pair_key="dog"),
            Item(id="cat#0", text="cat", pair_key="cat", attributes={"text": "cat"}),
            Item(id="dog#0", text="dog", pair_key="dog"),
        ],
    )
    return call


async def test_search_by_text(filled: _Both) -> None:
    """The nearest item comes first, with everything the wire says about it."""
    result = await filled("search", "c", text="cat", modality="text", top_k=2)
    first, second = result.neighbors
    assert (first.id, first.modality, first.item.pair_key) == ("cat#0", "text", "cat")
    assert first.item.attributes == {"text": "cat"}
    assert first.score == pytest.approx(1, abs=1e-3)
    assert first.calibrated_score == pytest.approx(2, abs=1e-2)
    assert (first.probability, first.item.embedding, first.item.thumbnail) == (0.5, None, b"small" * 0)
    assert second.id == "dog#0"
    assert (result.space, result.calibration, result.degraded, result.truncated) == (
        ALIGNER,
        "fitted",
        ("cache",),
        False,
    )
    assert result.timings.total_micros == 1500


async def test_search_by_image_path(filled: _Both, tmp_path: Path) -> None:
    """A str is a path."""
    path = tmp_path / "query.jpg"
    path.write_bytes(b"dog")
    result = await filled("search", "c", image=str(path), modality="image", top_k=1)
    assert [neighbor.id for neighbor in result.neighbors] == ["dog.jpg"]


async def test_search_by_vector(filled: _Both) -> None:
    """A vector travels with its modality and space."""
    vector = SpacedVector(embedding(b"cat"), modality="image", space=IMAGE_SPACE)
    result = await filled("search", "c", vector=vector, top_k=1)
    assert [neighbor.id for neighbor in result.neighbors] in (["cat.jpg"], ["cat#0"])


async def test_search_by_item(filled: _Both) -> None:
    """An item is left out of its own answers; an unknown one is NOT_FOUND."""
    result = await filled("search", "c", item_id="cat.jpg")
    assert {neighbor.id for neighbor in result.neighbors} == {"dog.jpg", "cat#0", "dog#0"}
    with pytest.raises(NotFoundError, match="ITEM_NOT_FOUND"):
        await filled("search", "c", item_id="bird")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({}, "exactly one of text, image, vector, item_id; 0 are given"),
        ({"text": "a", "item_id": "b"}, "exactly one of text, image, vector, item_id; 2 are given"),
        ({"text": "a", "top_k": 0}, "top_k is 0; the least is 1"),
        ({"text": "a", "modality": "sound"}, "modality must be image, text or any"),
        ({"text": "a", "group_by": "colour"}, "group_by is 'colour'; it may be 'pair_key' or None"),
    ],
)
async def test_a_search_that_makes_no_sense_is_refused_here(call: _Both, wrong: dict[str, Any], message: str) -> None:
    """No query, two queries, nothing wanted, an unknown modality: a ValueError before anything is sent."""
    with pytest.raises(ValueError, match=message):
        await call("search", "c", **wrong)


async def test_get_and_delete_items(filled: _Both) -> None:
    """Items come in the order asked, absent ones left out; deleted ones are gone at the revision returned."""
    found = await filled("get_items", "c", ["dog.jpg", "bird", "cat.jpg"], include_embeddings=True)
    assert [item.id for item in found.items] == ["dog.jpg", "cat.jpg"]
    np.testing.assert_array_equal(found.items[1].embedding, embedding(b"cat"))
    assert len(found.items[0].content_digest) == 32
    gone = await filled("delete", "c", ["dog.jpg", "bird"])
    assert (gone.deleted, gone.revision) == (1, found.revision + 1)
    assert (await filled("get_items", "c", ["dog.jpg"])).items == ()
    with_thumbnails = await filled("get_items", "c", ["cat.jpg"], include_thumbnails=True)
    assert with_thumbnails.items[0].thumbnail == b"small"


async def test_many_ids_take_several_messages(filled: _Both, gateway: SmallGateway) -> None:
    """2,500 ids are three gets and three deletes, each delete a mutation of its own; with embeddings, twenty gets."""
    ids = [f"i{n}" for n in range(2500)]
    await filled("get_items", "c", ids)
    assert [len(r.ids) for r in gateway.requests["GetItems"]] == [1000, 1000, 500]
    await filled("get_items", "c", ids, include_embeddings=True)
    assert gateway.calls["GetItems"] == 3 + 20
    result = await filled("delete", "c", ids, request_id="d")
    assert [r.request_id for r in gateway.requests["DeleteItems"]] == ["d-0", "d-1", "d-2"]
    assert result.deleted == 0


async def test_collections_come_and_go(call: _Both) -> None:
    """Create, get, list, delete; twice the same name and a name that is not there have their reasons."""
    created = await call("create_collection", "photos")
    assert (created.image_space, created.text_space, created.aligner) == (IMAGE_SPACE, TEXT_SPACE, ALIGNER)
    assert await call("get_collection", "photos") == created
    limits = GuardLimits(epsilon=0.0)
    art = await call("create_collection", "art", image_space="mine@0123456789abcdef", image_dimension=4, guard=limits)
    assert (created.guard, art.guard) == (GuardLimits(), limits)
    assert [collection.name for collection in await call("list_collections")] == ["art", "photos"]
    with pytest.raises(AlreadyExistsError, match="COLLECTION_EXISTS"):
        await call("create_collection", "photos")
    assert await call("delete_collection", "photos") is None
    with pytest.raises(NotFoundError, match="COLLECTION_NOT_FOUND"):
        await call("get_collection", "photos")


async def test_an_evaluation_keeps_every_figure(filled: _Both) -> None:
    """Figures are fractions, as on the wire."""
    report = await filled("evaluate", "c", through_search=True)
    assert (report.pairs, report.image_queries, report.text_queries, report.through_search) == (10, 10, 50, True)
    assert (report.t2i.r1, report.t2i.r5, report.t2i.r10) == (0.25, 0.5, 0.75)
    assert (report.i2t.r1, report.mixed_text_query.ndcg10, report.mixed_image_query.own_share) == (0.375, 0.25, 0.5)
    assert (report.aligner, report.calibration) == (ALIGNER, "fitted")


async def test_a_measurement_tells_what_was_not_taken_from_nought(filled: _Both, gateway: SmallGateway) -> None:
    """A measure that gave 0 is 0, one that was not taken is None; the request says how it is to be done."""
    report = await filled("measure_gap", "c", aligner=ALIGNER, seed=7, sample_count=18, compare_distances=True)
    assert (report.gap["centroid"], report.gap["paired_cosine"], report.gap["fid"]) == (0.5, 0.0, None)
    assert (report.pairs, report.text_count, report.share, report.seed) == (20, 40, 0.5, 7)
    assert json.loads(report.report_json)["missing"] == {"fid": "too few"}
    (request,) = gateway.requests["MeasureGap"]
    assert (request.aligner, request.sample_count, request.compare_distances) == (ALIGNER, 18, True)
    assert request.min_revision == gateway.collections["c"].revision


async def test_a_verification_says_why_it_refuses(filled: _Both, gateway: SmallGateway) -> None:
    """A calibration error of 0 is 0; the whole report is there as JSON."""
    report = await filled("verify_aligner", "c", ALIGNER, seed=2)
    assert (report.guard_ok, report.guard_reasons) == (False, ("hubness growth: too much",))
    assert (report.aligner, report.pairs, report.ece) == (ALIGNER, 20, 0.0)
    assert json.loads(report.report_json).keys() == {"before", "after", "guard", "calibration"}
    (request,) = gateway.requests["VerifyAligner"]
    assert (request.seed, request.min_revision) == (2, report.revision)


async def test_a_comparison_tells_the_judged_from_the_refused(filled: _Both, gateway: SmallGateway) -> None:
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
async def test_a_page_comes_only_when_it_is_asked_for(method: str, arguments: tuple[str, ...], filled: _Both) -> None:
    """The mesh draws it, which takes time; without asking there is none."""
    options = {"methods": ("center", "cca")} if method == "compare_aligners" else {}
    assert (await filled(method, "c", *arguments, **options)).page == ""
    assert (await filled(method, "c", *arguments, **options, page=True)).page == "<p>c</p>"


async def test_links_come_in_order_with_what_they_are_from(filled: _Both, gateway: SmallGateway) -> None:
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


async def test_a_proposal_that_is_refused_or_cut_short_is_an_error(call: _Both, gateway: SmallGateway) -> None:
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


async def test_a_fit_tells_its_progress_and_returns_the_aligner(filled: _Both, gateway: SmallGateway) -> None:
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


async def test_aligners_are_listed_imported_and_promoted(filled: _Both, gateway: SmallGateway, tmp_path: Path) -> None:
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


async def test_an_aligner_is_shown_and_exported(filled: _Both, gateway: SmallGateway, tmp_path: Path) -> None:
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


async def test_a_rollback_returns_the_collection_and_is_read_after(filled: _Both, gateway: SmallGateway) -> None:
    """Reads that follow see it; with nothing to return to it is refused."""
    rolled_back = await filled("rollback_aligner", "c")
    assert rolled_back.aligner == ""
    await filled("search", "c", text="a")
    assert gateway.requests["SearchItems"][-1].min_revision == rolled_back.revision
    with pytest.raises(FailedPreconditionError, match="NO_PREVIOUS_ALIGNER"):
        await filled("rollback_aligner", "c")


async def test_what_was_active_is_listed(filled: _Both) -> None:
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


async def test_a_shadow_is_set_reported_and_taken_off(filled: _Both, gateway: SmallGateway) -> None:
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
    filled: _Both, gateway: SmallGateway
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


async def test_status_says_what_the_mesh_is_made_of(call: _Both) -> None:
    """Encoders, cache, services, default aligner and notices."""
    status = await call("status")
    assert [(e.space, e.modality, e.encoded_items) for e in status.encoders] == [
        (IMAGE_SPACE, "image", 12),
        (TEXT_SPACE, "text", 12),
    ]
    assert (status.cache.backend, status.cache.local_hits) == ("redis", 4)
    assert (status.index_writer_serving, status.alignment_serving) == (True, False)
    assert status.notices == ("The shipped aligner is for research and education only.",)


async def test_reads_see_this_clients_writes(filled: _Both, gateway: SmallGateway) -> None:
    """Every read asks for at least the newest revision this client wrote, unless the caller says otherwise."""
    await filled("search", "c", text="a")
    await filled("get_items", "c", ["a"])
    await filled("evaluate", "c")
    await filled("search", "c", text="a", min_revision=0)
    newest = gateway.collections["c"].revision
    assert [r.min_revision for r in gateway.requests["SearchItems"]] == [newest, 0]
    assert gateway.requests["GetItems"][0].min_revision == newest
    assert gateway.requests["Evaluate"][0].min_revision == newest
    promoted = await filled("promote_aligner", "c", ALIGNER)
    deleted = await filled("delete", "c", ["dog.jpg"])
    assert deleted.revision == promoted.revision + 1
    await filled("search", "c", text="a")
    assert gateway.requests["SearchItems"][-1].min_revision == deleted.revision


async def test_a_search_with_a_filter_finds_what_matches(call: _Both) -> None:
    """Only items whose attributes match are answers, and no filter is sent where none is given."""
    await call("create_collection", "shop")
    items = [Item(id=f"item {price}", text=str(price), attributes={"price": price}) for price in range(5)]
    await call("upsert", "shop", items)
    found = await call("search", "shop", text="3", where=(F("price") >= 1) & (F("price") != 3))
    assert {neighbor.id for neighbor in found.neighbors} == {"item 1", "item 2", "item 4"}
    assert len((await call("search", "shop", text="3")).neighbors) == 5


async def test_a_search_may_answer_once_a_thing(call: _Both) -> None:
    """Of items that share a pair key the best is the answer; those without one stand for themselves."""
    await call("create_collection", "shop")
    items = [Item(id=f"item {number}", text=str(number), pair_key="ab"[number % 2]) for number in range(4)]
    await call("upsert", "shop", [*items, Item(id="x", text="x"), Item(id="y", text="y")])
    found = await call("search", "shop", text="3", group_by="pair_key")
    assert sorted(neighbor.item.pair_key for neighbor in found.neighbors) == ["", "", "a", "b"]
    assert {"item 3", "x", "y"} < {neighbor.id for neighbor in found.neighbors}
    assert len((await call("search", "shop", text="3")).neighbors) == 6


async def test_a_new_collection_of_an_old_name_starts_anew(filled: _Both, gateway: SmallGateway) -> None:
    """A deleted collection's revision is forgotten, so that reads of its successor do not wait for it."""
    await filled("delete_collection", "c")
    await filled("create_collection", "c")
    await filled("search", "c", text="a")
    assert gateway.requests["SearchItems"][-1].min_revision == 1


def test_both_clients_have_the_same_methods() -> None:
    """Names, arguments, defaults and results are the same; only what may be iterated differs, and what is awaited."""

    def surface(cls: type) -> dict[str, tuple[str, ...]]:
        found = {}
        for name, member in inspect.getmembers(cls, inspect.isfunction):
            if not name.startswith("_"):
                signature = inspect.signature(member)
                found[name] = tuple(
                    f"{p.name}: {p.annotation} = {p.default}".replace(" | AsyncIterable[Item]", "")
                    for p in signature.parameters.values()
                )
                found[name] += (str(signature.return_annotation).replace("AsyncIterator", "Iterator"),)
        return found

    assert surface(Client) == surface(AsyncClient)
    assert {"upsert_acks", "search", "close"} <= surface(Client).keys()
