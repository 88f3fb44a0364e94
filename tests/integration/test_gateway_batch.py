"""Many queries in one call, over the real index: each is answered as it would be by itself."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from isthmus.core.modality import Modality
from isthmus.runtime.base.limits import BATCH_NEIGHBORS_MAX_COUNT, BATCH_QUERIES_MAX_COUNT, TOP_K_MAX_COUNT
from isthmus.v1 import common_pb2, filter_pb2
from isthmus.v1.gateway_service_pb2 import (
    BatchSearchItemsRequest,
    BatchSearchItemsResponse,
    QueryResult,
    SearchQuery,
)
from tests.integration.gateway_calls import (
    IMAGE_SPACE,
    create,
    image_item,
    item_reasons,
    refusal,
    request,
    search,
    spaced,
    text_item,
    upsert,
)
from tests.unit.gateway.dummy_encoder import DummyEncoder, expected_row
from tests.unit.gateway.mesh import GatewayMesh, gateway_mesh, png

SPACE = "dual@00000000000000aa"
PAIRS = 60


@pytest.fixture
async def mesh(tmp_path: Path) -> AsyncIterator[GatewayMesh]:
    """A collection of one raw space with pairs of a text and an image, no aligner; every third is red."""
    image, text = (DummyEncoder(modality, space=SPACE) for modality in Modality)
    async with gateway_mesh(data_dir=tmp_path, image=image, text=text) as running:
        await create(running, "things")
        red = {"color": common_pb2.AttributeValue(string_value="red")}
        items = [
            text_item(f"t{n}", f"text {n}", pair_key=f"p{n}", attributes=red if n % 3 == 0 else {})
            for n in range(PAIRS)
        ]
        items += [image_item(f"i{n}", png(n), pair_key=f"p{n}") for n in range(PAIRS)]
        (ack,) = await upsert(running, request("r1", items))
        await search(running, text="text 0", min_revision=ack.revision)
        yield running


async def _batch(mesh: GatewayMesh, *queries: SearchQuery, **more: Any) -> BatchSearchItemsResponse:
    message = BatchSearchItemsRequest(**{"collection": "things", "queries": queries, **more})
    return await mesh.stub.BatchSearchItems(message, timeout=20)


def _answers(neighbors: Any) -> list[tuple[str, float, float]]:
    return [(one.item.id, one.score, one.calibrated_score) for one in neighbors]


def _row(content: bytes) -> list[float]:
    return [float(value) for value in np.frombuffer(expected_row(SPACE, content, 16), dtype="<f2")]


async def test_each_query_is_answered_as_by_itself(mesh: GatewayMesh) -> None:
    """Texts, images, vectors and items, mixed: the very answers of single searches, scores to the last bit."""
    asked: list[dict[str, Any]] = [
        {"text": "text 3"},
        {"image": png(7)},
        {"item_id": "t5"},
        {"vector": spaced(_row(b"text 9"), space=SPACE)},
        {"item_id": "i5"},
        {"text": "something else"},
        {"item_id": "t5"},
    ]
    red = filter_pb2.Filter(exists="color")
    for options in (
        {},
        {"top_k": 1},
        {"top_k": 500},
        {"modality": common_pb2.MODALITY_IMAGE, "top_k": 5},
        {"filter": red},
        {"group_by": common_pb2.GROUP_BY_PAIR_KEY, "top_k": 7},
        {"mmr_lambda": 0.5, "collapse_above": 0.9, "top_k": 4},
    ):
        found = await _batch(mesh, *(SearchQuery(**query) for query in asked), **options)
        assert [one.index for one in found.results] == list(range(len(asked)))
        assert not found.errors
        for query, result in zip(asked, found.results, strict=True):
            alone = await search(mesh, **query, **options)
            assert _answers(result.neighbors) == _answers(alone.neighbors)
            assert list(result.neighbors) == list(alone.neighbors)
            assert (result.space, found.revision, found.calibration) == (alone.space, alone.revision, alone.calibration)


async def test_what_is_new_is_encoded_in_one_call_a_modality(mesh: GatewayMesh) -> None:
    """Forty texts and eight images that nobody has seen take one call of each encoder; the next time none."""
    before = mesh.text.calls, mesh.image.calls
    queries = [SearchQuery(text=f"new {n}") for n in range(40)] + [SearchQuery(image=png(1000 + n)) for n in range(8)]
    first = await _batch(mesh, *queries, top_k=1)
    assert (mesh.text.calls - before[0], mesh.image.calls - before[1]) == (1, 1)
    again = await _batch(mesh, *queries, top_k=1)
    assert (mesh.text.calls - before[0], mesh.image.calls - before[1]) == (1, 1)
    assert (first.timings.cache_misses, again.timings.cache_hits, again.timings.cache_misses) == (48, 48, 0)
    assert again.timings.total_micros >= again.timings.search_micros > 0


async def test_a_bad_query_is_reported_and_harms_no_other(mesh: GatewayMesh) -> None:
    """Empty, blank, broken, unknown, of another space, without direction: each with its reason, in its place."""
    found = await _batch(
        mesh,
        SearchQuery(),
        SearchQuery(text="text 1"),
        SearchQuery(text=""),
        SearchQuery(image=b"not an image"),
        SearchQuery(item_id="nothing"),
        SearchQuery(vector=spaced(_row(b"x"), space="other@0000000000000001")),
        SearchQuery(vector=spaced([0.0] * 16, space=SPACE)),
        SearchQuery(vector=spaced([1.0] * 7, space=SPACE)),
        SearchQuery(item_id="i2"),
    )
    assert [one.index for one in found.results] == [1, 8]
    assert found.results[0].neighbors[0].item.id == "t1"
    assert item_reasons(found.errors) == {
        0: "EMPTY_INPUT",
        2: "EMPTY_TEXT",
        3: "IMAGE_FORMAT_UNSUPPORTED",
        4: "ITEM_NOT_FOUND",
        5: "SPACE_MISMATCH",
        6: "INVALID_VECTOR",
        7: "INVALID_VECTOR",
    }


async def test_queries_that_need_an_aligner_fail_by_themselves(tmp_path: Path) -> None:
    """Without one, images are searched by images in their raw space; texts beside them are told what is missing."""
    async with gateway_mesh(data_dir=tmp_path) as mesh:
        await create(mesh, "things")
        (ack,) = await upsert(mesh, request("r1", [image_item(f"i{n}", png(n)) for n in range(3)]))
        found = await _batch(
            mesh,
            SearchQuery(image=png(2)),
            SearchQuery(text="a text"),
            modality=common_pb2.MODALITY_IMAGE,
            min_revision=ack.revision,
        )
    assert (found.results[0].neighbors[0].item.id, found.results[0].space) == ("i2", IMAGE_SPACE)
    assert found.results[0].index == 0
    assert item_reasons(found.errors) == {1: "NO_ALIGNER"}


async def test_basic_answers_tell_id_modality_and_pair_key_only(mesh: GatewayMesh) -> None:
    """The same order and scores; of the item nothing else. A view that this server does not know is refused."""
    query = SearchQuery(text="text 3")
    full, basic = [await _batch(mesh, query, view=view) for view in (0, common_pb2.NEIGHBOR_VIEW_BASIC)]
    assert _answers(basic.results[0].neighbors) == _answers(full.results[0].neighbors)
    best = basic.results[0].neighbors[0]
    assert best.item == common_pb2.Item(id="t3", modality=common_pb2.MODALITY_TEXT, pair_key="p3")
    assert full.results[0].neighbors[0].item.attributes["color"].string_value == "red"
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await _batch(mesh, query, view=9)
    assert refusal(caught.value)[1] == "UNKNOWN_ENUM_VALUE"


async def test_limits_are_taken_and_one_more_is_refused(mesh: GatewayMesh) -> None:
    """256 queries; 25,600 answers together; 1,000 for one query: the error names field, limit and size."""
    queries = [SearchQuery(item_id=f"t{n % PAIRS}") for n in range(BATCH_QUERIES_MAX_COUNT)]
    most = BATCH_NEIGHBORS_MAX_COUNT // BATCH_QUERIES_MAX_COUNT
    found = await _batch(mesh, *queries, top_k=most, view=common_pb2.NEIGHBOR_VIEW_BASIC)
    assert {len(one.neighbors) for one in found.results} == {most}
    assert len(found.results) == BATCH_QUERIES_MAX_COUNT
    alone: QueryResult = (await _batch(mesh, queries[0], top_k=TOP_K_MAX_COUNT)).results[0]
    assert len(alone.neighbors) == 2 * PAIRS - 1
    for refused, top_k, field in (
        ([*queries, queries[0]], 1, "queries"),
        (queries, most + 1, "top_k"),
        (queries[:1], TOP_K_MAX_COUNT + 1, "top_k"),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await _batch(mesh, *refused, top_k=top_k)
        code, _, metadata = refusal(caught.value)
        assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert metadata["field"] == field
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await _batch(mesh)
    assert refusal(caught.value)[:2] == (grpc.StatusCode.INVALID_ARGUMENT, "EMPTY_INPUT")
