"""Inputs and items are cut into messages by bytes and by number."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus.client import Limits
from isthmus.client.chunking import batches, chunks
from isthmus.v1 import common_pb2, gateway_service_pb2

LIMITS = Limits(message_max_bytes=4000, chunk_max_bytes=3000, chunk_max_count=5)


def _inputs(*sizes: int) -> list[common_pb2.Input]:
    return [common_pb2.Input(image=bytes(size)) for size in sizes]


def _items(*ids: str) -> list[gateway_service_pb2.UpsertItem]:
    return [gateway_service_pb2.UpsertItem(id=item_id, text="t") for item_id in ids]


def test_a_chunk_ends_before_it_has_too_many_bytes() -> None:
    """Two of 900 bytes fit in 3000 beside the rest of the request, three do not."""
    assert [chunk.indexes for chunk in chunks(_inputs(900, 900, 900, 900, 900), limits=LIMITS)] == [
        (0, 1),
        (2, 3),
        (4,),
    ]


def test_a_chunk_ends_at_its_number_of_entries() -> None:
    """Twelve small ones travel as five, five and two."""
    assert [len(chunk.entries) for chunk in chunks(_inputs(*[1] * 12), limits=LIMITS)] == [5, 5, 2]


def test_an_entry_larger_than_a_chunk_travels_alone() -> None:
    """What fits a message is sent, even when it is larger than chunks should be."""
    assert [chunk.indexes for chunk in chunks(_inputs(10, 2900, 10), limits=LIMITS)] == [(0,), (1,), (2,)]


def test_an_entry_that_no_message_holds_is_refused_alone() -> None:
    """It is refused here, typed, with its size and the limit; its neighbours are sent."""
    (chunk,) = chunks(_inputs(10, 4000, 10), limits=LIMITS)
    assert chunk.indexes == (0, 2)
    (error,) = chunk.refused
    assert (error.index, error.code, error.reason) == (1, "RESOURCE_EXHAUSTED", "MESSAGE_TOO_LARGE")
    assert error.metadata == {"bytes": "4011", "limit": "4000"}


def test_refusals_at_the_end_are_not_lost() -> None:
    """When nothing can be sent after them, they come in a chunk without entries."""
    (chunk,) = chunks(_inputs(4000), limits=LIMITS)
    assert (chunk.entries, len(chunk.refused)) == ((), 1)


def test_the_same_id_again_starts_another_message() -> None:
    """Ids are distinct within a message, so the later version of an item wins."""
    assert [chunk.indexes for chunk in chunks(_items("a", "b", "a", "a"), limits=LIMITS)] == [(0, 1), (2,), (3,)]


def test_nothing_makes_no_chunk() -> None:
    """No entries, no message."""
    assert list(chunks(_inputs(), limits=LIMITS)) == []


def test_chunks_are_made_as_they_fill() -> None:
    """The source is read no further than the entry that shows a chunk to be full."""
    read = 0

    def source() -> object:
        nonlocal read
        for entry in _inputs(*[1] * 100):
            read += 1
            yield entry

    next(chunks(source(), limits=LIMITS))  # type: ignore[arg-type]
    assert read == 6


@given(st.lists(st.integers(0, 4500), max_size=40))
def test_every_entry_is_sent_once_or_refused_once_in_order(sizes: list[int]) -> None:
    """Positions of sent and refused entries together are 0 to n; no request is over the message limit."""
    made = list(chunks(_inputs(*sizes), limits=LIMITS))
    sent = [index for chunk in made for index in chunk.indexes]
    refused = [error.index for chunk in made for error in chunk.refused]
    assert sent == sorted(sent)
    assert sorted(sent + refused) == list(range(len(sizes)))
    for chunk in made:
        request = gateway_service_pb2.EmbedRequest(inputs=chunk.entries, aligner="a" * 200)
        assert request.ByteSize() <= LIMITS.message_max_bytes
        assert len(chunk.entries) <= LIMITS.chunk_max_count
        assert len(chunk.entries) == 1 or request.ByteSize() <= LIMITS.chunk_max_bytes


def test_batches_cover_a_sequence() -> None:
    """Runs of at most the size, none empty."""
    assert list(batches("abcdefg", size=3)) == ["abc", "def", "g"]
    assert list(batches([], size=3)) == []


@pytest.mark.parametrize(
    "wrong",
    [{"chunk_max_count": 0}, {"window_max_count": 0}, {"message_max_bytes": 100, "chunk_max_bytes": 200}],
)
def test_limits_that_cannot_work_are_refused(wrong: dict[str, int]) -> None:
    """A chunk larger than a message, or of nothing, is a ValueError that names the field."""
    with pytest.raises(ValueError, match="|".join(wrong)):
        Limits(**wrong)
