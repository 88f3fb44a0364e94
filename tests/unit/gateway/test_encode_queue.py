"""What waits for an encoder goes out in few calls, in bounded calls, and the dead do not go at all."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

import numpy as np
import pytest

from isthmus.core.modality import Modality
from isthmus.gateway.domain import Content, EncodedBatch, Row
from isthmus.gateway.encode_lane import Lane
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
    made = embedder(encoder, bounds=limits(coalesce_s=0.1))
    started_s = time.monotonic()
    await made.embed(TEXT, texts("a"))
    assert time.monotonic() - started_s < 0.5


async def test_texts_of_a_crowd_go_out_together() -> None:
    """While a call is out, the texts of 30 other callers are gathered, and go out as one when it is answered."""
    encoder = MemoryEncoder()
    made = embedder(encoder)
    encoder.gate.clear()
    first = asyncio.create_task(made.embed(TEXT, texts("first")))
    await asyncio.sleep(0.005)
    others = []
    for number in range(30):
        others.append(asyncio.create_task(made.embed(TEXT, texts(f"text {number}"))))
        await asyncio.sleep(0.001)
    assert encoder.calls == [[b"first"]]
    encoder.gate.set()
    await asyncio.gather(first, *others)
    assert [len(call) for call in encoder.calls] == [1, 30]


async def test_callers_that_come_back_stay_together() -> None:
    """Eight callers that each come back a little later than the last form whole batches, not crumbs."""
    encoder = MemoryEncoder()
    made = embedder(encoder)
    rng = np.random.default_rng(3)

    async def _slowly(contents: Sequence[Content]) -> EncodedBatch:
        await asyncio.sleep(0.02)
        return await MemoryEncoder.encode(encoder, contents)

    encoder.encode = _slowly  # type: ignore[method-assign]

    async def _caller(number: int) -> None:
        for turn in range(20):
            await made.embed(TEXT, texts(f"text {number} {turn}"))
            await asyncio.sleep(float(rng.uniform(0, 0.005)))

    await asyncio.gather(*(_caller(number) for number in range(8)))
    sizes = [len(call) for call in encoder.calls]
    assert sum(sizes) / len(sizes) > 6  # measured: 7.6; sent one by one: 1


async def test_who_does_not_come_back_is_not_waited_for() -> None:
    """Of eight callers seven stay away: the eighth waits for a gap of 6 ms, not for them."""
    encoder = MemoryEncoder()
    made = embedder(encoder)
    await asyncio.gather(*(made.embed(TEXT, texts(f"text {number}")) for number in range(8)))
    started_s = time.monotonic()
    await made.embed(TEXT, texts("alone"))
    assert time.monotonic() - started_s < 0.05  # measured: 0.001: the last call was short


async def test_a_call_that_is_stuck_does_not_hold_texts_for_ever() -> None:
    """Behind a call that is not answered, a text is sent all the same after a quarter of a second."""
    encoder = MemoryEncoder()
    made = embedder(encoder)
    encoder.gate.clear()
    stuck = asyncio.create_task(made.embed(TEXT, texts("stuck")))
    await asyncio.sleep(0.01)
    others = []
    for number in range(4):
        others.append(asyncio.create_task(made.embed(TEXT, texts(f"other {number}"))))
        await asyncio.sleep(0.1)
    assert encoder.calls == [[b"stuck"], [b"other 0", b"other 1", b"other 2"]]
    encoder.gate.set()
    await asyncio.gather(stuck, *others)


async def test_images_are_never_held_back() -> None:
    """An image goes out at once, whatever is out: decoding it overlaps with what runs."""
    encoder = MemoryEncoder(Modality.IMAGE)
    made = embedder(encoder)
    encoder.gate.clear()
    callers = []
    for number in range(4):
        content = Content(Modality.IMAGE, f"image {number}".encode(), number.to_bytes(32, "big"))
        callers.append(asyncio.create_task(made.embed(Modality.IMAGE, [content])))
        await asyncio.sleep(0.002)
    assert [len(call) for call in encoder.calls] == [1] * 4
    encoder.gate.set()
    await asyncio.gather(*callers)


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

    async def _hasty() -> None:
        until(0.03)
        await made.embed(TEXT, texts("hasty"))

    with pytest.raises(DeadlineExceededError):
        await asyncio.create_task(_hasty())
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

    async def _caller(text: str, seconds: float) -> None:
        until(seconds)
        await made.embed(TEXT, texts(text))

    await asyncio.gather(_caller("a", 1.0), _caller("b", 3.0), _caller("c", 2.0))
    assert encoder.calls == [[b"a", b"b", b"c"]]
    (deadline_s,) = encoder.deadlines
    assert deadline_s is not None
    assert deadline_s - now == pytest.approx(3.0, abs=0.2)
