"""What the gateway measures of itself."""

from __future__ import annotations

from typing import Final

from isthmus.runtime.base.metrics import SECONDS_BUCKETS, Counter, Gauge, Histogram

__all__ = [
    "CACHE",
    "CACHE_REFUSED",
    "DRIFT_FLOORS",
    "DRIFT_SHARE",
    "ENCODE_SECONDS",
    "GAP_CENTROID",
    "PROBE_RECALL",
    "QUEUE_SECONDS",
    "REDIS_FAILURES",
    "REFIT_PROPOSALS",
    "SEARCH_SECONDS",
    "WATCH_LEFT_OUT",
    "WATCH_TIME",
]

_WATCHED: Final = ("tenant", "collection")

CACHE: Final = Counter("isthmus_gateway_cache", "Embeddings looked up, by where they were found.", ["result"])
"""`result` is local, backend, shared (somebody else was encoding it already), stored (in the collection) or miss."""
CACHE_REFUSED: Final = Counter("isthmus_gateway_cache_refused", "Values from Redis refused as damaged.", ["reason"])
REDIS_FAILURES: Final = Counter("isthmus_gateway_redis_failures", "Operations of Redis that failed or came too late.")
QUEUE_SECONDS: Final = Histogram(
    "isthmus_gateway_queue_seconds", "Wait for a free call to an encoder.", ["modality"], buckets=SECONDS_BUCKETS
)
ENCODE_SECONDS: Final = Histogram(
    "isthmus_gateway_encode_seconds", "Calls to an encoder.", ["modality"], buckets=SECONDS_BUCKETS
)
SEARCH_SECONDS: Final = Histogram(
    "isthmus_gateway_search_seconds", "Calls to the index searcher.", buckets=SECONDS_BUCKETS
)

GAP_CENTROID: Final = Gauge(
    "isthmus_gap_centroid", "Distance between the centroids of a collection's images and texts.", [*_WATCHED, "space"]
)
"""`space` is raw or aligned."""
DRIFT_SHARE: Final = Gauge(
    "isthmus_drift_share",
    "What has moved since the fit, noise taken off: of the mean as a share of the spread, of the spectrum as a "
    "share of its norm.",
    [*_WATCHED, "modality", "moment"],
)
"""`moment` is mean or spectrum."""
DRIFT_FLOORS: Final = Gauge(
    "isthmus_drift_floors",
    "The distance moved since the aligner's fit, in noise floors; about 1 when nothing has moved.",
    [*_WATCHED, "modality", "moment"],
)
PROBE_RECALL: Final = Gauge(
    "isthmus_probe_recall",
    "Recall@10 of held-out pairs across the modalities, in galleries of one size.",
    [*_WATCHED, "query", "at"],
)
"""`query` is image or text, `at` is now or fit."""
REFIT_PROPOSALS: Final = Gauge(
    "isthmus_refit_proposals", "1 while a proposal to fit a collection's aligner again is open.", [*_WATCHED, "cause"]
)
"""`cause` is mean, spectrum or probe_recall."""
WATCH_TIME: Final = Gauge(
    "isthmus_watch_timestamp_seconds", "When a collection was looked at last, in seconds since 1970.", _WATCHED
)
WATCH_LEFT_OUT: Final = Gauge("isthmus_watch_left_out", "Watched collections that are too many to be exported.")
