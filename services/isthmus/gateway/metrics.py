"""What the gateway measures of itself."""

from __future__ import annotations

from typing import Final

from isthmus.runtime.base.metrics import SECONDS_BUCKETS, Counter, Histogram

__all__ = ["CACHE", "CACHE_REFUSED", "ENCODE_SECONDS", "QUEUE_SECONDS", "REDIS_FAILURES", "SEARCH_SECONDS"]

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
