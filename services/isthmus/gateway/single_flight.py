"""Single flight: whatever is being made for one caller is made once for all who want it meanwhile.

A flight belongs to nobody. The caller who opened it may go away: as long as one other waits, the work goes on; when the
last one has gone, it is called off. How it ended is told to those who wait and remembered by nobody, so an error never
outlives its moment.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from isthmus.gateway.domain import Content, Row
from isthmus.runtime.base.context import CallContext
from isthmus.runtime.base.errors import IsthmusError

__all__ = ["Flight", "FlightTable", "Waiter"]


class Waiter:
    """One caller who waits for several flights at once: one future, however many they are.

    Args:
        deadline_s: When the caller gives up, on the clock of `time.monotonic`; None when never.
    """

    __slots__ = ("deadline_s", "landed", "remaining")

    def __init__(self, *, deadline_s: float | None) -> None:
        self.deadline_s = deadline_s
        self.remaining = 0
        self.landed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def one_landed(self) -> None:
        """Count one flight that ended; wake the caller after the last."""
        self.remaining -= 1
        if not self.remaining and not self.landed.done():
            self.landed.set_result(None)


class Flight:
    """One embedding being made.

    Attributes:
        key: Its key in the cache.
        content: What it is made from.
        origin: The call that opened it.
        outcome: The row, or what is wrong with the content, once it has landed.
        failure: What failed instead, when it says nothing about the content.
        landed: True once either is known.
        encoded: True when an encoder was asked.
        lane: Name of the queue it waits in; set by whoever does the work.
        sent: True once it is on its way to the encoder.
        queue_micros: How long it waited for the encoder.
        encode_micros: How long the encoder took.
        abandoned: Called when the last waiter has gone; set by whoever does the work.
        waiters: Who waits.
    """

    __slots__ = (
        "abandoned",
        "content",
        "encode_micros",
        "encoded",
        "failure",
        "key",
        "landed",
        "lane",
        "origin",
        "outcome",
        "queue_micros",
        "sent",
        "waiters",
    )

    def __init__(self, key: bytes, content: Content, origin: CallContext) -> None:
        self.key = key
        self.content = content
        self.origin = origin
        self.outcome: Row | IsthmusError | None = None
        self.failure: IsthmusError | None = None
        self.landed = False
        self.encoded = False
        self.lane: object = None
        self.sent = False
        self.queue_micros = 0
        self.encode_micros = 0
        self.abandoned: Callable[[Flight], None] | None = None
        self.waiters: list[Waiter] = []

    def deadline_s(self) -> float | None:
        """Return when the last of its waiters gives up; None when one never does."""
        latest = 0.0
        for waiter in self.waiters:
            if waiter.deadline_s is None:
                return None
            latest = max(latest, waiter.deadline_s)
        return latest


class FlightTable:
    """The flights under way, by key."""

    def __init__(self) -> None:
        self._flights: dict[bytes, Flight] = {}

    def __len__(self) -> int:
        return len(self._flights)

    def join(self, key: bytes, content: Content, waiter: Waiter, *, origin: CallContext) -> tuple[Flight, bool]:
        """Wait for the flight of `key`, opening it when there is none.

        Returns:
            The flight, and whether it was opened: then it is for the caller to get the work started.
        """
        flight = self._flights.get(key)
        opened = flight is None
        if flight is None:
            flight = self._flights[key] = Flight(key, content, origin)
        flight.waiters.append(waiter)
        waiter.remaining += 1
        return flight, opened

    def land(self, flight: Flight, outcome: Row | IsthmusError) -> None:
        """End a flight with its row, or with what is wrong with its content. Ending it twice changes nothing."""
        if not flight.landed:
            flight.outcome = outcome
            self._wake(flight)

    def fail(self, flight: Flight, failure: IsthmusError) -> None:
        """End a flight because the work could not be done. Ending it twice changes nothing."""
        if not flight.landed:
            flight.failure = failure
            self._wake(flight)

    def _wake(self, flight: Flight) -> None:
        flight.landed = True
        self.forget(flight)
        for waiter in flight.waiters:
            waiter.one_landed()

    def leave(self, flights: Iterable[Flight], waiter: Waiter) -> None:
        """Stop waiting for flights that have not landed; call off those for which nobody waits any more."""
        for flight in flights:
            if flight.landed:
                continue
            flight.waiters.remove(waiter)
            if not flight.waiters and flight.abandoned is not None:
                flight.abandoned(flight)

    def forget(self, flight: Flight) -> None:
        """Take a flight out of the table: whoever wants its key from now on opens another."""
        if self._flights.get(flight.key) is flight:
            del self._flights[flight.key]
