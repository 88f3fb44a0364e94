"""Embedding through the caches: order, flags, spaces, and what an encoder may not answer."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from isthmus.core.modality import Modality
from isthmus.gateway.domain import Content, EncodedBatch, Row
from isthmus.gateway.embedder import Embedder
from isthmus.runtime.base.errors import InternalError, IsthmusError, UnavailableError
from tests.unit.gateway.dummy_encoder import expected_row
from tests.unit.gateway.memory_encoder import DIMENSION, MemoryEncoder, embedder, limits, local_cache, texts


def _rows(rows: object) -> list[Row]:
    assert isinstance(rows, list)
    assert all(isinstance(row, Row) for row in rows)
    return rows


async def test_rows_come_in_the_order_asked() -> None:
    """Found, encoded and refused contents keep their places."""
    encoder = MemoryEncoder()
    made = embedder(encoder)
    await made.embed(Modality.TEXT, texts("b", "d"))
    answer = await made.embed(Modality.TEXT, texts("a", "b", "POISON", "c", "d"))
    assert encoder.calls[1:] == [[b"a", b"POISON", b"c"]]
    for place, text in ((0, b"a"), (1, b"b"), (3, b"c"), (4, b"d")):
        assert answer.rows[place] == Row(expected_row(encoder.space, text, DIMENSION))
    refused = answer.rows[2]
    assert isinstance(refused, IsthmusError)
    assert refused.reason == "ENCODE_FAILED"
    assert (answer.stages.cache_hits, answer.stages.cache_misses) == (2, 3)


async def test_a_cached_row_is_the_fresh_one_bit_for_bit() -> None:
    """The second answer is the first, byte for byte."""
    made = embedder(MemoryEncoder())
    fresh = await made.embed(Modality.TEXT, texts("a"))
    cached = await made.embed(Modality.TEXT, texts("a"))
    assert _rows(fresh.rows) == _rows(cached.rows)
    assert (cached.stages.cache_hits, cached.stages.cache_misses) == (1, 0)


async def test_the_flag_of_a_cut_text_survives_the_cache() -> None:
    """Fresh or cached, a cut text says so; asked to refuse it, both do."""
    made = embedder(MemoryEncoder())
    long = texts("one two three four five")
    for _ in range(2):
        (row,) = (await made.embed(Modality.TEXT, long)).rows
        assert isinstance(row, Row)
        assert row.truncated
        (refused,) = (await made.embed(Modality.TEXT, long, refuse_long=True)).rows
        assert isinstance(refused, IsthmusError)
        assert (refused.reason, refused.metadata["limit"]) == ("TEXT_TOO_LONG", "4")


async def test_an_encoder_that_was_replaced_never_mixes_spaces() -> None:
    """When the revision changes under a request, every row of the answer is of the new space."""
    encoder = MemoryEncoder()
    made = embedder(encoder)
    await made.embed(Modality.TEXT, texts("old"))
    encoder.space = "memory@0000000000000002"
    answer = await made.embed(Modality.TEXT, texts("old", "new"))
    assert answer.encoder.space == encoder.space
    assert list(answer.rows) == [Row(expected_row(encoder.space, text, DIMENSION)) for text in (b"old", b"new")]


async def test_an_encoder_that_changes_all_the_time_is_unavailable() -> None:
    """After three attempts the caller is told to come back, not given rows of an unknown space."""

    class _Restless(MemoryEncoder):
        async def encode(self, contents: list[Content]) -> EncodedBatch:  # type: ignore[override]
            self.space = f"memory@{len(self.calls):016x}"
            return await super().encode(contents)

    with pytest.raises(UnavailableError):
        await embedder(_Restless()).embed(Modality.TEXT, texts("a"))


@pytest.mark.parametrize("values", [np.zeros(DIMENSION), np.full(DIMENSION, np.nan), np.full(DIMENSION, 0.9)])
async def test_a_row_that_is_no_unit_vector_is_an_error_and_is_not_kept(
    values: np.ndarray[tuple[int], np.dtype[np.float64]],
) -> None:
    """An encoder that answers nonsense harms only that item, and nothing of it enters the cache."""

    class _Broken(MemoryEncoder):
        def _row(self, content: Content, space: str) -> Row | IsthmusError:
            if content.data == b"bad":
                return Row(values.astype("<f2").tobytes())
            return super()._row(content, space)

    cache = local_cache()
    answer = await embedder(_Broken(), cache=cache).embed(Modality.TEXT, texts("good", "bad"))
    assert isinstance(answer.rows[0], Row)
    assert isinstance(answer.rows[1], InternalError)
    assert len(cache.local) == 1


async def test_an_encoder_that_breaks_its_contract_is_a_bug_of_ours() -> None:
    """An exception that is no domain error ends every waiting request with InternalError, and the next goes on."""
    encoder = MemoryEncoder()
    encoder.failures.append(ZeroDivisionError())
    made = embedder(encoder)
    with pytest.raises(InternalError):
        await made.embed(Modality.TEXT, texts("a"))
    assert isinstance((await made.embed(Modality.TEXT, texts("a"))).rows[0], Row)


async def test_without_a_cache_every_request_is_encoded() -> None:
    """A cache of no bytes changes the cost, not the answer."""
    encoder = MemoryEncoder()
    made = embedder(encoder, cache=local_cache(0))
    answers = [await made.embed(Modality.TEXT, texts("a")) for _ in range(3)]
    assert len(encoder.calls) == 3
    assert len({_rows(answer.rows)[0] for answer in answers}) == 1


async def test_closing_tells_everybody_who_waits() -> None:
    """Requests under way end with UNAVAILABLE, and so do new ones."""
    encoder = MemoryEncoder()
    encoder.gate.clear()
    made: Embedder = embedder(encoder, bounds=limits(batch_max_count=1, interactive=1))
    waiting = [asyncio.create_task(made.embed(Modality.TEXT, texts(str(number)))) for number in range(3)]
    await asyncio.sleep(0.01)
    await made.close()
    for ended in await asyncio.gather(*waiting, return_exceptions=True):
        assert isinstance(ended, UnavailableError)
        assert ended.reason == "DRAINING"
    with pytest.raises(UnavailableError):
        await made.embed(Modality.TEXT, texts("late"))
