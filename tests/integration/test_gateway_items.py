"""Items through the gateway, into the real index: stored once, encoded once, acknowledged in order."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import numpy as np
import pytest

from isthmus.core.canonical import canonical
from isthmus.core.modality import Modality
from isthmus.v1 import common_pb2, gateway_service_pb2
from tests.integration.gateway_calls import (
    IMAGE_SPACE,
    TEXT_SPACE,
    counts,
    create,
    get,
    image_item,
    item_reasons,
    refusal,
    request,
    stored_row,
    text_item,
    upsert,
    vector_item,
)
from tests.unit.gateway.dummy_encoder import DummyEncoder, expected_row
from tests.unit.gateway.mesh import GatewayMesh, gateway_mesh, png


@pytest.fixture
async def mesh(tmp_path: Path) -> AsyncIterator[GatewayMesh]:
    """A gateway in front of dummy encoders of two raw spaces and the real index."""
    async with gateway_mesh(data_dir=tmp_path) as running:
        await create(running, "things")
        yield running


async def test_what_is_stored_is_what_the_encoder_made(mesh: GatewayMesh) -> None:
    """Images and texts come back with their attributes, pair keys, digests, spaces and embeddings, bit for bit."""
    attributes = {
        "title": common_pb2.AttributeValue(string_value="a"),
        "year": common_pb2.AttributeValue(int_value=-3),
        "share": common_pb2.AttributeValue(double_value=0.5),
        "live": common_pb2.AttributeValue(bool_value=True),
    }
    (ack,) = await upsert(
        mesh, request("r1", [image_item("i", png(1), pair_key="p", attributes=attributes), text_item("t", "hello")])
    )
    assert counts(ack) == (2, 0, 0)
    image, text = await get(mesh, "i", "t", revision=ack.revision)
    assert (image.modality, text.modality) == (common_pb2.MODALITY_IMAGE, common_pb2.MODALITY_TEXT)
    assert (image.space, text.space) == (IMAGE_SPACE, TEXT_SPACE)
    assert dict(image.attributes) == attributes
    assert (image.pair_key, len(image.content_digest)) == ("p", 32)
    assert stored_row(text) == expected_row(TEXT_SPACE, b"hello", 16)


async def test_the_second_run_costs_no_encoding(mesh: GatewayMesh) -> None:
    """The same items again are unchanged, whatever the request id, and the encoders see none of them."""
    items = [image_item(f"i{number}", png(number)) for number in range(20)]
    items += [text_item(f"t{number}", f"text {number}") for number in range(20)]
    await upsert(mesh, request("r1", items))
    encoded = mesh.image.encoded + mesh.text.encoded
    (ack,) = await upsert(mesh, request("r2", items))
    assert counts(ack) == (0, 0, 40)
    assert mesh.image.encoded + mesh.text.encoded == encoded
    assert (ack.timings.cache_hits, ack.timings.cache_misses) == (40, 0)


async def test_the_second_run_costs_no_encoding_after_a_restart(tmp_path: Path) -> None:
    """A new gateway with an empty cache and no Redis finds everything in the collection."""
    items = [image_item(f"i{number}", png(number)) for number in range(20)]
    async with gateway_mesh(data_dir=tmp_path) as mesh:
        await create(mesh, "things")
        (first,) = await upsert(mesh, request("r1", items))
    image = DummyEncoder(Modality.IMAGE)
    async with gateway_mesh(data_dir=tmp_path, image=image) as mesh:
        warm = image.calls
        (second,) = await upsert(mesh, request("r2", items))
    assert counts(second) == (0, 0, 20)
    assert second.revision == first.revision
    assert image.calls == warm


async def test_other_metadata_takes_the_embedding_from_the_collection(tmp_path: Path) -> None:
    """With the caches gone, a changed attribute costs an update and no encoding; the embedding stays the same."""
    async with gateway_mesh(data_dir=tmp_path) as mesh:
        await create(mesh, "things")
        (first,) = await upsert(mesh, request("r1", [text_item("t", "hello")]))
        (before,) = await get(mesh, "t", revision=first.revision)
    text = DummyEncoder(Modality.TEXT)
    async with gateway_mesh(data_dir=tmp_path, text=text) as mesh:
        warm = text.calls
        (ack,) = await upsert(mesh, request("r2", [text_item("t", "hello", pair_key="new")]))
        (after,) = await get(mesh, "t", revision=ack.revision)
    assert counts(ack) == (0, 1, 0)
    assert text.calls == warm
    assert (after.pair_key, after.embedding) == ("new", before.embedding)


async def test_other_content_is_encoded_anew(mesh: GatewayMesh) -> None:
    """The same id with another text is an update with another embedding."""
    await upsert(mesh, request("r1", [text_item("t", "old")]))
    (ack,) = await upsert(mesh, request("r2", [text_item("t", "new")]))
    assert counts(ack) == (0, 1, 0)
    (item,) = await get(mesh, "t", revision=ack.revision)
    assert stored_row(item) == expected_row(TEXT_SPACE, b"new", 16)


async def test_a_bad_item_harms_no_neighbour(mesh: GatewayMesh) -> None:
    """Every bad item has its reason; the good ones are stored."""
    items = [
        text_item("good", "good"),
        text_item("", "no id"),
        text_item("bad\x00id", "control character"),
        text_item("empty", "  "),
        image_item("broken", b"\xff\xd8\xff"),
        text_item("good", "twice"),
        text_item("poison", "POISON"),
        gateway_service_pb2.UpsertItem(id="nothing"),
        vector_item("nan", [float("nan")] * 16),
        vector_item("short", [1.0] * 15),
        vector_item("elsewhere", [1.0] * 16, space="other@0000000000000001"),
        text_item("attribute", "a", attributes={"x": common_pb2.AttributeValue(double_value=float("inf"))}),
        text_item("thumbnail", "b", thumbnail=b"no image"),
        text_item("pair", "c", pair_key="x" * 257),
        text_item("picture", "d", thumbnail=png(0)),
        text_item("also good", "also good"),
    ]
    (ack,) = await upsert(mesh, request("r1", items))
    assert item_reasons(ack.errors) == {
        1: "INVALID_ITEM_ID",
        2: "INVALID_ITEM_ID",
        3: "EMPTY_TEXT",
        4: "INVALID_IMAGE",
        5: "DUPLICATE_ITEM_ID",
        6: "ENCODE_FAILED",
        7: "EMPTY_INPUT",
        8: "INVALID_VECTOR",
        9: "INVALID_VECTOR",
        10: "SPACE_MISMATCH",
        11: "INVALID_ATTRIBUTES",
        12: "INVALID_THUMBNAIL",
        13: "INVALID_PAIR_KEY",
        14: "THUMBNAILS_DISABLED",
    }
    mismatch = ack.errors[9].metadata
    assert (mismatch["space"], mismatch["expected"]) == ("other@0000000000000001", TEXT_SPACE)
    assert ack.created_count == 2
    assert [item.id for item in await get(mesh, "good", "also good", "poison", revision=ack.revision)] == [
        "good",
        "also good",
    ]


async def test_a_request_of_bad_items_only_is_acknowledged(mesh: GatewayMesh) -> None:
    """Nothing is stored, nothing fails: the revision is the collection's."""
    (good,) = await upsert(mesh, request("r1", [text_item("a", "a")]))
    (ack,) = await upsert(mesh, request("r2", [text_item("b", " "), text_item("c", "")]))
    assert (item_reasons(ack.errors), counts(ack)) == ({0: "EMPTY_TEXT", 1: "EMPTY_TEXT"}, (0, 0, 0))
    assert ack.revision == good.revision


