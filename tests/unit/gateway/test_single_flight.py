"""A crowd that wants one embedding costs one encoding, and no member of it depends on another."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from isthmus.core.modality import Modality
from isthmus.gateway.domain import Row
from isthmus.gateway.embedder import Embedded, Embedder
from isthmus.runtime.base.errors import DeadlineExceededError, UnavailableError
from tests.unit.gateway.dummy_encoder import expected_row
from tests.unit.gateway.memory_encoder import DIMENSION, MemoryEncoder, embedder, texts, until


async def _one(made: Embedder, text: str) -> Embedded:
    return await made.embed(Modality.TEXT, texts(text))


async def _settle() -> None:
    """Let every task that can run do so."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_two_hundred_at_once_cost_one_encoding() -> None:
    """200 concurrent requests for a cold key: the encoder sees one input in one call, all get the same row."""
    encoder = MemoryEncoder()
    made = embedder(encoder)
    answers = await asyncio.gather(*(_one(made, "same") for _ in range(200)))
    assert encoder.calls == [[b"same"]]
    assert {answer.rows[0] for answer in answers} == {Row(expected_row(encoder.space, b"same", DIMENSION))}


async def test_when_the_first_goes_away_another_takes_over() -> None:
    """The caller who opened the flight is cancelled; those who joined get their row from the same encoding."""
    encoder = MemoryEncoder()
    encoder.gate.clear()
    made = embedder(encoder)
    first = asyncio.create_task(_one(made, "same"))
    await _settle()
    others = [asyncio.create_task(_one(made, "same")) for _ in range(10)]
    await _settle()
    first.cancel()
    await _settle()
    encoder.gate.set()
    answers = await asyncio.gather(*others)
    assert encoder.calls == [[b"same"]]
    assert all(isinstance(answer.rows[0], Row) for answer in answers)
    with pytest.raises(asyncio.CancelledError):
        await first


async def test_when_the_last_goes_away_the_encoding_is_called_off() -> None:
    """With nobody left to wait the call to the encoder is cancelled, and the next request starts afresh."""
    encoder = MemoryEncoder()
    encoder.gate.clear()
    made = embedder(encoder)
    callers = [asyncio.create_task(_one(made, "same")) for _ in range(3)]
    await _settle()
    for caller in callers:
        caller.cancel()
    await asyncio.gather(*callers, return_exceptions=True)
    await _settle()
    assert (encoder.cancelled, encoder.running) == (1, 0)
    encoder.gate.set()
    assert isinstance((await _one(made, "same")).rows[0], Row)


async def test_a_caller_cancelled_at_once_blocks_nothing() -> None:
    """Cancelling before the call was even sent leaves no call counted as under way."""
    encoder = MemoryEncoder()
    made = embedder(encoder)
    for turns in range(6):
        for _ in range(20):
            caller = asyncio.create_task(_one(made, "gone"))
            for _ in range(turns):
                await asyncio.sleep(0)
            caller.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await caller
    answers = await asyncio.wait_for(asyncio.gather(*(_one(made, str(number)) for number in range(100))), 5)
    assert len(answers) == 100


async def test_a_failure_is_not_remembered() -> None:
    """Those who waited together fail together; the next request asks the encoder again."""
    encoder = MemoryEncoder()
    msg = "away"
    encoder.failures.append(UnavailableError(msg, reason="BACKEND_UNAVAILABLE"))
    made = embedder(encoder)
    failed = await asyncio.gather(*(_one(made, "same") for _ in range(5)), return_exceptions=True)
    assert all(isinstance(answer, UnavailableError) for answer in failed)
    assert isinstance((await _one(made, "same")).rows[0], Row)
    assert len(encoder.calls) == 2


async def test_an_error_of_a_content_is_not_remembered() -> None:
    """What an encoder refuses today it may take tomorrow: errors are never cached."""
    encoder = MemoryEncoder()
    made = embedder(encoder)
    for _ in range(2):
        await _one(made, "POISON")
    assert encoder.seen == [b"POISON"] * 2


async def test_a_short_deadline_of_the_first_is_not_that_of_the_others() -> None:
    """The first gives up after 50 ms; one who joined with more time gets the row from a second call."""
    encoder = MemoryEncoder()
    encoder.gate.clear()
    made = embedder(encoder)
    await made.info(Modality.TEXT)

    async def _hasty() -> Embedded:
        until(0.05)
        return await _one(made, "same")

    async def _patient() -> Embedded:
        until(5)
        return await _one(made, "same")

    first = asyncio.create_task(_hasty())
    await _settle()
    second = asyncio.create_task(_patient())
    with pytest.raises(DeadlineExceededError):
        await first
    encoder.gate.set()
    assert isinstance((await second).rows[0], Row)
    assert len(encoder.calls) == 2


async def test_equal_contents_in_one_request_are_encoded_once() -> None:
    """A batch that repeats itself costs one encoding, and every place gets its row."""
    encoder = MemoryEncoder()
    answer = await embedder(encoder).embed(Modality.TEXT, texts("a", "b", "a", "a"))
    assert encoder.calls == [[b"a", b"b"]]
    assert answer.rows[0] == answer.rows[2] == answer.rows[3] != answer.rows[1]
    assert (answer.stages.cache_hits, answer.stages.cache_misses) == (0, 4)
