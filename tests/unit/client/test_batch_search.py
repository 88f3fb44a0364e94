"""Searching many queries at once, by both clients."""

from __future__ import annotations

import pytest

from isthmus.client import Query, SpacedVector
from tests.unit.client.both_clients import Both
from tests.unit.client.gateway.content import TEXT_SPACE, embedding
from tests.unit.client.small_gateway import BROKEN_IMAGE, SmallGateway


async def test_queries_of_all_kinds_are_answered_in_place(filled: Both) -> None:
    """A plain text, a text, an image, a vector and an item; an item is left out of its own answers."""
    vector = SpacedVector(embedding(b"dog"), modality="text", space=TEXT_SPACE)
    queries = ["cat", Query(text="dog"), Query(image=b"cat"), Query(vector=vector), Query(item_id="cat#0")]
    found = await filled("batch_search", "c", queries, top_k=2)
    assert [one.index for one in found.results] == [0, 1, 2, 3, 4]
    assert {neighbor.id for neighbor in found.results[0].neighbors} == {"cat.jpg", "cat#0"}
    assert {neighbor.id for neighbor in found.results[3].neighbors} == {"dog.jpg", "dog#0"}
    assert "cat#0" not in {neighbor.id for neighbor in found.results[4].neighbors}
    assert (found.errors, found.calibration, found.revision) == ((), "fitted", 3)


async def test_many_queries_travel_in_messages_that_hold_them(filled: Both, gateway: SmallGateway) -> None:
    """Seven queries, three a message; positions are those of the call, and a bad one harms no neighbour."""
    queries = ["a", "b", " ", "d", Query(image=BROKEN_IMAGE), "f", Query(item_id="nobody")]
    found = await filled("batch_search", "c", iter(queries), top_k=1, modality="image")
    assert [one.index for one in found.results] == [0, 1, 3, 5]
    assert {error.index: error.reason for error in found.errors} == {
        2: "EMPTY_TEXT",
        4: "INVALID_IMAGE",
        6: "ITEM_NOT_FOUND",
    }
    assert [len(request.queries) for request in gateway.requests["BatchSearchItems"]] == [3, 3, 1]
    assert found.timings.total_micros == 4 * 1500


async def test_a_message_never_asks_for_more_answers_than_it_may(filled: Both, gateway: SmallGateway) -> None:
    """Of 9,000 answers a query, two fit into 25,600: a message holds two, though three would fit otherwise."""
    await filled("batch_search", "c", ["a", "b", "c"], top_k=9_000, basic=True)
    assert [len(request.queries) for request in gateway.requests["BatchSearchItems"]] == [2, 1]
    assert {request.view for request in gateway.requests["BatchSearchItems"]} == {2}


async def test_no_query_asks_nothing(filled: Both, gateway: SmallGateway) -> None:
    """An empty batch has no answers, and no call is made."""
    found = await filled("batch_search", "c", [])
    assert (found.results, found.errors, found.revision) == ((), (), 0)
    assert not gateway.requests["BatchSearchItems"]


async def test_wrong_arguments_are_refused_before_anything_is_sent(filled: Both, gateway: SmallGateway) -> None:
    """Two contents in one query, no neighbours, an unknown grouping."""
    with pytest.raises(ValueError, match="Query"):
        Query(text="a", item_id="b")
    with pytest.raises(ValueError, match="top_k"):
        await filled("batch_search", "c", ["a"], top_k=0)
    with pytest.raises(ValueError, match="group_by"):
        await filled("batch_search", "c", ["a"], group_by="color")
    assert not gateway.requests["BatchSearchItems"]


async def test_a_batch_reads_what_this_client_wrote(filled: Both, gateway: SmallGateway) -> None:
    """Without a revision of its own it asks for the newest that the client saw."""
    await filled("batch_search", "c", ["a"])
    assert [request.min_revision for request in gateway.requests["BatchSearchItems"]] == [3]


async def test_words_go_with_a_query_or_stand_alone(filled: Both, gateway: SmallGateway) -> None:
    """Alone they are the query, beside one they lift what holds them; several queries, or nothing, are refused."""
    alone = await filled("search", "c", keywords="cat")
    assert [(neighbor.id, neighbor.keyword_score) for neighbor in alone.neighbors] == [("cat#0", 1.0)]
    both = await filled("search", "c", item_id="dog#0", keywords="cat")
    assert both.neighbors[0].id == "cat#0"
    assert [request.keywords for request in gateway.requests["SearchItems"]] == ["cat", "cat"]
    for wrong in ({}, {"keywords": ""}, {"text": "a", "item_id": "b", "keywords": "c"}):
        with pytest.raises(ValueError, match="a search takes exactly one"):
            await filled("search", "c", **wrong)
    made = await filled("create_collection", "kept", keyword_search=True)
    assert (made.keyword_search, (await filled("get_collection", "c")).keyword_search) == (True, False)
