"""The micro-batcher: who shares a batch, who is dropped, who is blamed, and who is refused."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Sequence

import pytest

from isthmus.runtime.base.errors import (
    DeadlineExceededError,
    InvalidArgumentError,
    ResourceExhaustedError,
    UnavailableError,
)
from tests.unit.runtime.held_device import Device, Events, errors_of, held, running_batcher


class TestBatches:
    """How batches form."""

    async def test_results_come_back_in_order(self) -> None:
        """Whatever the batches were, outcome i belongs to item i."""
        async with running_batcher(Device(), max_batch_count=7, prepare_threads_count=3) as batcher:
            outcomes = await batcher.submit_many(range(100))
        assert [outcome.result for outcome in outcomes] == [10 * item for item in range(100)]

    async def test_nothing_asks_for_nothing(self) -> None:
        """An empty call is answered without a forward pass."""
        device = Device()
        async with running_batcher(device) as batcher:
            assert await batcher.submit_many([]) == []
        assert device.batches == []

    async def test_a_lone_item_leaves_at_once(self) -> None:
        """On an idle device one item does not wait for company, however long the wait may be."""
        async with running_batcher(Device(), max_wait_ms=900) as batcher:
            await batcher.submit_many([1])
            await asyncio.sleep(1)
            started = time.monotonic()
            await batcher.submit_many([2])
            assert time.monotonic() - started < 0.5  # measured 8 ms beside eight busy processes

    async def test_callers_share_a_batch(self) -> None:
        """What arrives from different callers while the device is busy leaves as one batch."""
        device = Device()
        async with running_batcher(device) as batcher:
            first = await held(device, batcher)
            others = [asyncio.ensure_future(batcher.submit_many([item])) for item in range(1, 21)]
            await asyncio.sleep(0.05)
            device.gate.set()
            await asyncio.gather(first, *others)
        assert sorted(device.batches[1]) == list(range(1, 21))

    async def test_callers_that_come_back_share_the_next_batch_too(self) -> None:
        """Eight callers in a loop settle into batches of eight: nobody runs ahead with a batch of one."""
        events = Events()
        async with running_batcher(Device(seconds=0.005), events=events, max_wait_ms=50) as batcher:

            async def loop() -> None:
                for item in range(20):
                    await batcher.submit_many([item])

            await asyncio.gather(*(loop() for _ in range(8)))
        assert sum(events.passes) == 160
        assert len(events.passes) <= 26  # measured 20, one a round

    async def test_a_batch_is_never_larger_than_the_limit(self) -> None:
        """256 items at 32 a batch are 8 batches once the first has gone ahead."""
        device = Device(seconds=0.002)
        async with running_batcher(device, max_batch_count=32, max_wait_ms=100) as batcher:
            await batcher.submit_many(range(256))
        assert max(map(len, device.batches)) <= 32
        assert len(device.batches) <= 10  # measured 8

    async def test_items_of_like_size_share_a_batch(self) -> None:
        """With a size, the items of a call are taken up from small to large, and answered in their own order."""
        device = Device(seconds=0.002)
        items = [5, 90, 3, 80, 4, 70]
        async with running_batcher(device, size_of=lambda item: item, max_batch_count=3, max_wait_ms=100) as batcher:
            outcomes = await batcher.submit_many(items)
        assert [outcome.result for outcome in outcomes] == [10 * item for item in items]
        assert [sorted(batch) for batch in device.batches] == [[3, 4, 5], [70, 80, 90]]

    async def test_preparing_overlaps_with_the_forward_pass(self) -> None:
        """While the device is held, further items are prepared, but no more than two batches ahead."""
        device = Device()
        prepared: list[int] = []

        def prepare(item: int) -> int:
            prepared.append(item)
            return item

        async with running_batcher(device, prepare=prepare, max_batch_count=4) as batcher:
            first = await held(device, batcher)
            rest = asyncio.ensure_future(batcher.submit_many(range(1, 41)))
            await asyncio.sleep(0.1)
            assert len(prepared) == 1 + 8
            device.gate.set()
            await asyncio.gather(first, rest)
        assert len(prepared) == 41

    async def test_the_event_loop_stays_free(self) -> None:
        """Neither preparing nor the forward pass runs on the caller's loop."""
        threads: set[str] = set()

        def prepare(item: int) -> int:
            threads.add(threading.current_thread().name)
            return item

        async with running_batcher(Device(), prepare=prepare) as batcher:
            await batcher.submit_many(range(50))
        assert all(name.startswith("isthmus-prepare") for name in threads)

    async def test_times_are_told_apart(self) -> None:
        """Waiting counts as queue, preparing and the forward pass as encode."""

        def prepare(item: int) -> int:
            time.sleep(0.02)
            return item

        device = Device(seconds=0.03)
        async with running_batcher(device, prepare=prepare) as batcher:
            first = await held(device, batcher)
            second = asyncio.ensure_future(batcher.submit_many([1]))
            await asyncio.sleep(0.2)
            device.gate.set()
            (outcome,) = await second
            await first
        assert 0.15 <= outcome.queue_s <= 0.4  # measured 0.21
        assert 0.05 <= outcome.encode_s <= 0.2  # measured 0.05


