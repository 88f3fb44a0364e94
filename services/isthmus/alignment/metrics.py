"""What the alignment service measures of itself. What it finds in collections is exported by the gateways."""

from __future__ import annotations

from typing import Final

from isthmus.runtime.base.metrics import SECONDS_BUCKETS, Counter, Histogram

__all__ = ["WATCH_FAILURES", "WATCH_SECONDS"]

WATCH_SECONDS: Final = Histogram(
    "isthmus_watch_look_seconds", "One look at a collection, reading and measuring.", buckets=SECONDS_BUCKETS
)
WATCH_FAILURES: Final = Counter("isthmus_watch_failures", "Looks at collections that failed.")
