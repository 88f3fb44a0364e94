"""What an answer is made of, through the gateway and over the real index."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from isthmus.core.modality import Modality
from isthmus.runtime.base.filters import Between, End
from isthmus.runtime.base.limits import EXAMPLES_MAX_COUNT, PAGE_DEPTH_MAX_COUNT, TOP_K_MAX_COUNT
from isthmus.runtime.rpc.filters import filter_message
from isthmus.v1 import common_pb2, gateway_service_pb2
from tests.integration.gateway_calls import create, refusal, request, search, spaced, upsert, vector_item
from tests.unit.gateway.dummy_encoder import DummyEncoder, expected_row
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


def _example(weight: float | None = None, **content: Any) -> gateway_service_pb2.Example:
    return gateway_service_pb2.Example(weight=weight, **content)


def _examples(*examples: gateway_service_pb2.Example) -> gateway_service_pb2.Examples:
    return gateway_service_pb2.Examples(examples=examples)


async def test_examples_make_one_query(mesh: GatewayMesh) -> None:
    """Items, a vector and a content, some unlike: the order is the mean's, without the items; filters hold too."""
    text = np.frombuffer(expected_row(SPACE, b"a green bird", DIMENSION), dtype="<f2").astype(np.float32)
    query = _ROWS[1] + 2 * _ROWS[2] - 0.5 * _ROWS[3] + _ROWS[30] + text
    asked = _examples(
        _example(item_id="i1"),
        _example(2.0, item_id="i2"),
        _example(-0.5, item_id="i3"),
        _example(vector=spaced(_ROWS[30].tolist(), space=SPACE, modality=_IMAGE)),
        _example(text="a green bird"),
    )
    order = [number for number in np.argsort(-(_ROWS @ query)).tolist() if number not in (1, 2, 3)]
    assert (await _found(mesh, examples=asked, top_k=50)) == order[:50]
    found = await _found(mesh, examples=asked, top_k=50, group_by=_BY_KEY)
    assert found == _grouped(order)[:50]
    cheap = filter_message(Between("number", None, End(100, closed=False)))
    found = await _found(mesh, examples=asked, top_k=50, filter=cheap)
    assert found == [number for number in order if number < 100][:50]


@pytest.mark.parametrize(
    ("examples", "expected"),
    [
        ([], (grpc.StatusCode.INVALID_ARGUMENT, "EMPTY_INPUT", {"field": "examples.examples"})),
        (
            [_example(item_id="i1"), _example()],
            (grpc.StatusCode.INVALID_ARGUMENT, "EMPTY_INPUT", {"field": "examples.examples[1].content"}),
        ),
        (
            [_example(item_id="i1"), _example(item_id="nothing")],
            (grpc.StatusCode.NOT_FOUND, "ITEM_NOT_FOUND", {"field": "examples.examples[1].item_id"}),
        ),
        (
            [_example(item_id="i1"), _example(text=" ")],
            (grpc.StatusCode.INVALID_ARGUMENT, "EMPTY_TEXT", {"field": "examples.examples[1].text", "size": "1"}),
        ),
        *(
            (
                [_example(weight, item_id="i1")],
                (
                    grpc.StatusCode.INVALID_ARGUMENT,
                    "INVALID_FIELD",
                    {"field": "examples.examples[0].weight", "limit": "100"},
                ),
            )
            for weight in (0.0, 100.5, float("nan"), -float("inf"))
        ),
        (
            [_example(1.0, item_id="i1"), _example(-1.0, item_id="i1")],
            (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD", {"field": "examples"}),
        ),
    ],
)
async def test_wrong_examples_are_refused(mesh: GatewayMesh, examples: list[Any], expected: object) -> None:
    """The error says which example it is about, where it is about one."""
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await search(mesh, examples=_examples(*examples))
    assert refusal(refused.value) == expected


async def test_so_many_examples_and_no_more(mesh: GatewayMesh) -> None:
    """64 are searched by and left out; 65 are refused with the limit."""
    asked = [_example(100.0, item_id=f"i{number}") for number in range(EXAMPLES_MAX_COUNT + 1)]
    found = await _found(mesh, examples=_examples(*asked[:-1]), top_k=TOP_K_MAX_COUNT)
    assert sorted(found) == list(range(EXAMPLES_MAX_COUNT, _COUNT))
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await search(mesh, examples=_examples(*asked))
    metadata = {"field": "examples.examples", "limit": "64", "count": "65"}
    assert refusal(refused.value) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "BATCH_TOO_LARGE", metadata)