async def test_a_given_vector_is_made_canonical(mesh: GatewayMesh) -> None:
    """A vector of any length is scaled and rounded once, as an encoder's would be."""
    values = np.linspace(-3, 5, 16)
    (ack,) = await upsert(mesh, request("r1", [vector_item("v", list(values))]))
    (item,) = await get(mesh, "v", revision=ack.revision)
    assert stored_row(item) == canonical(values.astype(np.float32)[None]).astype("<f2").tobytes()
    assert item.content_digest == b""
    assert mesh.text.seen[b"v"] == 0


async def test_acknowledgements_come_in_order_and_the_revision_rises(mesh: GatewayMesh) -> None:
    """40 requests on one stream: acknowledged in the order sent, each at its own revision."""
    requests = [
        request(f"r{number}", [text_item(f"t{number}-{k}", f"text {number} {k}") for k in range(5)])
        for number in range(40)
    ]
    acks = await upsert(mesh, *requests)
    assert [ack.request_id for ack in acks] == [sent.request_id for sent in requests]
    revisions = [ack.revision for ack in acks]
    assert revisions == sorted(set(revisions))
    assert all(counts(ack) == (5, 0, 0) for ack in acks)


async def test_the_same_request_again_is_applied_once(mesh: GatewayMesh) -> None:
    """A request whose acknowledgement was lost can be sent again: the revision stays."""
    again = request("once", [text_item("a", "a"), vector_item("v", [1.0] * 16)])
    first, second = await upsert(mesh, again, again)
    (third,) = await upsert(mesh, again)
    assert first.revision == second.revision == third.revision
    assert counts(first) == (2, 0, 0)


