"""What encoders export to Prometheus, and count for themselves."""

from __future__ import annotations

from typing import Final

from isthmus.core.modality import Modality
from isthmus.runtime.base.metrics import SECONDS_BUCKETS, Counter, Histogram

__all__ = ["EncoderEvents"]

_FORWARD_ITEMS: Final = Counter(
    "isthmus_encoder_forward_items", "Items that went through the forward pass.", ["modality"]
)
_FORWARD_CALLS: Final = Counter("isthmus_encoder_forward_calls", "Forward passes.", ["modality"])
_FORWARD_SECONDS: Final = Histogram(
    "isthmus_encoder_forward_seconds", "Duration of a forward pass.", ["modality"], buckets=SECONDS_BUCKETS
)
_QUEUE_SECONDS: Final = Histogram(
    "isthmus_encoder_queue_seconds", "Wait of an item before its forward pass.", ["modality"], buckets=SECONDS_BUCKETS
)
_DROPPED_ITEMS: Final = Counter(
    "isthmus_encoder_dropped_items", "Items dropped unencoded: expired or cancelled.", ["modality", "why"]
)
_FAILED_ITEMS: Final = Counter(
    "isthmus_encoder_failed_items", "Items found guilty of making a forward pass fail.", ["modality"]
)


class EncoderEvents:
    """Counts what one encoder's batcher does: for Prometheus by modality, and for itself since it started.

    Args:
        modality: What it encodes.
    """

    def __init__(self, modality: Modality) -> None:
        self.forward_items = 0
        self.forward_calls = 0
        self._items = _FORWARD_ITEMS.labels(modality)
        self._calls = _FORWARD_CALLS.labels(modality)
        self._seconds = _FORWARD_SECONDS.labels(modality)
        self._queue = _QUEUE_SECONDS.labels(modality)
        self._dropped = {why: _DROPPED_ITEMS.labels(modality, why) for why in ("expired", "cancelled")}
        self._failed = _FAILED_ITEMS.labels(modality)

    def forwarded(self, *, count: int, seconds: float) -> None:
        """Count a forward pass; only the one forward thread calls this."""
        self.forward_items += count
        self.forward_calls += 1
        self._items.inc(count)
        self._calls.inc()
        self._seconds.observe(seconds)

    def waited(self, *, seconds: float) -> None:
        """Record an item's wait."""
        self._queue.observe(seconds)

    def dropped(self, *, why: str) -> None:
        """Count an item that was dropped: `expired` or `cancelled`."""
        self._dropped[why].inc()

    def failed(self) -> None:
        """Count an item that makes the forward pass fail."""
        self._failed.inc()
