"""Search, collections, aligners and evaluation through the gateway, over the real index and alignment service."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import grpc
import numpy as np
import pytest

from isthmus.core.modality import Modality
from isthmus.v1 import common_pb2, gateway_service_pb2
from tests.integration.gateway_calls import (
    IMAGE_SPACE,
    TEXT_SPACE,
    create,
    image_item,
    refusal,
    request,
    search,
    spaced,
    text_item,
    upsert,
)
from tests.unit.gateway.dummy_encoder import DummyEncoder, expected_row
from tests.unit.gateway.mesh import GatewayMesh, gateway_mesh, png

ONE_SPACE = "dual@00000000000000aa"


def _dual_mesh(data_dir: Path) -> AbstractAsyncContextManager[GatewayMesh]:
    """Start a gateway whose two encoders share one raw space, as a dual encoder's towers do."""
    image, text = (DummyEncoder(modality, space=ONE_SPACE) for modality in (Modality.IMAGE, Modality.TEXT))
    return gateway_mesh(data_dir=data_dir, image=image, text=text)


@pytest.fixture
async def mesh(tmp_path: Path) -> AsyncIterator[GatewayMesh]:
    """A collection of one raw space with ten pairs of a text and an image."""
    async with _dual_mesh(tmp_path) as running:
        await create(running, "things")
        items = [text_item(f"t{number}", f"text {number}", pair_key=f"p{number}") for number in range(10)]
        items += [image_item(f"i{number}", png(number), pair_key=f"p{number}") for number in range(10)]
        (ack,) = await upsert(running, request("r1", items))
        await search(running, text="text 0", min_revision=ack.revision)
        yield running


@pytest.fixture
async def two_spaces(tmp_path: Path) -> AsyncIterator[GatewayMesh]:
    """A collection of two raw spaces with 80 pairs and no aligner."""
    async with gateway_mesh(data_dir=tmp_path) as running:
        await create(running, "things")
        items = [text_item(f"t{number}", f"text {number}", pair_key=f"p{number}") for number in range(80)]
        items += [image_item(f"i{number}", png(number), pair_key=f"p{number}") for number in range(80)]
        (ack,) = await upsert(running, request("r1", items))
        await search(running, text="x", modality=common_pb2.MODALITY_TEXT, min_revision=ack.revision)
        yield running


def _ids(answer: gateway_service_pb2.SearchItemsResponse) -> list[str]:
    return [neighbor.item.id for neighbor in answer.neighbors]


async def test_a_text_finds_itself_first(mesh: GatewayMesh) -> None:
    """The item made of the same text is the best answer, with cosine 1; ten answers by default."""
    answer = await search(mesh, text="text 3")
    assert _ids(answer)[0] == "t3"
    assert answer.neighbors[0].score == pytest.approx(1.0, abs=1e-3)
    assert len(answer.neighbors) == 10
    assert (answer.space, answer.revision) == (ONE_SPACE, 2)


async def test_an_image_finds_itself_first(mesh: GatewayMesh) -> None:
    """So does an image, among images alone when they are asked for."""
    answer = await search(mesh, image=png(7), modality=common_pb2.MODALITY_IMAGE, top_k=3)
    assert _ids(answer)[0] == "i7"
    assert {neighbor.item.modality for neighbor in answer.neighbors} == {common_pb2.MODALITY_IMAGE}
    assert len(answer.neighbors) == 3


async def test_a_vector_finds_what_it_was_made_of(mesh: GatewayMesh) -> None:
    """A caller with an encoder of their own gets the same answer, and encodes nothing here."""
    calls = mesh.text.calls
    values = np.frombuffer(expected_row(ONE_SPACE, b"text 5", 16), dtype="<f2").astype(np.float64) * 17
    answer = await search(mesh, vector=spaced(list(values), space=ONE_SPACE))
    assert _ids(answer)[0] == "t5"
    assert mesh.text.calls == calls


async def test_an_item_is_left_out_of_its_own_answers(mesh: GatewayMesh) -> None:
    """A search by item id gives as many others as were asked for, and encodes nothing."""
    calls = mesh.text.calls
    answer = await search(mesh, item_id="t5", top_k=19)
    assert "t5" not in _ids(answer)
    assert len(answer.neighbors) == 19
    assert mesh.text.calls == calls


async def test_answers_say_where_the_time_went(mesh: GatewayMesh) -> None:
    """Timings and cache counts of a search are those of its query."""
    fresh = await search(mesh, text="never seen")
    again = await search(mesh, text="never seen")
    assert (fresh.timings.cache_misses, again.timings.cache_hits, again.timings.cache_misses) == (1, 1, 0)
    assert fresh.timings.encode_micros == 222
    assert again.timings.total_micros > 0
    assert list(again.degraded) == []


