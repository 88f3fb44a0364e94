"""Words of a text: counted at the door, kept with the item, and brought to items of a time before they were counted."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from isthmus.runtime.base.digests import content_digest, metadata_digest
from isthmus.runtime.base.limits import CONTENT_WORDS_MAX_COUNT
from isthmus.runtime.rpc.codec import encode_vectors
from isthmus.v1 import common_pb2, gateway_service_pb2, index_writer_service_pb2, index_writer_service_pb2_grpc
from tests.integration.gateway_calls import (
    IMAGE_SPACE,
    TEXT_SPACE,
    counts,
    create,
    get,
    image_item,
    item_reasons,
    request,
    search,
    spaced,
    text_item,
    upsert,
    vector_item,
)
from tests.unit.gateway.dummy_encoder import expected_row
from tests.unit.gateway.mesh import GatewayMesh, gateway_mesh, png


@pytest.fixture
async def mesh(tmp_path: Path) -> AsyncIterator[GatewayMesh]:
    """A gateway in front of dummy encoders of two raw spaces and the real index."""
    async with gateway_mesh(data_dir=tmp_path) as running:
        await create(running, "things", store_thumbnails=True)
        yield running


async def test_words_are_counted_and_never_an_attribute(mesh: GatewayMesh) -> None:
    """Of a text, whatever stands between its words; of a vector as stated; of a picture none; answers too."""
    attributes = {"year": common_pb2.AttributeValue(int_value=1)}
    (ack,) = await upsert(
        mesh,
        request(
            "r1",
            [
                text_item("t", " two\n  words", attributes=attributes, thumbnail=png(1)),
                _vector("v", CONTENT_WORDS_MAX_COUNT),
                vector_item("w", [2.0] * 16),
                image_item("i", png(2)),
            ],
        ),
    )
    assert counts(ack) == (4, 0, 0)
    items = await get(mesh, "t", "v", "w", "i", revision=ack.revision)
    assert [item.content_words for item in items] == [2, CONTENT_WORDS_MAX_COUNT, 0, 0]
    assert [dict(item.attributes) for item in items] == [attributes, {}, {}, {}]
    found = await search(
        mesh, text=" two\n  words", modality=common_pb2.MODALITY_TEXT, top_k=1, min_revision=ack.revision
    )
    assert (found.neighbors[0].item.id, found.neighbors[0].item.content_words) == ("t", 2)
    (again,) = await upsert(
        mesh, request("r2", [text_item("t", " two\n  words", attributes=attributes, thumbnail=png(1))])
    )
    assert counts(again) == (0, 0, 1)


async def test_an_item_of_a_time_before_gets_its_words_when_it_comes_again(mesh: GatewayMesh) -> None:
    """Written as an older gateway wrote it: it loads, its words are unknown; indexed again it has them, not encoded."""
    text = b"three old words"
    async with grpc.aio.insecure_channel(mesh.servers["index_writer"].address) as channel:
        stored = await index_writer_service_pb2_grpc.IndexWriterServiceStub(channel).UpsertItems(
            index_writer_service_pb2.IndexWriterServiceUpsertItemsRequest(
                collection="things",
                items=[
                    index_writer_service_pb2.StoredItem(
                        id="t",
                        modality=common_pb2.MODALITY_TEXT,
                        content_digest=content_digest("text", text),
                    )
                ],
                text_embeddings=common_pb2.EmbeddingBatch(
                    space=TEXT_SPACE,
                    vectors=encode_vectors(
                        np.frombuffer(expected_row(TEXT_SPACE, text, 16), "<f2")[None].astype(np.float32), half=True
                    ),
                ),
                request_id="old",
            )
        )
    (before,) = await get(mesh, "t", revision=stored.revision)
    assert before.content_words == 0
    (ack,) = await upsert(mesh, request("r1", [text_item("t", text.decode())]))
    assert (counts(ack), mesh.text.encoded) == ((0, 1, 0), 1)  # the one is the gateway's own dummy at its start
    (after,) = await get(mesh, "t", revision=ack.revision)
    assert (after.content_words, after.embedding) == (3, before.embedding)


async def test_what_a_caller_may_not_state_is_refused_item_by_item(mesh: GatewayMesh) -> None:
    """Words of a text or of a picture, too many words, and attributes of a reserved name."""
    reserved = {"isthmus.content_words": common_pb2.AttributeValue(int_value=1)}
    (ack,) = await upsert(
        mesh,
        request(
            "r1",
            [
                text_item("a", "some words", content_words=2),
                image_item("b", png(1), content_words=2),
                _vector("c", CONTENT_WORDS_MAX_COUNT + 1),
                text_item("d", "words", attributes=reserved),
                text_item("e", "words"),
            ],
        ),
    )
    assert item_reasons(ack.errors) == {
        0: "INVALID_FIELD",
        1: "INVALID_FIELD",
        2: "INVALID_FIELD",
        3: "INVALID_ATTRIBUTES",
    }
    assert counts(ack) == (1, 0, 0)
    pictured = {"space": IMAGE_SPACE, "modality": common_pb2.MODALITY_IMAGE}
    (ack,) = await upsert(mesh, request("r2", [_vector("f", 1, **pictured)]))
    assert item_reasons(ack.errors) == {0: "INVALID_FIELD"}


def _vector(item_id: str, words: int, **more: Any) -> gateway_service_pb2.UpsertItem:
    """Return a vector of a text of so many words."""
    return gateway_service_pb2.UpsertItem(id=item_id, vector=spaced([1.0] * 16, **more), content_words=words)


def test_the_digest_of_a_time_before_is_kept() -> None:
    """Without words it is what it was when they were not counted, to the byte: nothing is stored anew for nothing."""
    known = {"attributes": {"year": 1999, "live": True, "share": 0.5, "title": "a"}, "pair_key": "pair"}
    old = metadata_digest("text", thumbnail=b"picture", **known)  # type: ignore[arg-type]
    assert old.hex() == "e36b4e3c725ce1b7f61d7c6ec345f51c5bd0900f7b953ca964431493ada28c28"
    assert metadata_digest("text", thumbnail=b"picture", content_words=1, **known) != old  # type: ignore[arg-type]