class TestPoison:
    """Only the guilty fail."""

    async def test_a_failing_batch_is_split_until_the_guilty_are_alone(self) -> None:
        """Of 64 items 3 make the pass fail: 61 results, 3 errors, and each guilty item was found once."""
        events = Events()
        device = Device(poison=frozenset({7, 8, 50}))
        async with running_batcher(device, events=events, max_batch_count=64, max_wait_ms=200) as batcher:
            outcomes = await batcher.submit_many(range(64))
        errors = errors_of(outcomes)
        assert sorted(errors) == [7, 8, 50]
        assert {error.reason for error in errors.values()} == {"ENCODE_FAILED"}
        assert events.failures == 3
        assert len(device.batches) <= 3 * 13  # measured 29: about 2 log2(64) a guilty item

    async def test_nothing_of_the_failure_is_told(self) -> None:
        """The caller learns that its item failed, not what the model said."""
        async with running_batcher(Device(poison=frozenset({1}))) as batcher:
            (outcome,) = await batcher.submit_many([1])
        assert outcome.error is not None
        assert "secret" not in str(outcome.error)

    async def test_other_callers_in_the_batch_are_not_harmed(self) -> None:
        """A caller whose item is poison does not spoil the batch of those who share it."""
        device = Device(poison=frozenset({13}))
        async with running_batcher(device) as batcher:
            first = await held(device, batcher)
            others = [asyncio.ensure_future(batcher.submit_many([item])) for item in (11, 12, 13, 14)]
            await asyncio.sleep(0.05)
            device.gate.set()
            answers = [outcome for (outcome,) in await asyncio.gather(*others)]
            await first
        assert [answer.result for answer in answers] == [110, 120, None, 140]

    async def test_a_wrong_number_of_results_is_a_failure(self) -> None:
        """A model that loses a row fails its batch rather than shifting everybody's answers."""

        class Losing(Device):
            """Forgets the last item of a batch of several."""

            def forward(self, batch: Sequence[int]) -> list[int]:
                """Return one result too few."""
                results = super().forward(batch)
                return results[:-1] if len(batch) > 1 else results

        async with running_batcher(Losing(), max_wait_ms=100) as batcher:
            outcomes = await batcher.submit_many(range(8))
        assert [outcome.result for outcome in outcomes] == [10 * item for item in range(8)]

    async def test_a_bad_item_never_reaches_the_device(self) -> None:
        """What preparing refuses is answered with its own error; what it chokes on, with ENCODE_FAILED."""

        def prepare(item: int) -> int:
            if item == 1:
                msg = "item: is bad"
                raise InvalidArgumentError(msg, reason="INVALID_IMAGE")
            if item == 2:
                raise ZeroDivisionError
            return item

        device = Device()
        async with running_batcher(device, prepare=prepare) as batcher:
            outcomes = await batcher.submit_many([0, 1, 2, 3])
        assert [outcome.result for outcome in outcomes] == [0, None, None, 30]
        assert {index: error.reason for index, error in errors_of(outcomes).items()} == {
            1: "INVALID_IMAGE",
            2: "ENCODE_FAILED",
        }
        assert sorted(item for batch in device.batches for item in batch) == [0, 3]


class TestTheDead:
    """No pass is spent on those who no longer wait."""

    async def test_items_whose_deadline_passed_are_dropped(self) -> None:
        """An item that waited past its deadline is answered DEADLINE_EXCEEDED and counted, not encoded."""
        device, events = Device(), Events()
        async with running_batcher(device, events=events) as batcher:
            first = await held(device, batcher)
            late = asyncio.ensure_future(batcher.submit_many([1, 2], deadline_s=time.monotonic() + 0.05))
            punctual = asyncio.ensure_future(batcher.submit_many([3], deadline_s=time.monotonic() + 60))
            await asyncio.sleep(0.1)
            device.gate.set()
            outcomes = await late
            assert all(isinstance(outcome.error, DeadlineExceededError) for outcome in outcomes)
            assert [outcome.result for outcome in await punctual] == [30]
            await first
        assert device.batches == [[0], [3]]
        assert events.drops == ["expired", "expired"]

    async def test_items_whose_caller_has_gone_are_dropped(self) -> None:
        """A cancelled call's items leave without a forward pass, and are counted."""
        device, events = Device(), Events()
        async with running_batcher(device, events=events) as batcher:
            first = await held(device, batcher)
            gone = asyncio.ensure_future(batcher.submit_many([1, 2, 3]))
            stays = asyncio.ensure_future(batcher.submit_many([4]))
            await asyncio.sleep(0.05)
            gone.cancel()
            with pytest.raises(asyncio.CancelledError):
                await gone
            device.gate.set()
            assert [outcome.result for outcome in await stays] == [40]
            await first
        assert device.batches == [[0], [4]]
        assert events.drops == ["cancelled"] * 3

    async def test_they_are_dropped_before_they_are_prepared(self) -> None:
        """With a full stage of prepared items, later ones of a caller that left are never prepared."""
        device = Device()
        prepared: list[int] = []

        def prepare(item: int) -> int:
            prepared.append(item)
            return item

        async with running_batcher(device, prepare=prepare, max_batch_count=2) as batcher:
            first = await held(device, batcher)
            gone = asyncio.ensure_future(batcher.submit_many(range(1, 101)))
            await asyncio.sleep(0.05)
            gone.cancel()
            device.gate.set()
            await first
            await batcher.submit_many([200])
        assert len(prepared) == 1 + 4 + 1


