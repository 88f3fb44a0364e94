"""Every kind of query becomes one raw embedding in one space."""

from __future__ import annotations

import pytest

from isthmus.core.modality import Modality
from isthmus.gateway.domain import Collection, Row
from isthmus.gateway.search import Example, ExamplesQuery, ItemQuery, SearchCommand, Seeker
from isthmus.gateway.validation import GivenVector, text_content
from isthmus.runtime.base.answer_terms import AnswerTerms
from isthmus.runtime.base.errors import NotFoundError
from isthmus.runtime.base.filters import Exists
from isthmus.runtime.base.limits import TOP_K_MAX_COUNT
from tests.unit.gateway.memory_encoder import DIMENSION, MemoryEncoder, embedder, local_cache
from tests.unit.gateway.memory_services import MemorySearcher, MemoryWriter
from tests.unit.gateway.test_upsert import SPACE, _item


async def _rig(count: int = 5) -> tuple[Seeker, MemorySearcher]:
    writer = MemoryWriter(Collection(name="c", text_space=SPACE, text_dimension=DIMENSION))
    for number in range(count):
        writer.items["c", f"i{number:04d}"] = _item(f"i{number:04d}", "t").draft(Row(bytes(2 * DIMENSION)))
    writer.revision = 7
    searcher = MemorySearcher(writer)
    return Seeker(searcher=searcher, embedder=embedder(MemoryEncoder()), cache=local_cache()), searcher


async def test_a_text_is_searched_in_the_space_of_its_encoder() -> None:
    """The searcher gets the encoder's space, the wanted modality and the caller's revision."""
    seeker, searcher = await _rig()
    answer = await seeker.search(
        SearchCommand(collection="c", query=text_content("t"), top_k=2, item_modality=Modality.IMAGE, min_revision=3)
    )
    assert searcher.calls == [f"search text {SPACE} image"]
    assert searcher.wanted == [(2, 3)]
    assert [neighbor.item_id for neighbor in answer.neighbors] == ["i0000", "i0001"]
    assert (answer.stages.align_micros, answer.stages.search_micros, answer.stages.cache_misses) == (1, 2, 1)


async def test_a_filter_goes_to_the_searcher() -> None:
    """Answers are not filtered here: the searcher gets what is asked of their attributes."""
    seeker, searcher = await _rig()
    wanted = Exists("price")
    await seeker.search(SearchCommand(collection="c", query=text_content("t"), top_k=2, where=wanted))
    await seeker.search(SearchCommand(collection="c", query=ItemQuery("i0001"), top_k=2, where=wanted))
    await seeker.search(SearchCommand(collection="c", query=text_content("t"), top_k=2))
    assert searcher.filters == [wanted, wanted, None]


async def test_one_answer_a_pair_key_is_for_the_searcher_to_make() -> None:
    """It alone can go on until there are enough."""
    seeker, searcher = await _rig()
    await seeker.search(
        SearchCommand(collection="c", query=text_content("t"), top_k=2, terms=AnswerTerms(one_per_pair_key=True))
    )
    assert searcher.terms == [AnswerTerms(one_per_pair_key=True)]


async def test_a_vector_is_searched_in_the_space_it_claims() -> None:
    """It is for the searcher to refuse a space that is not the collection's."""
    seeker, searcher = await _rig()
    vector = GivenVector(Modality.IMAGE, "own@0000000000000001", Row(bytes(8)), 4)
    await seeker.search(SearchCommand(collection="c", query=vector, top_k=1))
    assert searcher.calls == ["search image own@0000000000000001 None"]


async def test_an_item_is_left_out_of_its_own_answers() -> None:
    """The searcher is told to leave it out, and is at least as fresh as the read of the item."""
    seeker, searcher = await _rig()
    answer = await seeker.search(SearchCommand(collection="c", query=ItemQuery("i0001"), top_k=3, min_revision=2))
    assert [neighbor.item_id for neighbor in answer.neighbors] == ["i0000", "i0002", "i0003"]
    assert searcher.wanted == [(3, 7)]
    assert searcher.terms == [AnswerTerms(exclude_ids=("i0001",))]


async def test_an_item_that_is_not_among_its_answers_takes_no_place() -> None:
    """Searching another modality, the item is not found again: still no more than asked for."""
    seeker, _ = await _rig()
    answer = await seeker.search(SearchCommand(collection="c", query=ItemQuery("i0004"), top_k=3))
    assert len(answer.neighbors) == 3


async def test_the_most_that_may_be_asked_for_is_never_passed() -> None:
    """With 1,000 neighbours wanted, the searcher is not asked for 1,001, and 1,000 come."""
    seeker, searcher = await _rig(1_200)
    answer = await seeker.search(SearchCommand(collection="c", query=ItemQuery("i0000"), top_k=TOP_K_MAX_COUNT))
    assert searcher.wanted == [(TOP_K_MAX_COUNT, 7)]
    assert len(answer.neighbors) == TOP_K_MAX_COUNT


async def test_examples_go_to_the_searcher_with_their_weights() -> None:
    """In batches by modality and space, at least as fresh as the items among them, which are left out once each."""
    seeker, searcher = await _rig()
    vector = GivenVector(Modality.IMAGE, "own@0000000000000001", Row(bytes(8)), 4)
    examples = (
        Example(ItemQuery("i0001"), 1.0),
        Example(vector, -2.0),
        Example(text_content("t"), 3.0),
        Example(ItemQuery("i0001"), 4.0),
    )
    answer = await seeker.search(SearchCommand(collection="c", query=ExamplesQuery(examples), top_k=2))
    assert searcher.calls == [
        "vectors i0001 0",
        f"examples text {SPACE} [1.0, 3.0, 4.0] image own@0000000000000001 [-2.0] None",
    ]
    assert searcher.wanted == [(2, 7)]
    assert searcher.terms == [AnswerTerms(exclude_ids=("i0001",))]
    assert [neighbor.item_id for neighbor in answer.neighbors] == ["i0000", "i0002"]


async def test_an_item_that_is_not_there_is_not_found() -> None:
    """Nothing is searched for it."""
    seeker, searcher = await _rig()
    with pytest.raises(NotFoundError) as caught:
        await seeker.search(SearchCommand(collection="c", query=ItemQuery("nothing"), top_k=3))
    assert caught.value.reason == "ITEM_NOT_FOUND"
    assert searcher.wanted == []
