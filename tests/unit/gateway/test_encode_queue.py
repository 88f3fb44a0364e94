"""What waits for an encoder goes out in few calls, in bounded calls, and the dead do not go at all."""

from __future__ import annotations

import asyncio
import time

import pytest

from isthmus.core.modality import Modality
from isthmus.gateway.domain import Row
from isthmus.gateway.encode_queue import Lane
from isthmus.runtime.base.errors import DeadlineExceededError, ResourceExhaustedError
from tests.unit.gateway.memory_encoder import MemoryEncoder, embedder, limits, texts, until

TEXT = Modality.TEXT


async def test_a_batch_goes_out_in_calls_of_bounded_count() -> None:
    """150 texts go out as 64, 64 and 22."""
    encoder = MemoryEncoder()
    await embedder(encoder).embed(TEXT, texts(*map(str, range(150))))
    assert [len(call) for call in encoder.calls] == [64, 64, 22]


async def test_a_batch_goes_out_in_calls_of_bounded_bytes() -> None:
    """No call holds more than its bytes, unless a single content does."""
    encoder = MemoryEncoder()
    big = [f"{number} " + "x" * 998 for number in range(5)]
    await embedder(encoder, bounds=limits(batch_max_bytes=2_500)).embed(TEXT, texts(*big, "y" * 4_000, "z"))
    assert [[len(data) for data in call] for call in encoder.calls] == [[1_000] * 2, [1_000] * 2, [1_000], [4_000], [1]]


async def test_a_lone_caller_waits_for_nobody() -> None:
    """With no call out, a text is sent in the next turn of the loop."""
    encoder = MemoryEncoder()
    made = embedder(encoder, bounds=limits(coalesce_s=5.0))
    started_s = time.monotonic()
    await made.embed(TEXT, texts("a"))
    assert time.monotonic() - started_s < 0.5


async def test_a_crowd_of_single_texts_takes_few_calls() -> None:
    """While a call is out, texts of other callers are gathered: 40 callers, a handful of calls."""
    encoder = MemoryEncoder()
    made = embedder(encoder, bounds=limits(coalesce_s=0.02))
    await made.embed(TEXT, texts("warm"))
    encoder.gate.clear()

    async def caller(number: int) -> None:
        await asyncio.sleep(0.0002 * number)
        await made.embed(TEXT, texts(f"text {number}"))

    callers = [asyncio.create_task(caller(number)) for number in range(40)]
    await asyncio.sleep(0.1)
    encoder.gate.set()
    await asyncio.gather(*callers)
    assert len(encoder.seen) == 41
    assert len(encoder.calls) <= 12  # measured: 3


async def test_only_so_many_calls_are_out_at_once() -> None:
    """The bound of a lane holds; what is left over waits."""
    encoder = MemoryEncoder()
    encoder.gate.clear()
    made = embedder(encoder, bounds=limits(batch_max_count=1, interactive=3))
    waiting = asyncio.create_task(made.embed(TEXT, texts(*map(str, range(10)))))
    await asyncio.sleep(0.02)
    assert encoder.running == 3
    encoder.gate.set()
    assert len((await waiting).rows) == 10


async def test_upserts_leave_calls_for_those_who_wait() -> None:
    """With a bulk load of 1,000 texts queued, a search is encoded at once beside the two bulk calls."""
    encoder = MemoryEncoder()
    made = embedder(encoder)
    encoder.gate.clear()
    bulk = asyncio.create_task(made.embed(TEXT, texts(*(f"bulk {number}" for number in range(1_000))), lane=Lane.BULK))
    await asyncio.sleep(0.01)
    assert len(encoder.calls) == 2
    search = asyncio.create_task(made.embed(TEXT, texts("query")))
    await asyncio.sleep(0.01)
    assert encoder.calls[2] == [b"query"]
    encoder.gate.set()
    assert isinstance((await search).rows[0], Row)
    assert len((await bulk).rows) == 1_000


async def test_a_search_for_a_queued_text_does_not_wait_behind_the_bulk() -> None:
    """Whoever joins a text that waits in the bulk lane pulls it forward; it is encoded once."""
    encoder = MemoryEncoder()
    made = embedder(encoder)
    encoder.gate.clear()
    bulk = asyncio.create_task(made.embed(TEXT, texts(*(f"bulk {number}" for number in range(1_000))), lane=Lane.BULK))
    await asyncio.sleep(0.01)
    search = asyncio.create_task(made.embed(TEXT, texts("bulk 999")))
    await asyncio.sleep(0.01)
    assert encoder.calls[2] == [b"bulk 999"]
    encoder.gate.set()
    await asyncio.gather(bulk, search)
    assert len(encoder.seen) == len(set(encoder.seen)) == 1_000


async def test_a_full_queue_refuses_whoever_could_wait_elsewhere() -> None:
    """Over the bound a caller gets QUEUE_FULL with a time to come back; an upsert is queued all the same."""
    encoder = MemoryEncoder()
    encoder.gate.clear()
    made = embedder(encoder, bounds=limits(batch_max_count=1, interactive=1, bulk=1, queue_max_count=5))
    waiting = []
    for number in range(6):  # one is out, five wait
        waiting.append(asyncio.create_task(made.embed(TEXT, texts(f"{number}"))))
        await asyncio.sleep(0.005)
    with pytest.raises(ResourceExhaustedError) as caught:
        await made.embed(TEXT, texts("late"))
    assert caught.value.reason == "QUEUE_FULL"
    assert caught.value.retry_after_s is not None
    bulk = asyncio.create_task(made.embed(TEXT, texts("upsert"), lane=Lane.BULK))
    await asyncio.sleep(0.01)
    encoder.gate.set()
    await asyncio.gather(*waiting, bulk)
    assert isinstance((await made.embed(TEXT, texts("late"))).rows[0], Row)


async def test_the_expired_are_not_sent() -> None:
    """A text whose caller's time ran out while it waited never reaches the encoder."""
    encoder = MemoryEncoder()
    encoder.gate.clear()
    made = embedder(encoder, bounds=limits(batch_max_count=1, interactive=1))
    blocking = asyncio.create_task(made.embed(TEXT, texts("first")))
    await asyncio.sleep(0.01)

    async def hasty() -> None:
        until(0.03)
        await made.embed(TEXT, texts("hasty"))

    with pytest.raises(DeadlineExceededError):
        await asyncio.create_task(hasty())
    encoder.gate.set()
    await blocking
    await made.embed(TEXT, texts("next"))
    assert encoder.seen == [b"first", b"next"]


async def test_a_call_carries_the_longest_deadline_of_its_callers() -> None:
    """Nobody's text is cut off by a neighbour in more of a hurry."""
    encoder = MemoryEncoder()
    made = embedder(encoder, bounds=limits(coalesce_s=0.02))
    await made.info(TEXT)
    now = time.monotonic()

    async def caller(text: str, seconds: float) -> None:
        until(seconds)
        await made.embed(TEXT, texts(text))

    await asyncio.gather(caller("a", 1.0), caller("b", 3.0), caller("c", 2.0))
    assert encoder.calls == [[b"a", b"b", b"c"]]
    (deadline_s,) = encoder.deadlines
    assert deadline_s is not None
    assert deadline_s - now == pytest.approx(3.0, abs=0.2)