async def test_requests_that_name_the_same_item_follow_one_another(mesh: GatewayMesh) -> None:
    """Two versions in turn, 20 requests deep in one window: the last one sent is the one stored."""
    await upsert(mesh, request("start", [text_item("x", "even")]))
    for round_number in range(5):
        requests = [
            request(f"{round_number}-{number}", [text_item("x", "odd" if number % 2 == 0 else "even")])
            for number in range(20)
        ]
        acks = await upsert(mesh, *requests)
        (item,) = await get(mesh, "x", revision=acks[-1].revision)
        assert stored_row(item) == expected_row(TEXT_SPACE, b"even", 16)


async def test_requests_of_one_stream_are_prepared_side_by_side(mesh: GatewayMesh) -> None:
    """While the text of one request is encoded, those of the next three gather: 8 requests, far fewer encodings."""
    mesh.text.delay_s = 0.1
    calls = mesh.text.calls
    acks = await upsert(mesh, *(request(f"r{n}", [text_item(f"t{n}", f"text {n}")]) for n in range(8)))
    assert [ack.created_count for ack in acks] == [1] * 8
    assert mesh.text.calls - calls <= 5  # measured: 3; one after the other: 8


async def test_a_request_that_fails_as_a_whole_ends_the_stream_after_its_predecessors(mesh: GatewayMesh) -> None:
    """What was sent before is acknowledged, then the stream ends with the reason."""
    requests = [request("r1", [text_item("a", "a")]), request("r2", [text_item("b", "b")], collection="nowhere")]
    acks: list[gateway_service_pb2.UpsertItemsResponse] = []

    async def _read() -> None:
        async for ack in mesh.stub.UpsertItems(iter(requests), timeout=10):
            acks.append(ack)  # noqa: PERF401 - a comprehension would lose them

    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await _read()
    assert [ack.request_id for ack in acks] == ["r1"]
    code, reason, _ = refusal(caught.value)
    assert (code, reason) == (grpc.StatusCode.NOT_FOUND, "COLLECTION_NOT_FOUND")


