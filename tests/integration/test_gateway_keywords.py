"""Words of kept texts through the gateway, over the real index: names that no vector knows, and what becomes of texts.

The encoders are dummies whose vectors say nothing about likeness: what is near in them is near by chance.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import grpc
import pytest

from isthmus.core.modality import Modality
from isthmus.runtime.base.filters import OneOf
from isthmus.runtime.base.limits import KEYWORDS_MAX_BYTES
from isthmus.runtime.rpc.filters import filter_message
from isthmus.v1 import common_pb2, gateway_service_pb2
from tests.integration.gateway_calls import create, get, image_item, refusal, request, search, text_item, upsert
from tests.unit.gateway.dummy_encoder import DummyEncoder
from tests.unit.gateway.mesh import GatewayMesh, gateway_mesh, png

SPACE = "dual@00000000000000aa"


def _dual_mesh(data_dir: Path) -> AbstractAsyncContextManager[GatewayMesh]:
    image, text = (DummyEncoder(modality, space=SPACE) for modality in Modality)
    return gateway_mesh(data_dir=data_dir, image=image, text=text)


def _name(number: int) -> str:
    return f"{4700 + number // 26}-{chr(65 + number % 26)}"


def _items() -> list[gateway_service_pb2.UpsertItem]:
    def attributes(number: int) -> dict[str, common_pb2.AttributeValue]:
        return {"shelf": common_pb2.AttributeValue(int_value=number % 4)}

    items = [
        text_item(f"t{n}", f"Filter for a pump, SKU {_name(n)}", pair_key=f"p{n}", attributes=attributes(n))
        for n in range(300)
    ]
    return items + [image_item(f"i{n}", png(n), pair_key=f"p{n}") for n in range(80)]


@pytest.fixture
async def mesh(tmp_path: Path) -> AsyncIterator[GatewayMesh]:
    """A collection that keeps texts: 300 of them, alike but for a name, and 80 images."""
    async with _dual_mesh(tmp_path) as running:
        made = await create(running, "things", keyword_search=True)
        assert made.keyword_search
        (ack,) = await upsert(running, request("r1", _items()))
        await _settled(running, ack.revision)
        yield running


async def _settled(mesh: GatewayMesh, revision: int) -> None:
    """Wait until the calibration is estimated from what is stored: it may follow some moments after."""
    while (await search(mesh, text="x", min_revision=revision)).calibration != common_pb2.CALIBRATION_SOURCE_ESTIMATED:
        pass


def _ids(answer: gateway_service_pb2.SearchItemsResponse) -> list[str]:
    return [neighbor.item.id for neighbor in answer.neighbors]


async def test_a_name_is_found_where_vectors_fail(mesh: GatewayMesh) -> None:
    """By words alone and beside a query of any kind it is first; vectors alone do not have it among their ten."""
    name = f"t{11 * 26 + 1}"
    for query in ({"text": "SKU 4711-B"}, {"image": png(500)}, {"item_id": "i3"}):
        assert name not in _ids(await search(mesh, **query))
        found = await search(mesh, **query, keywords="SKU 4711-B")
        assert _ids(found)[0] == name
        assert found.neighbors[0].keyword_score > 10
        assert len(set(_ids(found))) == 10
        assert (found.calibration, found.space) == (common_pb2.CALIBRATION_SOURCE_ESTIMATED, SPACE)
    alone = await search(mesh, keywords="sku 4711b", top_k=3)
    assert (_ids(alone)[0], alone.space, alone.neighbors[0].score) == (name, "", 0.0)
    assert alone.timings.encode_micros == 0


async def test_words_go_with_filters_modalities_groups_and_pages(mesh: GatewayMesh) -> None:
    """What narrows answers narrows those of words too; pages make up one order."""
    where = filter_message(OneOf("shelf", (3,)))
    found = await search(mesh, keywords="4711", filter=where, top_k=100)
    assert sorted(_ids(found)) == sorted(f"t{n}" for n in range(286, 300) if n % 4 == 3)
    assert _ids(await search(mesh, keywords="4711", modality=common_pb2.MODALITY_IMAGE)) == []
    both = await search(mesh, image=png(3), keywords="4711-B", top_k=9, group_by=common_pb2.GROUP_BY_PAIR_KEY)
    assert len({neighbor.item.pair_key for neighbor in both.neighbors}) == 9
    whole = _ids(await search(mesh, text="x", keywords="SKU 4711", top_k=40))
    first = await search(mesh, text="x", keywords="SKU 4711", top_k=20)
    second = await search(mesh, text="x", keywords="SKU 4711", top_k=20, page_token=first.next_page_token)
    assert _ids(first) + _ids(second) == whole
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await search(mesh, text="x", keywords="SKU 4712", top_k=20, page_token=first.next_page_token)
    assert refusal(caught.value)[1] == "INVALID_FIELD"


async def test_a_text_goes_with_its_item(mesh: GatewayMesh) -> None:
    """Changed, it is found by its new words and by no old ones; deleted, by none; never told by any call."""
    name = f"t{11 * 26 + 1}"
    (ack,) = await upsert(mesh, request("r2", [text_item(name, "a gasket now, zyx-9")]))
    assert _ids(await search(mesh, keywords="zyx9", min_revision=ack.revision)) == [name]
    assert name not in _ids(await search(mesh, keywords="4711-B", top_k=100))
    (item,) = await get(mesh, name)
    assert not item.attributes
    assert b"gasket" not in item.SerializeToString()
    (again,) = await upsert(mesh, request("r3", [text_item(name, "a gasket now, zyx-9")]))
    assert (again.unchanged_count, again.revision) == (1, ack.revision)
    described = {"a": common_pb2.AttributeValue(int_value=1)}
    (kept,) = await upsert(mesh, request("r4", [text_item(name, "a gasket now, zyx-9", attributes=described)]))
    assert _ids(await search(mesh, keywords="zyx9", min_revision=kept.revision)) == [name]
    message = gateway_service_pb2.DeleteItemsRequest(collection="things", ids=[name], request_id="r5")
    gone = await mesh.stub.DeleteItems(message, timeout=10)
    assert _ids(await search(mesh, keywords="zyx9", min_revision=gone.revision)) == []


async def test_texts_survive_a_restart(tmp_path: Path) -> None:
    """Another mesh on the same store gives the same answers, scores to the last bit; the name is still first."""
    asked: dict[str, Any] = {"keywords": "pump 4711-B", "top_k": 30}
    async with _dual_mesh(tmp_path) as mesh:
        await create(mesh, "things", keyword_search=True)
        (ack,) = await upsert(mesh, request("r1", _items()))
        before = await search(mesh, **asked, min_revision=ack.revision)
    async with _dual_mesh(tmp_path) as mesh:
        after = await search(mesh, **asked, min_revision=ack.revision)
        both = await search(mesh, **asked, text="x")
    assert list(after.neighbors) == list(before.neighbors)
    assert _ids(both)[0] == _ids(after)[0] == f"t{11 * 26 + 1}"


async def test_what_cannot_be_searched_by_words_is_refused(mesh: GatewayMesh) -> None:
    """A collection that keeps no texts, no words, too many bytes; as many as may be are taken."""
    await create(mesh, "others")
    long = "zz" + " zz" * ((KEYWORDS_MAX_BYTES - 2) // 3) + "  "
    assert len(long) == KEYWORDS_MAX_BYTES
    assert _ids(await search(mesh, keywords=long)) == []
    for asked, expected in (
        ({"collection": "others", "keywords": "a"}, (grpc.StatusCode.FAILED_PRECONDITION, "KEYWORDS_DISABLED")),
        ({"keywords": "--"}, (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD")),
        ({"keywords": long + "z"}, (grpc.StatusCode.RESOURCE_EXHAUSTED, "LIMIT_EXCEEDED")),
        ({"keywords": ""}, (grpc.StatusCode.INVALID_ARGUMENT, "EMPTY_INPUT")),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await search(mesh, **asked)
        assert refusal(caught.value)[:2] == expected
    # Without the setting nothing but a digest is kept.
    (ack,) = await upsert(mesh, request("r9", [text_item("t", "a private word")], collection="others"))
    assert ack.created_count == 1
