"""One lane to an encoder: what waits in it, and when to send it.

Callers tend to come back: when a call is answered, so many callers are on their way with their next text, and they
arrive one by one over some milliseconds. Sent one by one they would cost a call each and break the encoder's batches to
pieces. So texts are gathered while a call is out, and after it until everybody who may come back is there, or nobody
came for a moment, or half the time of that call has passed. A lone caller waits for nobody. Images are never held back:
decoding them takes longer than any call, and overlaps with the forward pass of those before.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from enum import Enum
from typing import Final

from isthmus.gateway.single_flight import Flight

__all__ = ["EncodeLane", "EncodeLimits", "Lane"]

_GATHER_SHARE: Final = 0.5
"""Callers are waited for at most this share of the time of the call that answered them."""
_HOLD_MAX_S: Final = 0.25
"""Texts are held back for a call that is out at most so long: it may be stuck."""


class Lane(Enum):
    """Who waits for the encoding."""

    INTERACTIVE = "interactive"
    """A caller of embed or search."""
    BULK = "bulk"
    """A stream of upserts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodeLimits:
    """Bounds of one queue.

    Attributes:
        batch_max_count: Inputs a call.
        batch_max_bytes: Bytes of inputs a call.
        calls: Calls out at once, by lane.
        coalesce_s: Texts are gathered as long as the next one comes within this time.
        gather_count: So many texts are enough for a call of their own; 1 gathers nothing.
        timeout_s: Upper bound of one call.
        queue_max_count: Inputs that may wait.
        queue_max_bytes: Bytes of inputs that may wait.
    """

    batch_max_count: int
    batch_max_bytes: int
    calls: dict[Lane, int]
    coalesce_s: float
    gather_count: int
    timeout_s: float
    queue_max_count: int
    queue_max_bytes: int


class EncodeLane:
    """What waits, how many calls are out, and who may come back. Times are those of `time.monotonic`.

    Args:
        limit: Calls out at once.
        gather_count: So many inputs are enough for a call of their own.
        coalesce_s: How long to wait for the next one.

    Attributes:
        pending: Flights, each with the time it was submitted.
        calls: Calls that are out.
    """

    def __init__(self, *, limit: int, gather_count: int, coalesce_s: float) -> None:
        self.pending: deque[tuple[Flight, float]] = deque()
        self.calls = 0
        self._limit = limit
        self._gather_count = gather_count
        self._coalesce_s = coalesce_s
        self._returning = 0
        self._returning_until_s = 0.0

    @property
    def is_full(self) -> bool:
        """True when no further call may go out."""
        return self.calls >= self._limit

    def arrived(self) -> None:
        """Hear that a caller is here."""
        self._returning = max(0, self._returning - 1)

    def answered(self, callers: int, *, now_s: float, took_s: float) -> None:
        """Hear that so many callers were answered by a call of that duration: they may come back."""
        if now_s > self._returning_until_s:
            self._returning = 0  # whoever did not come back in time is not waited for
        self._returning += callers
        self._returning_until_s = now_s + _GATHER_SHARE * took_s

    def wait_s(self, *, now_s: float) -> float:
        """Return how long to go on gathering for what waits; 0 when it should go now."""
        if len(self.pending) >= self._gather_count:
            return 0.0
        if self.calls:
            _, oldest_s = self.pending[0]
            return max(0.0, oldest_s + _HOLD_MAX_S - now_s)
        if self._returning and now_s < self._returning_until_s:
            return min(self._coalesce_s, self._returning_until_s - now_s)
        return 0.0
