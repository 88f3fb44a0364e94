"""What an answer is made of, through the gateway and over the real index."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import numpy as np
import pytest

from isthmus.core.modality import Modality
from isthmus.runtime.base.filters import Between, End
from isthmus.runtime.base.limits import TOP_K_MAX_COUNT
from isthmus.runtime.rpc.filters import filter_message
from isthmus.v1 import common_pb2
from tests.integration.gateway_calls import create, refusal, request, search, upsert, vector_item
from tests.unit.gateway.dummy_encoder import DummyEncoder
from tests.unit.gateway.mesh import GatewayMesh, gateway_mesh
from tests.unit.index.support import DIMENSION, SPACE, vectors

_COUNT = 1_010
_ROWS = vectors(0, _COUNT)
_IMAGE, _TEXT = common_pb2.MODALITY_IMAGE, common_pb2.MODALITY_TEXT
_BY_KEY = common_pb2.GROUP_BY_PAIR_KEY


def _key(number: int) -> str:
    """Every tenth item stands for itself; of the others those have one key whose roots begin alike."""
    return "" if not number % 10 else f"k{int(np.sqrt(number))}"


@pytest.fixture
async def mesh(tmp_path: Path) -> AsyncIterator[GatewayMesh]:
    """1,010 texts in one raw space, some of one pair key, with their number as an attribute."""
    image, text = (DummyEncoder(modality, space=SPACE, dimension=DIMENSION) for modality in Modality)
    async with gateway_mesh(data_dir=tmp_path, image=image, text=text) as running:
        await create(running, "things")
        items = []
        for number in range(_COUNT):
            item = vector_item(f"i{number}", _ROWS[number].tolist(), space=SPACE, modality=_TEXT)
            item.pair_key = _key(number)
            item.attributes["number"].int_value = number
            items.append(item)
        acks = await upsert(running, request("r1", items[:600]), request("r2", items[600:]))
        await search(running, item_id="i0", min_revision=acks[-1].revision)
        yield running


async def _found(mesh: GatewayMesh, **query: object) -> list[int]:
    answer = await search(mesh, **query)
    return [int(neighbor.item.id[1:]) for neighbor in answer.neighbors]


def _order(number: int, *, below: int = _COUNT) -> list[int]:
    """Return all items but one by their cosine with it."""
    order = np.argsort(-(_ROWS @ _ROWS[number]), kind="stable").tolist()
    return [other for other in order if other != number and other < below]


def _grouped(numbers: list[int]) -> list[int]:
    seen: set[str] = set()
    found = []
    for number in numbers:
        if not _key(number) or _key(number) not in seen:
            found.append(number)
        seen.add(_key(number))
    return found


async def test_items_of_one_pair_key_are_one_answer(mesh: GatewayMesh) -> None:
    """The best of each, `top_k` of them; all there are where more are wanted; with a filter, the best that matches."""
    expected = _grouped(_order(1))
    assert await _found(mesh, item_id="i1", top_k=20, group_by=_BY_KEY) == expected[:20]
    assert await _found(mesh, item_id="i1", top_k=TOP_K_MAX_COUNT, group_by=_BY_KEY) == expected
    cheap = filter_message(Between("number", None, End(500, closed=False)))
    found = await _found(mesh, item_id="i1", top_k=20, group_by=_BY_KEY, filter=cheap)
    assert found == _grouped(_order(1, below=500))[:20]


async def test_an_item_takes_no_place_of_its_own_answers(mesh: GatewayMesh) -> None:
    """The most that may be asked for comes, though the item itself would be the first of them."""
    assert await _found(mesh, item_id="i7", top_k=TOP_K_MAX_COUNT) == _order(7)[:TOP_K_MAX_COUNT]


async def test_an_unknown_grouping_is_refused(mesh: GatewayMesh) -> None:
    """A number that this server does not know is no silent default."""
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await search(mesh, item_id="i1", group_by=7)
    metadata = {"field": "group_by"}
    assert refusal(refused.value) == (grpc.StatusCode.INVALID_ARGUMENT, "UNKNOWN_ENUM_VALUE", metadata)
