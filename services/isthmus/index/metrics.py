"""What the index exports to Prometheus."""

from __future__ import annotations

from typing import Final

from isthmus.runtime.base.metrics import SECONDS_BUCKETS, Counter, Gauge, Histogram

__all__ = [
    "ALIGN_SECONDS",
    "CALIBRATE_SECONDS",
    "CATCH_UP_SECONDS",
    "COMMIT_ROWS",
    "COMMIT_SECONDS",
    "FOLLOW_FAILURES",
    "ITEMS",
    "MERGED_FRAGMENTS",
    "REVISION",
    "SEARCH_SECONDS",
    "forget_collection",
]

_COLLECTION: Final = ("role", "tenant", "collection")

COMMIT_SECONDS: Final = Histogram(
    "isthmus_index_commit_seconds", "Planning, appending and syncing a group of mutations.", buckets=SECONDS_BUCKETS
)
COMMIT_ROWS: Final = Histogram(
    "isthmus_index_commit_rows", "Rows of a commit.", buckets=(1, 4, 16, 64, 256, 1024, 4096, 16_384)
)
MERGED_FRAGMENTS: Final = Counter("isthmus_index_merged_fragments", "Small files merged away in the background.")
SEARCH_SECONDS: Final = Histogram(
    "isthmus_index_search_seconds", "Searching and merging a batch of queries.", buckets=SECONDS_BUCKETS
)
ALIGN_SECONDS: Final = Histogram("isthmus_index_align_seconds", "Aligning a batch of queries.", buckets=SECONDS_BUCKETS)
CATCH_UP_SECONDS: Final = Histogram(
    "isthmus_index_catch_up_seconds", "Bringing a searcher's snapshot up to date.", buckets=SECONDS_BUCKETS
)
CALIBRATE_SECONDS: Final = Histogram(
    "isthmus_index_calibrate_seconds", "Estimating a calibration from a collection's vectors.", buckets=SECONDS_BUCKETS
)
FOLLOW_FAILURES: Final = Counter("isthmus_index_follow_failures", "Failed attempts of a searcher to follow the store.")
ITEMS: Final = Gauge("isthmus_index_items", "Live items.", [*_COLLECTION, "modality"])
REVISION: Final = Gauge("isthmus_index_revision", "Newest revision known.", _COLLECTION)


def forget_collection(role: str, tenant: str, collection: str) -> None:
    """Stop exporting a collection that is gone."""
    for modality in ("image", "text"):
        ITEMS.remove(role, tenant, collection, modality)
    REVISION.remove(role, tenant, collection)