async def test_near_duplicates_are_left_out(mesh: GatewayMesh) -> None:
    """Of the best 100: each is kept unless it is as near to a better one that is kept; groups are made before."""
    for options, order in (({}, _order(1)), ({"group_by": _BY_KEY}, _grouped(_order(1)))):
        kept: list[int] = []
        for number in order[:100]:
            if not (kept and (_ROWS[kept] @ _ROWS[number]).max() >= 0.5):
                kept.append(number)
        found = await _found(mesh, item_id="i1", top_k=20, collapse_above=0.5, **options)
        assert found == kept[:20]
        assert found != order[:20]


async def test_diverse_answers(mesh: GatewayMesh) -> None:
    """Each is the best trade of scaled relevance against likeness to those before; 1 changes nothing."""
    order = _order(1)[:100]
    scores = _ROWS[order] @ _ROWS[1]
    scaled = (scores - scores[-1]) / (scores[0] - scores[-1])
    chosen: list[int] = [0]
    while len(chosen) < 20:
        likeness = (_ROWS[order] @ _ROWS[order][chosen].T).max(axis=1)
        worth = 0.6 * scaled - 0.4 * likeness
        worth[chosen] = -np.inf
        chosen.append(int(np.argmax(worth)))
    assert await _found(mesh, item_id="i1", top_k=20, mmr_lambda=0.6) == [order[place] for place in chosen]
    assert chosen != list(range(20))
    assert await _found(mesh, item_id="i1", top_k=20, mmr_lambda=1.0) == order[:20]


async def test_as_many_come_as_the_most_that_may_be_asked_for(mesh: GatewayMesh) -> None:
    """1,000 answers in another order, of 1,000 candidates."""
    found = await _found(mesh, item_id="i1", top_k=TOP_K_MAX_COUNT, mmr_lambda=0.5)
    assert sorted(found) == sorted(_order(1)[:TOP_K_MAX_COUNT])


@pytest.mark.parametrize(
    ("option", "values"),
    [("collapse_above", (0.0, 1.1, float("nan"))), ("mmr_lambda", (-0.1, 1.1, float("nan")))],
)
async def test_shares_out_of_range_are_refused(mesh: GatewayMesh, option: str, values: tuple[float, ...]) -> None:
    """The error names the field."""
    for value in values:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await search(mesh, item_id="i1", **{option: value})
        assert refusal(refused.value) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD", {"field": option})


async def _pages(mesh: GatewayMesh, **query: Any) -> list[list[int]]:
    pages: list[list[int]] = []
    token = ""
    while token or not pages:
        answer = await search(mesh, **query, page_token=token)
        pages.append([int(neighbor.item.id[1:]) for neighbor in answer.neighbors])
        token = answer.next_page_token
    return pages


@pytest.mark.parametrize(
    ("query", "top_k"),
    [
        ({"item_id": "i1"}, 300),
        ({"item_id": "i1", "group_by": _BY_KEY}, 7),
        ({"item_id": "i1", "filter": filter_message(Between("number", None, End(50, closed=False)))}, 7),
        ({"text": "a green bird", "group_by": _BY_KEY}, 50),
        ({"examples": _examples(_example(item_id="i1"), _example(-1.0, item_id="i2"))}, 101),
    ],
)
async def test_pages_make_up_one_order(mesh: GatewayMesh, query: dict[str, Any], top_k: int) -> None:
    """All answers come once, in the order of one search, `top_k` a page; the last page has no token."""
    pages = await _pages(mesh, **query, top_k=top_k)
    together = [number for page in pages for number in page]
    assert together[:TOP_K_MAX_COUNT] == await _found(mesh, **query, top_k=TOP_K_MAX_COUNT)
    assert len(set(together)) == len(together)
    assert all(len(page) == top_k for page in pages[:-1])
    assert len(pages) == len(together) // top_k + 1
    assert len(pages) > 1