class TestTheQueue:
    """Its bound, and its end."""

    async def test_a_call_that_does_not_fit_is_refused_whole(self) -> None:
        """QUEUE_FULL says after which time to try again; what was in the queue is not touched."""
        device = Device()
        async with running_batcher(device, max_queue_count=10, max_batch_count=2) as batcher:
            first = await held(device, batcher)
            fits = asyncio.ensure_future(batcher.submit_many(range(1, 9)))
            await asyncio.sleep(0.05)
            with pytest.raises(ResourceExhaustedError) as caught:
                await batcher.submit_many(range(100, 103))
            assert caught.value.reason == "QUEUE_FULL"
            assert caught.value.retry_after_s is not None
            assert 0.05 <= caught.value.retry_after_s <= 5
            also = asyncio.ensure_future(batcher.submit_many([9, 10]))
            device.gate.set()
            assert [outcome.result for outcome in await fits + await also] == [10 * item for item in range(1, 11)]
            await first

    async def test_after_it_was_full_it_takes_calls_again(self) -> None:
        """Dropped, failed and finished items all give their place back."""
        async with running_batcher(Device(poison=frozenset({5})), max_queue_count=8) as batcher:
            for _ in range(50):
                outcomes = await batcher.submit_many(range(8))
                assert len(errors_of(outcomes)) == 1

    async def test_closing_finishes_what_is_in_and_refuses_the_rest(self) -> None:
        """A drain loses nobody who was admitted."""
        device = Device(seconds=0.01)
        async with running_batcher(device, max_batch_count=4) as batcher:
            admitted = [asyncio.ensure_future(batcher.submit_many(range(10))) for _ in range(4)]
            await asyncio.sleep(0.005)
            closing = asyncio.ensure_future(batcher.close())
            await asyncio.sleep(0.005)
            with pytest.raises(UnavailableError) as caught:
                await batcher.submit_many([1])
            assert caught.value.reason == "DRAINING"
            for outcomes in await asyncio.gather(*admitted):
                assert not errors_of(outcomes)
            await closing

    async def test_closing_ends_the_threads(self) -> None:
        """Nothing is left behind."""
        before = threading.active_count()
        async with running_batcher(Device(), prepare_threads_count=4) as batcher:
            await batcher.submit_many(range(10))
            assert threading.active_count() >= before + 5
        assert threading.active_count() <= before + 1  # the loop's own helper thread that waited for the end

    async def test_a_flood_of_callers_leaves_it_whole(self) -> None:
        """Callers that come, go, fail and expire at random: every one is answered, and nothing stays queued."""
        device = Device(poison=frozenset(range(0, 1000, 97)), seconds=0.0005)
        async with running_batcher(device, max_batch_count=16, max_queue_count=100_000, max_wait_ms=1) as batcher:

            async def caller(number: int) -> None:
                deadline_s = time.monotonic() + (0.02 if number % 5 == 0 else 60)
                call = asyncio.ensure_future(
                    batcher.submit_many(
                        [(number * 7 + item) % 1000 for item in range(number % 9 + 1)], deadline_s=deadline_s
                    )
                )
                if number % 7 == 0:
                    await asyncio.sleep(0.001 * (number % 11))
                    call.cancel()
                outcomes = (await asyncio.gather(call, return_exceptions=True))[0]
                if not isinstance(outcomes, BaseException):
                    assert all((outcome.result is None) != (outcome.error is None) for outcome in outcomes)

            await asyncio.gather(*(caller(number) for number in range(400)))
            assert [outcome.result for outcome in await batcher.submit_many([1])] == [10]
            queues = batcher._queues
            assert (len(queues.waiting), queues.preparing, len(queues.ready)) == (0, 0, 0)
