"""Filters through the gateway, over the real index: what is asked of attributes decides who may answer."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from isthmus.core.modality import Modality
from isthmus.runtime.base.filters import AllOf, Between, End, Exists, Filter, NoneOf, OneOf, Prefix
from isthmus.runtime.base.limits import FILTER_DEPTH_MAX_COUNT
from isthmus.runtime.rpc.filters import filter_message
from isthmus.v1 import common_pb2, filter_pb2
from tests.integration.gateway_calls import create, refusal, request, search, upsert, vector_item
from tests.unit.gateway.dummy_encoder import DummyEncoder
from tests.unit.gateway.mesh import GatewayMesh, gateway_mesh
from tests.unit.index.support import DIMENSION, SPACE, vectors

_COUNT = 400
_ROWS = vectors(0, _COUNT)


def _attributes(number: int) -> dict[str, common_pb2.AttributeValue]:
    """Every second item has a price; names are texts, but for the last item's, which is a number."""
    name = common_pb2.AttributeValue(string_value=f"item {number:03d}")
    given = {"name": name if number < _COUNT - 1 else common_pb2.AttributeValue(int_value=7)}
    if not number % 2:
        given["price"] = common_pb2.AttributeValue(int_value=number)
    return given


@pytest.fixture
async def mesh(tmp_path: Path) -> AsyncIterator[GatewayMesh]:
    """400 items of two modalities in one raw space."""
    image, text = (DummyEncoder(modality, space=SPACE, dimension=DIMENSION) for modality in Modality)
    async with gateway_mesh(data_dir=tmp_path, image=image, text=text) as running:
        await create(running, "things")
        items = [
            vector_item(
                f"i{number}",
                _ROWS[number].tolist(),
                space=SPACE,
                modality=common_pb2.MODALITY_IMAGE if number % 3 else common_pb2.MODALITY_TEXT,
            )
            for number in range(_COUNT)
        ]
        for number, item in enumerate(items):
            for name, value in _attributes(number).items():
                item.attributes[name].CopyFrom(value)
        (ack,) = await upsert(running, request("r1", items))
        await search(running, item_id="i0", min_revision=ack.revision)
        yield running


async def _found(mesh: GatewayMesh, wanted: Filter, **query: object) -> list[int]:
    asked = {"item_id": "i1", "top_k": 1000, **query, "filter": filter_message(wanted)}
    answer = await search(mesh, **asked)
    return [int(neighbor.item.id[1:]) for neighbor in answer.neighbors]


async def test_only_items_that_it_holds_for_are_found(mesh: GatewayMesh) -> None:
    """Ranges, sets, prefixes, presence and their combinations; the order is that of the scores without a filter."""
    everything = await _found(mesh, NoneOf((Exists("nothing"),)))
    assert sorted(everything) == [number for number in range(_COUNT) if number != 1]
    cheap = Between("price", None, End(20, closed=False))
    assert await _found(mesh, cheap) == [number for number in everything if number < 20 and not number % 2]
    assert set(await _found(mesh, OneOf("price", (4.0, 6, "8")))) == {4, 6}
    assert set(await _found(mesh, Prefix("name", "item 39"))) == set(range(390, 399))
    unpriced = AllOf((NoneOf((Exists("price"),)), OneOf("name", ("item 003", "item 004", 7))))
    assert set(await _found(mesh, unpriced)) == {3, 399}


async def test_as_many_come_as_were_asked_for_when_so_many_are_left(mesh: GatewayMesh) -> None:
    """However selective it is: the best ten images of 133; one of one, however far it is."""
    query: dict[str, object] = {"item_id": "i0", "top_k": 10, "modality": common_pb2.MODALITY_IMAGE}
    scores = _ROWS @ _ROWS[0]
    images = np.array([number for number in range(_COUNT) if number % 3])
    priced = images[images % 2 == 0]
    best = priced[np.argsort(-scores[priced])][:10].tolist()
    assert await _found(mesh, Exists("price"), **query) == best
    farthest = int(images[np.argmin(scores[images])])
    assert await _found(mesh, OneOf("name", (f"item {farthest:03d}",)), **query) == [farthest]


async def test_a_filter_and_a_modality_both_count(mesh: GatewayMesh) -> None:
    """The filter says nothing of the modality, and the other way round."""
    found = await _found(mesh, Exists("price"), modality=common_pb2.MODALITY_TEXT)
    assert sorted(found) == [number for number in range(_COUNT) if not number % 6]


async def test_nothing_may_be_left(mesh: GatewayMesh) -> None:
    """A filter that holds for no item gives no answers and no error, also where an attribute has another type."""
    assert await _found(mesh, Between("name", End(8, closed=True), None)) == []


async def test_a_wrong_filter_is_refused_at_the_door(mesh: GatewayMesh) -> None:
    """The error names the field inside the filter."""
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await search(mesh, item_id="i1", filter=filter_pb2.Filter(all_of=filter_pb2.FilterList()))
    metadata = {"field": "filter.all_of.filters"}
    assert refusal(refused.value) == (grpc.StatusCode.INVALID_ARGUMENT, "FIELD_REQUIRED", metadata)


async def test_a_filter_deeper_than_a_message_may_be_is_refused_too(mesh: GatewayMesh) -> None:
    """One level too deep is told with the limit; so deep that protobuf does not parse it, as an unreadable message."""
    deep: Filter = Exists("price")
    for _ in range(FILTER_DEPTH_MAX_COUNT):
        deep = NoneOf((deep,))
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await search(mesh, item_id="i1", filter=filter_message(deep))
    assert refusal(refused.value)[1] == "LIMIT_EXCEEDED"
    data = b""
    for _ in range(200):
        inner = b"\x0a" + _varint(len(data)) + data  # FilterList.filters
        data = b"\x42" + _varint(len(inner)) + inner  # Filter.none_of
    message = b"\x0a\x06things\x2a\x02i1\x4a" + _varint(len(data)) + data
    async with grpc.aio.insecure_channel(mesh.gateway.address) as channel:
        call: Any = channel.unary_unary("/isthmus.v1.GatewayService/SearchItems")
        with pytest.raises(grpc.aio.AioRpcError) as unread:
            await call(message, timeout=10)
    assert refusal(unread.value) == (grpc.StatusCode.INVALID_ARGUMENT, "MESSAGE_UNREADABLE", {})
    assert await _found(mesh, OneOf("price", (4,))) == [4]


def _varint(value: int) -> bytes:
    data = bytearray()
    while value > 0x7F:
        data.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes((*data, value))
