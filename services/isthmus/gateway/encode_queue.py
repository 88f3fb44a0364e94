"""What waits for one encoder: inputs of many callers, sent in few calls.

Two lanes share the encoder. Callers who wait (embed, search) have most of its calls; upserts have a few, so that a bulk
load never makes a search wait for more than the calls under way.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

from isthmus.core.modality import Modality
from isthmus.gateway.domain import EncodedBatch
from isthmus.gateway.encode_lane import EncodeLane, EncodeLimits, Lane
from isthmus.gateway.metrics import ENCODE_SECONDS, QUEUE_SECONDS
from isthmus.gateway.ports import EncoderPort
from isthmus.gateway.single_flight import Flight, FlightTable
from isthmus.runtime.base import context
from isthmus.runtime.base.errors import (
    DeadlineExceededError,
    InternalError,
    IsthmusError,
    ResourceExhaustedError,
    UnavailableError,
)
from isthmus.runtime.base.limits import DEADLINE_FLOOR_S, DEADLINE_HOP_S

__all__ = ["EncodeQueue"]

log = logging.getLogger("isthmus.gateway")

_RETRY_AFTER_S: Final = 0.5
_MICROS: Final = 1_000_000


class _Call:
    """One call to the encoder, and how many of its inputs somebody still waits for."""

    __slots__ = ("deadline_s", "flights", "live", "sent_s", "task")

    def __init__(self, flights: Sequence[Flight], deadline_s: float | None) -> None:
        self.flights = flights
        self.deadline_s = deadline_s
        self.live = len(flights)
        self.sent_s = time.monotonic()
        self.task: asyncio.Task[None] | None = None


class EncodeQueue:
    """The queue in front of one encoder.

    Args:
        encoder: Whom to ask.
        modality: What it encodes.
        limits: Its bounds.
        table: Where flights land.
        on_encoded: Called with the flights of a call and what the encoder answered; lands them.
    """

    def __init__(
        self,
        encoder: EncoderPort,
        *,
        modality: Modality,
        limits: EncodeLimits,
        table: FlightTable,
        on_encoded: Callable[[Sequence[Flight], EncodedBatch], None],
    ) -> None:
        self._encoder = encoder
        self._limits = limits
        self._table = table
        self._on_encoded = on_encoded
        self._lanes = {
            lane: EncodeLane(
                limit=limits.calls[lane],
                gather_count=limits.gather_count if modality is Modality.TEXT else 1,
                coalesce_s=limits.coalesce_s,
            )
            for lane in Lane
        }
        self._timers: dict[EncodeLane, asyncio.Handle] = {}
        self._waiting_count = 0
        self._waiting_bytes = 0
        self._calls: set[_Call] = set()
        self._closed = False
        self._queue_seconds = QUEUE_SECONDS.labels(modality.value)
        self._encode_seconds = ENCODE_SECONDS.labels(modality.value)

    def submit(self, flights: Sequence[Flight], lane: Lane) -> None:
        """Queue flights; each lands sooner or later.

        Raises:
            ResourceExhaustedError: QUEUE_FULL; upserts are bounded before they come here and are never refused.
            UnavailableError: DRAINING.
        """
        size = sum(len(flight.content.data) for flight in flights)
        if self._closed:
            msg = "the gateway is shutting down"
            raise UnavailableError(msg, reason="DRAINING")
        limits = self._limits
        full = (
            self._waiting_count + len(flights) > limits.queue_max_count
            or self._waiting_bytes + size > limits.queue_max_bytes
        )
        if full and lane is Lane.INTERACTIVE:
            msg = f"{self._waiting_count} inputs of {self._waiting_bytes} bytes wait for the encoder; no more may"
            raise ResourceExhaustedError(
                msg,
                reason="QUEUE_FULL",
                metadata={"count": str(self._waiting_count), "bytes": str(self._waiting_bytes)},
                retry_after_s=_RETRY_AFTER_S,
            )
        self._lanes[lane].arrived()
        self._append(flights, lane)

    def hurry(self, flights: Sequence[Flight]) -> None:
        """Move flights that a caller has joined out of the queue of upserts, where they might wait for long."""
        slow = [flight for flight in flights if flight.lane is Lane.BULK and not flight.sent]
        if slow:
            self._append(slow, Lane.INTERACTIVE)

    def _append(self, flights: Sequence[Flight], lane: Lane) -> None:
        state = self._lanes[lane]
        now = time.monotonic()
        for flight in flights:
            flight.abandoned = self._table.forget
            flight.lane = lane
            state.pending.append((flight, now))
            self._waiting_count += 1
            self._waiting_bytes += len(flight.content.data)
        self._schedule(state)

    async def close(self) -> None:
        """Call off every call; whoever still waits is told UNAVAILABLE."""
        self._closed = True
        tasks = [call.task for call in self._calls if call.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for timer in self._timers.values():
            timer.cancel()
        for state in self._lanes.values():
            for flight, _ in state.pending:
                self._table.fail(flight, _draining())
            state.pending.clear()

    def _schedule(self, state: EncodeLane) -> None:
        """Decide when to look at what waits."""
        if state.is_full or not state.pending:
            return  # the next call that ends will look
        timer = self._timers.get(state)
        wait_s = state.wait_s(now_s=time.monotonic())
        loop = asyncio.get_running_loop()
        if wait_s > 0:
            if timer is not None:
                timer.cancel()
            self._timers[state] = loop.call_later(wait_s, self._pump, state)
        elif timer is None or isinstance(timer, asyncio.TimerHandle):
            if timer is not None:
                timer.cancel()
            # Not at once but in the next turn of the loop: what arrives in this turn goes along.
            self._timers[state] = loop.call_soon(self._pump, state)

    def _pump(self, state: EncodeLane) -> None:
        timer = self._timers.pop(state, None)
        if timer is not None:
            timer.cancel()
        while state.pending and not state.is_full and not self._closed:
            flights = self._take(state)
            if flights:
                self._send(state, flights)

    def _take(self, state: EncodeLane) -> list[Flight]:
        """Take the inputs of one call; leave out those that nobody waits for any more, or not long enough."""
        now = time.monotonic()
        taken: list[Flight] = []
        size = 0
        while state.pending and len(taken) < self._limits.batch_max_count:
            flight, since = state.pending[0]
            data_bytes = len(flight.content.data)
            if taken and (
                size + data_bytes > self._limits.batch_max_bytes or flight.origin.tenant != taken[0].origin.tenant
            ):
                break
            state.pending.popleft()
            self._waiting_count -= 1
            self._waiting_bytes -= data_bytes
            if flight.sent or not flight.waiters:
                continue  # it went by the other lane, or nobody waits any more
            deadline_s = flight.deadline_s()
            if deadline_s is not None and deadline_s - now < DEADLINE_FLOOR_S + DEADLINE_HOP_S:
                self._table.fail(flight, _too_late())
                continue
            flight.sent = True
            flight.queue_micros += int((now - since) * _MICROS)
            self._queue_seconds.observe(now - since)
            taken.append(flight)
            size += data_bytes
        return taken

    def _send(self, state: EncodeLane, flights: list[Flight]) -> None:
        latest: float | None = 0.0
        for flight in flights:
            deadline_s = flight.deadline_s()
            latest = None if latest is None or deadline_s is None else max(latest, deadline_s)
        call = _Call(flights, latest)

        def lost(flight: Flight) -> None:
            self._table.forget(flight)
            call.live -= 1
            if not call.live and call.task is not None:
                call.task.cancel()

        for flight in flights:
            flight.abandoned = lost
        state.calls += 1
        self._calls.add(call)
        call.task = asyncio.create_task(self._run(state, call))
        # Not in a `finally` of the task: one that is called off before its first step never gets there.
        call.task.add_done_callback(lambda _: self._ended(state, call))

    def _ended(self, state: EncodeLane, call: _Call) -> None:
        state.calls -= 1
        self._calls.discard(call)
        if call.task is not None and call.task.cancelled():
            self._fail_all(call.flights, _draining())
        self._schedule(state)

    async def _run(self, state: EncodeLane, call: _Call) -> None:
        started_s = time.monotonic()
        bound_s = started_s + self._limits.timeout_s
        deadline_s = bound_s if call.deadline_s is None else min(call.deadline_s, bound_s)
        origin = call.flights[0].origin
        context.enter(replace(origin, deadline_s=deadline_s))
        try:
            batch = await self._encoder.encode([flight.content for flight in call.flights])
            for flight in call.flights:
                flight.encoded = True
                flight.queue_micros += batch.queue_micros
                flight.encode_micros += batch.encode_micros
            self._on_encoded(call.flights, batch)
            self._expect(state, call)
        except DeadlineExceededError as error:
            self._again(state, call, error, ours=deadline_s == bound_s)
        except IsthmusError as error:
            self._fail_all(call.flights, error)
        except Exception as error:
            log.exception("encoding failed")
            self._fail_all(call.flights, InternalError(str(error)))
        finally:
            self._encode_seconds.observe(time.monotonic() - started_s)

    def _expect(self, state: EncodeLane, call: _Call) -> None:
        """Count the callers whose last input this call was: they may come back with the next."""
        waiters = {waiter for flight in call.flights for waiter in flight.waiters}
        now = time.monotonic()
        answered = sum(not waiter.remaining for waiter in waiters)
        state.answered(answered, now_s=now, took_s=now - call.sent_s)

    def _again(self, state: EncodeLane, call: _Call, error: IsthmusError, *, ours: bool) -> None:
        """Queue those anew who joined a flight late and have time left: the deadline that passed was not theirs."""
        now = time.monotonic()
        for flight in reversed(call.flights):
            deadline_s = flight.deadline_s()
            joined_late = call.deadline_s is not None and (deadline_s is None or deadline_s > call.deadline_s)
            if ours or not flight.waiters or not joined_late or self._closed:
                self._table.fail(flight, error)
                continue
            flight.abandoned, flight.sent = self._table.forget, False
            self._waiting_count += 1
            self._waiting_bytes += len(flight.content.data)
            state.pending.appendleft((flight, now))

    def _fail_all(self, flights: Sequence[Flight], error: IsthmusError) -> None:
        for flight in flights:
            self._table.fail(flight, error)


def _draining() -> IsthmusError:
    msg = "the gateway is shutting down"
    return UnavailableError(msg, reason="DRAINING")


def _too_late() -> IsthmusError:
    msg = "the deadline passed before the encoder was free"
    return DeadlineExceededError(msg, reason="DEADLINE_EXCEEDED")
