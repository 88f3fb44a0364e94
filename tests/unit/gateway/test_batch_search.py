"""A batch of queries: what is asked of encoders and searcher, and that each query succeeds or fails by itself."""

from __future__ import annotations

import pytest

from isthmus.core.modality import Modality
from isthmus.gateway.batch_search import BatchCommand, BatchSeeker
from isthmus.gateway.domain import Collection, Row
from isthmus.gateway.search import ItemQuery, QuerySource, Seeker
from isthmus.gateway.validation import GivenVector, text_content
from isthmus.runtime.base.answer_terms import AnswerTerms
from isthmus.runtime.base.errors import FailedPreconditionError, InvalidArgumentError, NotFoundError, UnavailableError
from isthmus.runtime.base.filters import Exists
from tests.unit.gateway.memory_encoder import DIMENSION, MemoryEncoder, embedder, local_cache
from tests.unit.gateway.memory_services import MemorySearcher, MemoryWriter
from tests.unit.gateway.test_upsert import SPACE, _item

_IMAGE = GivenVector(Modality.IMAGE, "own@0000000000000001", Row(bytes(8)), 4)
_OTHER = GivenVector(Modality.IMAGE, "other@0000000000000001", Row(bytes(8)), 4)


def _rig() -> tuple[BatchSeeker, MemorySearcher, MemoryEncoder]:
    writer = MemoryWriter(Collection(name="c", text_space=SPACE, text_dimension=DIMENSION))
    for number in range(5):
        writer.items["c", f"i{number}"] = _item(f"i{number}", "t").draft(Row(bytes(2 * DIMENSION)))
    writer.revision = 7
    searcher, encoder, cache = MemorySearcher(writer), MemoryEncoder(), local_cache()
    seeker = Seeker(searcher=searcher, embedder=embedder(encoder), cache=cache)
    return BatchSeeker(seeker=seeker, searcher=searcher, cache=cache), searcher, encoder


async def test_one_call_for_the_texts_and_one_for_the_images() -> None:
    """Twenty texts, an item and two vectors: one look at the items, one encoding, one search of each modality."""
    seeker, searcher, encoder = _rig()
    texts = [text_content(f"text {number}") for number in range(20)]
    queries: list[QuerySource] = [_IMAGE, *texts, ItemQuery("i1"), _IMAGE]
    where, terms = Exists("price"), AnswerTerms(one_per_pair_key=True)
    answer = await seeker.search(
        BatchCommand(collection="c", queries=queries, top_k=2, min_revision=3, where=where, terms=terms, basic=True)
    )
    assert searcher.calls == ["vectors i1 3", "search image own@0000000000000001 None", f"search text {SPACE} None"]
    assert searcher.batches == [(2, (), True), (21, (*[""] * 20, "i1"), True)]
    assert searcher.wanted == [(2, 7), (2, 7)]
    assert (searcher.filters, searcher.terms) == ([where] * 2, [terms] * 2)
    assert [len(batch) for batch in encoder.calls] == [20]
    assert [one.index for one in answer.results] == list(range(23))
    assert [one.space for one in answer.results] == [_IMAGE.space, *[SPACE] * 21, _IMAGE.space]
    assert (answer.errors, answer.revision, answer.stages.cache_misses) == ({}, 7, 20)


async def test_a_bad_query_harms_no_neighbour() -> None:
    """What was refused at the door, is not there, or is of another space has its own error; the rest is answered."""
    seeker, searcher, _ = _rig()
    refused = InvalidArgumentError("text is empty", reason="EMPTY_TEXT")
    searcher.failures_of = {_OTHER.space: FailedPreconditionError("another space", reason="SPACE_MISMATCH")}
    answer = await seeker.search(
        BatchCommand(
            collection="c", queries=[refused, text_content("t"), ItemQuery("gone"), _OTHER, _IMAGE, _OTHER], top_k=2
        )
    )
    assert [one.index for one in answer.results] == [1, 4]
    assert {position: error.reason for position, error in answer.errors.items()} == {
        0: "EMPTY_TEXT",
        2: "ITEM_NOT_FOUND",
        3: "SPACE_MISMATCH",
        5: "SPACE_MISMATCH",
    }


async def test_queries_that_nothing_can_be_asked_of_are_answered_with_their_errors() -> None:
    """No searcher is asked, and the revision is 0."""
    seeker, searcher, _ = _rig()
    refused = InvalidArgumentError("text is empty", reason="EMPTY_TEXT")
    answer = await seeker.search(BatchCommand(collection="c", queries=[refused, refused], top_k=2))
    assert (list(answer.results), sorted(answer.errors), answer.revision) == ([], [0, 1], 0)
    assert searcher.calls == []


@pytest.mark.parametrize(
    "failure",
    [
        NotFoundError("no such collection", reason="COLLECTION_NOT_FOUND"),
        UnavailableError("away", reason="BACKEND_UNAVAILABLE"),
    ],
)
async def test_what_is_wrong_with_the_whole_is_raised(failure: NotFoundError | UnavailableError) -> None:
    """A searcher that is away, or a collection that is not there, is nothing about one query."""
    seeker, searcher, _ = _rig()
    searcher.failures.append(failure)
    with pytest.raises(type(failure)) as caught:
        await seeker.search(BatchCommand(collection="c", queries=[text_content("t"), _IMAGE], top_k=2))
    assert caught.value is failure