async def test_a_cut_query_says_so(mesh: GatewayMesh) -> None:
    """A query beyond the context is cut, flagged, and answered."""
    answer = await search(mesh, text=" ".join(["word"] * 9))
    assert answer.truncated
    assert answer.neighbors


@pytest.mark.parametrize(
    ("query", "code", "reason"),
    [
        ({}, grpc.StatusCode.INVALID_ARGUMENT, "EMPTY_INPUT"),
        ({"text": " "}, grpc.StatusCode.INVALID_ARGUMENT, "EMPTY_TEXT"),
        ({"image": b"GIF89a"}, grpc.StatusCode.INVALID_ARGUMENT, "IMAGE_FORMAT_UNSUPPORTED"),
        ({"text": "x" * 32_769}, grpc.StatusCode.RESOURCE_EXHAUSTED, "TEXT_TOO_LONG"),
        ({"text": "a", "top_k": 1_001}, grpc.StatusCode.RESOURCE_EXHAUSTED, "LIMIT_EXCEEDED"),
        ({"text": "a", "modality": 9}, grpc.StatusCode.INVALID_ARGUMENT, "UNKNOWN_ENUM_VALUE"),
        ({"text": "a", "collection": "A"}, grpc.StatusCode.INVALID_ARGUMENT, "INVALID_NAME"),
        ({"text": "a", "collection": "nowhere"}, grpc.StatusCode.NOT_FOUND, "COLLECTION_NOT_FOUND"),
        ({"item_id": "nothing"}, grpc.StatusCode.NOT_FOUND, "ITEM_NOT_FOUND"),
        ({"vector": spaced([0.0] * 16)}, grpc.StatusCode.INVALID_ARGUMENT, "INVALID_VECTOR"),
        (
            {"vector": spaced([1.0] * 16, space="other@0000000000000001")},
            grpc.StatusCode.FAILED_PRECONDITION,
            "SPACE_MISMATCH",
        ),
        ({"text": "POISON"}, grpc.StatusCode.INVALID_ARGUMENT, "ENCODE_FAILED"),
    ],
)
async def test_a_search_that_cannot_be_is_refused(
    mesh: GatewayMesh, query: dict[str, object], code: grpc.StatusCode, reason: str
) -> None:
    """Each has its code and its reason."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await search(mesh, **query)
    assert refusal(caught.value)[:2] == (code, reason)


async def test_two_raw_spaces_without_an_aligner_are_never_compared(two_spaces: GatewayMesh) -> None:
    """Across modalities the search is refused; within one it works."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await search(two_spaces, text="text 1")
    assert refusal(caught.value)[:2] == (grpc.StatusCode.FAILED_PRECONDITION, "NO_ALIGNER")
    assert _ids(await search(two_spaces, text="text 1", modality=common_pb2.MODALITY_TEXT))[0] == "t1"


async def test_collections_are_made_listed_and_deleted(mesh: GatewayMesh) -> None:
    """The mesh's own spaces and dimensions are the default; a deleted collection is not found."""
    made = await create(mesh, "more", store_thumbnails=True)
    assert (made.image_space, made.text_space, made.image_dimension, made.store_thumbnails) == (
        ONE_SPACE,
        ONE_SPACE,
        16,
        True,
    )
    listed = await mesh.stub.ListCollections(gateway_service_pb2.ListCollectionsRequest(), timeout=10)
    assert [collection.name for collection in listed.collections] == ["more", "things"]
    await mesh.stub.DeleteCollection(
        gateway_service_pb2.DeleteCollectionRequest(name="more", request_id="d"), timeout=10
    )
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await mesh.stub.GetCollection(gateway_service_pb2.GetCollectionRequest(name="more"), timeout=10)
    assert refusal(caught.value)[:2] == (grpc.StatusCode.NOT_FOUND, "COLLECTION_NOT_FOUND")