@pytest.mark.parametrize(
    ("request_", "code", "reason"),
    [
        (request("", [text_item("a", "a")]), grpc.StatusCode.INVALID_ARGUMENT, "FIELD_REQUIRED"),
        (request("r", []), grpc.StatusCode.INVALID_ARGUMENT, "EMPTY_INPUT"),
        (request("r", [text_item("a", "a")], collection="../x"), grpc.StatusCode.INVALID_ARGUMENT, "INVALID_NAME"),
        (
            request("r", [text_item(str(number), "a") for number in range(1_001)]),
            grpc.StatusCode.RESOURCE_EXHAUSTED,
            "BATCH_TOO_LARGE",
        ),
        (request("r", [text_item("a", "a")], truncation=99), grpc.StatusCode.INVALID_ARGUMENT, "UNKNOWN_ENUM_VALUE"),
    ],
)
async def test_a_malformed_request_is_refused(
    mesh: GatewayMesh, request_: gateway_service_pb2.UpsertItemsRequest, code: grpc.StatusCode, reason: str
) -> None:
    """Each has its code and its reason."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await upsert(mesh, request_)
    assert refusal(caught.value)[:2] == (code, reason)


async def test_a_dead_encoder_fails_the_request_and_stores_nothing(mesh: GatewayMesh) -> None:
    """The stream ends with UNAVAILABLE; the same request id works when the encoder is back."""
    await mesh.servers["text_encoder"].drain(grace_s=0)
    again = request("r1", [image_item("i", png(1)), text_item("t", "hello")])
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await upsert(mesh, again)
    code, reason, metadata = refusal(caught.value)
    assert (code, reason, metadata) == (
        grpc.StatusCode.UNAVAILABLE,
        "BACKEND_UNAVAILABLE",
        {"backend": "text_encoder"},
    )
    assert await get(mesh, "i", "t") == []


async def test_a_stream_that_is_broken_off_leaves_the_gateway_healthy(mesh: GatewayMesh) -> None:
    """Ten streams cancelled in the middle of encoding; the next one works and no slot is lost."""
    mesh.text.delay_s = 0.2
    for number in range(10):
        call = mesh.stub.UpsertItems(
            iter([request(f"c{number}-{k}", [text_item(f"t{number}-{k}", f"text {number} {k}")]) for k in range(6)])
        )
        await asyncio.sleep(0.03)
        call.cancel()
    mesh.text.delay_s = 0.0
    acks = await upsert(mesh, *(request(f"r{n}", [text_item(f"t{n}", f"text {n}")]) for n in range(30)))
    assert len(acks) == 30


async def test_a_cut_text_is_flagged_or_refused(mesh: GatewayMesh) -> None:
    """A text beyond the context is stored and flagged; with REFUSE it is an error, even when it is stored already."""
    long = " ".join(["word"] * 9)
    (flagged,) = await upsert(mesh, request("r1", [text_item("a", "short"), text_item("b", long)]))
    assert list(flagged.truncated_indexes) == [1]
    (refused,) = await upsert(
        mesh, request("r2", [text_item("b", long), text_item("c", "ok")], truncation=common_pb2.TRUNCATION_REFUSE)
    )
    assert item_reasons(refused.errors) == {0: "TEXT_TOO_LONG"}
    assert counts(refused) == (1, 0, 0)


async def test_an_encoder_of_another_revision_is_not_mixed_in(tmp_path: Path) -> None:
    """A collection keeps its space: contents that only a newer encoder could embed are refused, with both ids."""
    async with gateway_mesh(data_dir=tmp_path) as mesh:
        await create(mesh, "things")
        await upsert(mesh, request("r1", [text_item("a", "a")]))
    newer = DummyEncoder(Modality.TEXT, space="dummy-text@0000000000000002")
    async with gateway_mesh(data_dir=tmp_path, text=newer) as mesh:
        (ack,) = await upsert(mesh, request("r2", [text_item("a", "a"), text_item("b", "b"), image_item("i", png(1))]))
    assert item_reasons(ack.errors) == {1: "SPACE_MISMATCH"}
    assert dict(ack.errors[0].metadata)["expected"] == TEXT_SPACE
    assert counts(ack) == (1, 0, 1)


async def test_a_modality_the_collection_does_not_take_is_refused(mesh: GatewayMesh) -> None:
    """A collection of texts alone refuses an image, and stores the text beside it."""
    collection = await create(mesh, "texts", text_space=TEXT_SPACE)
    assert (collection.image_space, collection.text_dimension) == ("", 16)
    (ack,) = await upsert(mesh, request("r1", [image_item("i", png(1)), text_item("t", "t")], collection="texts"))
    assert item_reasons(ack.errors) == {0: "MODALITY_UNSUPPORTED"}
    assert ack.created_count == 1


async def test_deleted_items_are_gone(mesh: GatewayMesh) -> None:
    """A delete says how many were there; a read at its revision finds them no more."""
    await upsert(mesh, request("r1", [text_item("a", "a"), text_item("b", "b")]))
    deleted = await mesh.stub.DeleteItems(
        gateway_service_pb2.DeleteItemsRequest(collection="things", ids=["a", "x"], request_id="d1"), timeout=10
    )
    assert deleted.deleted_count == 1
    assert [item.id for item in await get(mesh, "a", "b", revision=deleted.revision)] == ["b"]