async def test_a_page_after_a_change_is_refused(mesh: GatewayMesh) -> None:
    """Another revision is another order, and so is a collection made anew; a first page is always answered."""
    first = await search(mesh, item_id="i1", top_k=5)
    items = [vector_item(f"i{number}", _ROWS[number].tolist(), space=SPACE, modality=_TEXT) for number in range(20)]
    (ack,) = await upsert(mesh, request("r3", [vector_item("x", _ROWS[2].tolist(), space=SPACE, modality=_TEXT)]))

    async def refused(token: str, **query: Any) -> tuple[Any, ...]:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await search(mesh, item_id="i1", top_k=5, page_token=token, **query)
        return refusal(caught.value)

    expired = (grpc.StatusCode.FAILED_PRECONDITION, "CURSOR_EXPIRED", {"field": "page_token"})
    assert await refused(first.next_page_token, min_revision=ack.revision) == expired
    assert len((await search(mesh, item_id="i1", top_k=5)).neighbors) == 5
    tokens = []
    for turn in range(2):
        await create(mesh, "again")
        (ack,) = await upsert(mesh, request(f"again-{turn}", items, collection="again"))
        answer = await search(mesh, collection="again", item_id="i1", top_k=5, min_revision=ack.revision)
        tokens.append((answer.revision, answer.next_page_token))
        if turn == 0:
            delete = gateway_service_pb2.DeleteCollectionRequest(name="again", request_id="gone")
            await mesh.stub.DeleteCollection(delete, timeout=10)
    assert tokens[0][0] == tokens[1][0]
    assert await refused(tokens[0][1], collection="again") == expired
    found = await search(mesh, collection="again", item_id="i1", top_k=5, page_token=tokens[1][1])
    assert len(found.neighbors) == 5


async def test_a_token_goes_with_its_search_only(mesh: GatewayMesh) -> None:
    """Another query, filter, grouping or page size is refused, and so are options that pages do not have."""
    token = (await search(mesh, item_id="i1", top_k=5)).next_page_token
    cheap = filter_message(Between("number", None, End(500, closed=False)))
    for other in ({"item_id": "i2"}, {"top_k": 6}, {"filter": cheap}, {"group_by": _BY_KEY}, {"mmr_lambda": 0.5}):
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await search(mesh, **{"item_id": "i1", "top_k": 5, "page_token": token, **other})
        assert refusal(refused.value) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD", {"field": "page_token"})
    assert (await search(mesh, item_id="i1", top_k=5, mmr_lambda=0.5)).next_page_token == ""


async def test_pages_reach_so_far_and_no_farther(mesh: GatewayMesh) -> None:
    """A page that ends at 10,000 is answered, here with nothing; one that ends beyond is refused with the limit."""
    token = (await search(mesh, item_id="i1", top_k=5)).next_page_token
    data = bytearray(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
    reached: dict[int, object] = {}
    for position in (PAGE_DEPTH_MAX_COUNT - 5, PAGE_DEPTH_MAX_COUNT - 4):
        data[17:21] = position.to_bytes(4, "little")
        moved = base64.urlsafe_b64encode(data).rstrip(b"=").decode()
        try:
            reached[position] = await _found(mesh, item_id="i1", top_k=5, page_token=moved)
        except grpc.aio.AioRpcError as error:
            reached[position] = refusal(error)[1:]
    limit = ("LIMIT_EXCEEDED", {"field": "page_token", "limit": "10000"})
    assert reached == {PAGE_DEPTH_MAX_COUNT - 5: [], PAGE_DEPTH_MAX_COUNT - 4: limit}


async def test_an_unknown_grouping_is_refused(mesh: GatewayMesh) -> None:
    """A number that this server does not know is no silent default."""
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await search(mesh, item_id="i1", group_by=7)
    metadata = {"field": "group_by"}
    assert refusal(refused.value) == (grpc.StatusCode.INVALID_ARGUMENT, "UNKNOWN_ENUM_VALUE", metadata)