async def test_a_collection_tells_what_it_asks_for_and_what_it_is_searched_by(mesh: GatewayMesh) -> None:
    """The kind is kept; few items are searched exactly whatever it is; a kind that nobody knows is refused."""
    made = await create(mesh, "more", index=common_pb2.INDEX_KIND_IVF_PQ)
    assert made.index == common_pb2.INDEX_KIND_IVF_PQ
    found = (
        await mesh.stub.GetCollection(gateway_service_pb2.GetCollectionRequest(name="more"), timeout=10)
    ).collection
    assert found.index == common_pb2.INDEX_KIND_IVF_PQ
    assert [(one.modality, one.state, one.kind) for one in found.structures] == [
        (modality, common_pb2.STRUCTURE_STATE_EXACT, common_pb2.INDEX_KIND_FLAT_FLOAT32)
        for modality in (common_pb2.MODALITY_IMAGE, common_pb2.MODALITY_TEXT)
    ]
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await create(mesh, "odd", index=99)
    assert refusal(caught.value)[:2] == (grpc.StatusCode.INVALID_ARGUMENT, "UNKNOWN_ENUM_VALUE")


async def test_an_exact_search_of_few_items_is_the_search(mesh: GatewayMesh) -> None:
    """Where there are no structures nothing is missed."""
    assert _ids(await search(mesh, text="text 1", exact=True)) == _ids(await search(mesh, text="text 1"))


async def test_a_foreign_space_needs_its_dimension(mesh: GatewayMesh) -> None:
    """A space that no encoder here makes is taken with a dimension and refused without."""
    made = await create(mesh, "foreign", text_space="bert@0123456789abcdef", text_dimension=384)
    assert (made.text_dimension, made.image_space) == (384, "")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await create(mesh, "unclear", text_space="bert@0123456789abcdef")
    assert refusal(caught.value) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        "FIELD_REQUIRED",
        {"field": "text_dimension"},
    )


async def _fit(mesh: GatewayMesh, aligner_id: str, method: str) -> common_pb2.Aligner:
    message = gateway_service_pb2.FitAlignerRequest(
        collection="things", aligner_id=aligner_id, method=method, request_id=f"fit-{aligner_id}"
    )
    steps = [step async for step in mesh.stub.FitAligner(message, timeout=20)]
    assert steps[-1].progress == 1.0
    assert [step.HasField("aligner") for step in steps] == [False] * (len(steps) - 1) + [True]
    return steps[-1].aligner


async def test_an_aligner_is_fitted_listed_promoted_and_used(tmp_path: Path) -> None:
    """From fitting with progress to a search in its space; promotion must be asked for with open eyes."""
    async with _dual_mesh(tmp_path) as mesh:
        await create(mesh, "things")
        items = [text_item(f"t{number}", f"text {number}", pair_key=f"p{number}") for number in range(120)]
        items += [image_item(f"i{number}", png(number), pair_key=f"p{number}") for number in range(120)]
        (ack,) = await upsert(mesh, request("r1", items))
        await search(mesh, text="x", min_revision=ack.revision)
        fitted = await _fit(mesh, "mine", "center")
        listed = await mesh.stub.ListAligners(gateway_service_pb2.ListAlignersRequest(), timeout=10)
        assert fitted.aligner in [aligner.aligner for aligner in listed.aligners]

        promote = gateway_service_pb2.PromoteAlignerRequest(collection="things", aligner="mine", request_id="p1")
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await mesh.stub.PromoteAligner(promote, timeout=10)
        assert refusal(caught.value)[:2] == (grpc.StatusCode.FAILED_PRECONDITION, "GUARD_BROKEN")

        promote.override_reason = "vectors drawn at random have nothing to align"
        promoted = (await mesh.stub.PromoteAligner(promote, timeout=10)).collection
        assert (promoted.aligner, promoted.revision) == (fitted.aligner, ack.revision + 1)
        answer = await search(mesh, text="text 3", min_revision=promoted.revision)
        assert (answer.space, _ids(answer)[0]) == (fitted.aligner, "t3")

        embedded = await mesh.stub.Embed(
            gateway_service_pb2.EmbedRequest(
                inputs=[common_pb2.Input(text="text 3"), common_pb2.Input(image=png(3))], aligner="mine"
            ),
            timeout=10,
        )
        assert embedded.text_embeddings.space == embedded.image_embeddings.space == fitted.aligner
        assert embedded.text_embeddings.vectors.type == common_pb2.VECTOR_TYPE_FLOAT32
        values = np.frombuffer(embedded.text_embeddings.vectors.data, dtype="<f4")
        assert float(np.linalg.norm(values)) == pytest.approx(1.0, abs=1e-5)


async def test_an_aligner_of_other_spaces_is_refused(tmp_path: Path) -> None:
    """A collection cannot start with an aligner that does not take its raw spaces."""
    async with _dual_mesh(tmp_path) as mesh:
        await create(mesh, "things")
        (ack,) = await upsert(mesh, request("r1", [text_item("t", "t", pair_key="p"), image_item("i", png(1))]))
        await search(mesh, text="x", min_revision=ack.revision)
        await _fit(mesh, "mine", "identity")
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await create(mesh, "other", aligner="mine", text_space="bert@0123456789abcdef", text_dimension=4)
        code, reason, metadata = refusal(caught.value)
        assert (code, reason) == (grpc.StatusCode.FAILED_PRECONDITION, "ALIGNER_SPACES_MISMATCH")
        assert metadata["text_space"] == "bert@0123456789abcdef"


@pytest.mark.parametrize("through_search", [False, True])
async def test_a_collection_is_evaluated(mesh: GatewayMesh, *, through_search: bool) -> None:
    """Ten pairs, ten queries each way, every figure a fraction."""
    message = gateway_service_pb2.EvaluateRequest(collection="things", through_search=through_search)
    report = (await mesh.stub.Evaluate(message, timeout=20)).report
    assert (report.pairs, report.image_queries, report.text_queries) == (10, 10, 10)
    assert report.through_search == through_search
    assert report.revision == 2
    assert report.t2i.r10 == 1.0
    assert 0 <= report.mixed_text_query.own_share <= 1


async def test_both_ways_of_evaluating_agree(tmp_path: Path) -> None:
    """On a collection that one list of answers cannot hold, every figure through search is the exact one."""
    async with _dual_mesh(tmp_path) as mesh:
        await create(mesh, "things")
        items = [
            text_item(f"t{number}-{k}", f"text {number} {k}", pair_key=f"p{number}")
            for number in range(100)
            for k in range(3)
        ]
        items += [image_item(f"i{number}", png(number), pair_key=f"p{number}") for number in range(100)]
        (ack,) = await upsert(mesh, request("r1", items))
        reports = [
            (
                await mesh.stub.Evaluate(
                    gateway_service_pb2.EvaluateRequest(
                        collection="things", through_search=through_search, min_revision=ack.revision
                    ),
                    timeout=20,
                )
            ).report
            for through_search in (False, True)
        ]
    exact, through = (_figures(report) for report in reports)
    assert len(exact) == 16
    for name, value in exact.items():
        assert through[name] == pytest.approx(value, abs=1e-6), name


def _figures(report: common_pb2.EvaluationReport) -> dict[str, float]:
    parts = ("t2i", "i2t", "mixed_image_query", "mixed_text_query")
    return {
        f"{part}.{field.name}": getattr(getattr(report, part), field.name)
        for part in parts
        for field in getattr(report, part).DESCRIPTOR.fields
    }


async def test_an_evaluation_needs_pairs(tmp_path: Path) -> None:
    """Without one pair there is nothing to judge by, either way."""
    async with _dual_mesh(tmp_path) as mesh:
        await create(mesh, "things")
        (ack,) = await upsert(mesh, request("r1", [text_item("t", "t", pair_key="p")]))
        for through_search in (False, True):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await mesh.stub.Evaluate(
                    gateway_service_pb2.EvaluateRequest(
                        collection="things", through_search=through_search, min_revision=ack.revision
                    ),
                    timeout=10,
                )
            assert refusal(caught.value)[:2] == (grpc.StatusCode.FAILED_PRECONDITION, "NOT_ENOUGH_PAIRS")


async def test_the_status_names_everybody(mesh: GatewayMesh) -> None:
    """Encoders with their spaces and counters, the cache, and who serves."""
    status = await mesh.status()
    assert [encoder.space for encoder in status.encoders] == [ONE_SPACE, ONE_SPACE]
    assert all(encoder.serving and encoder.encoded_items >= 10 for encoder in status.encoders)
    assert status.index_writer_serving
    assert status.index_search_serving
    assert status.alignment_serving
    assert (status.cache.backend, status.default_aligner) == ("none", "")


async def test_the_status_names_the_dead(mesh: GatewayMesh) -> None:
    """A service that is gone is said to be gone, within the time of one question."""
    for name in ("text_encoder", "alignment"):
        await mesh.servers[name].drain(grace_s=0)
    status = await mesh.status()
    assert [encoder.serving for encoder in status.encoders] == [True, False]
    assert (status.index_search_serving, status.alignment_serving) == (True, False)


async def test_spaces_of_this_file_are_those_of_the_dummies() -> None:
    """The names that tests spell out are the ones the dummies use."""
    assert DummyEncoder(Modality.IMAGE).space == IMAGE_SPACE
    assert DummyEncoder(Modality.TEXT).space == TEXT_SPACE
