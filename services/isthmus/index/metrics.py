"""What the index exports to Prometheus."""

from __future__ import annotations

from typing import Final

from isthmus.index.probe.figures import RecallFigure
from isthmus.index.structure_state import StructureReport
from isthmus.runtime.base.metrics import SECONDS_BUCKETS, Counter, Gauge, Histogram
from isthmus.runtime.base.structure_kinds import Kind

__all__ = [
    "ALIGN_SECONDS",
    "CACHE_BYTES",
    "CACHE_FAILURES",
    "CACHE_ROWS",
    "CALIBRATE_SECONDS",
    "CATCH_UP_SECONDS",
    "COMMIT_ROWS",
    "COMMIT_SECONDS",
    "DROPS",
    "FOLDED_EVENTS",
    "FOLLOW_FAILURES",
    "ITEMS",
    "MERGED_FRAGMENTS",
    "PROBE_FAILURES",
    "PROBE_SECONDS",
    "QUERY_SOURCES",
    "RECALL",
    "RECALL_QUERIES",
    "RECALL_TARGET",
    "REVISION",
    "SEARCH_SECONDS",
    "SHADOW_BYTES",
    "SHADOW_DROPPED",
    "SHADOW_OVERLAP",
    "SHADOW_OWN_SHARE",
    "SHADOW_QUERIES",
    "SHADOW_SECONDS",
    "SHADOW_TOP1_CHANGED",
    "SIDES",
    "STRUCTURE_BYTES",
    "STRUCTURE_NEEDED_BYTES",
    "STRUCTURE_RECALL",
    "STRUCTURE_REFUSALS",
    "STRUCTURE_SECONDS",
    "WRITER_HEARD",
    "forget_collection",
    "forget_recall",
    "forget_shadow",
    "forget_structures",
    "show_recall",
    "show_structures",
]

_COLLECTION: Final = ("role", "tenant", "collection")

COMMIT_SECONDS: Final = Histogram(
    "isthmus_index_commit_seconds", "Planning, appending and syncing a group of mutations.", buckets=SECONDS_BUCKETS
)
COMMIT_ROWS: Final = Histogram(
    "isthmus_index_commit_rows", "Rows of a commit.", buckets=(1, 4, 16, 64, 256, 1024, 4096, 16_384)
)
FOLDED_EVENTS: Final = Counter("isthmus_index_folded_events", "Events taken out that counted no more.")
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
WRITER_HEARD: Final = Gauge(
    "isthmus_index_writer_heard", "1 while the writer of the store is heard; 0 while the store is looked at instead."
)
ITEMS: Final = Gauge("isthmus_index_items", "Live items.", [*_COLLECTION, "modality"])
REVISION: Final = Gauge("isthmus_index_revision", "Newest revision known.", _COLLECTION)

CACHE_ROWS: Final = Counter("isthmus_index_cache_rows", "Items whose structures were read from files of the cache.")
CACHE_FAILURES: Final = Counter("isthmus_index_cache_failures", "Cache files that were not read or written.", ["why"])
"""`why` is damaged (a file was refused, and the store read instead) or write (a disk that is full or not writable)."""
CACHE_BYTES: Final = Gauge(
    "isthmus_index_cache_bytes", "What a collection's cache files take.", ["tenant", "collection"]
)

SIDES: Final = ("active", "shadow")
"""Values of the label `side`."""
DROPS: Final = ("busy", "not_built", "failed")
"""Values of the label `why`."""
_SHADOWED: Final = ("tenant", "collection")
_SHARES: Final = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)

SHADOW_QUERIES: Final = Counter(
    "isthmus_index_shadow_queries", "Queries that were asked under the shadow aligner too.", _SHADOWED
)
SHADOW_OVERLAP: Final = Histogram(
    "isthmus_index_shadow_overlap", "Share of a query's answers that both aligners give.", _SHADOWED, buckets=_SHARES
)
SHADOW_TOP1_CHANGED: Final = Counter(
    "isthmus_index_shadow_top1_changed", "Queries whose best answer differs under the shadow aligner.", _SHADOWED
)
SHADOW_OWN_SHARE: Final = Histogram(
    "isthmus_index_shadow_own_share",
    "Share of the query's own modality among the answers over both.",
    [*_SHADOWED, "side"],
    buckets=_SHARES,
)
"""`side` is active or shadow."""
SHADOW_SECONDS: Final = Histogram(
    "isthmus_index_shadow_seconds",
    "Aligning and searching a query, by the same thread one after the other.",
    [*_SHADOWED, "side"],
    buckets=SECONDS_BUCKETS,
)
"""`side` is active or shadow."""
SHADOW_DROPPED: Final = Counter(
    "isthmus_index_shadow_dropped", "Chosen searches that were not compared.", [*_SHADOWED, "why"]
)
"""`why` is busy, not_built or failed."""
_STRUCTURED: Final = ("tenant", "collection", "modality")
STRUCTURE_SECONDS: Final = Histogram(
    "isthmus_index_structure_seconds",
    "Choosing, building and tuning the structures of a modality.",
    buckets=(0.1, 1, 10, 60, 300, 1_800),
)
STRUCTURE_REFUSALS: Final = Counter("isthmus_index_structure_refusals", "Structures that were not built.", ["why"])
"""`why` is over_budget or failed."""
STRUCTURE_BYTES: Final = Gauge(
    "isthmus_index_structure_bytes", "Memory of structures, and of the vectors beside them.", [*_STRUCTURED, "kind"]
)
STRUCTURE_RECALL: Final = Gauge(
    "isthmus_index_structure_recall", "Recall@10 measured when structures were built.", [*_STRUCTURED, "kind"]
)
STRUCTURE_NEEDED_BYTES: Final = Gauge(
    "isthmus_index_structure_needed_bytes", "What building would take, where that is over the budget.", _STRUCTURED
)

QUERY_SOURCES: Final = ("real", "items")
"""Values of the label `source`."""
RECALL: Final = Gauge(
    "isthmus_index_recall",
    "Recall@10 of what is served, against all vectors, on queries of the other modality.",
    _STRUCTURED,
)
RECALL_TARGET: Final = Gauge("isthmus_index_recall_target", "What that recall should not be below.", _STRUCTURED)
RECALL_QUERIES: Final = Gauge("isthmus_index_recall_queries", "Queries it was measured on.", [*_STRUCTURED, "source"])
"""`source` is real, or items: those of the other modality, until 100 real ones were seen."""
PROBE_SECONDS: Final = Histogram(
    "isthmus_index_probe_seconds", "Measuring recall once, rests included.", buckets=(0.1, 1, 10, 60, 300, 1_800)
)
PROBE_FAILURES: Final = Counter("isthmus_index_probe_failures", "Attempts to measure recall that failed.")

SHADOW_BYTES: Final = Gauge("isthmus_index_shadow_bytes", "Memory of the shadow aligner's structures.", _SHADOWED)


def show_structures(tenant: str, collection: str, modality: str, report: StructureReport) -> None:
    """Export what became of the structures of one modality."""
    labels = (tenant, collection, modality)
    for metric in (STRUCTURE_BYTES, STRUCTURE_RECALL):
        for kind in Kind:
            metric.remove(*labels, kind.value)
    if report.recall is not None:
        STRUCTURE_BYTES.labels(*labels, report.kind.value).set(report.memory_bytes)
        STRUCTURE_RECALL.labels(*labels, report.kind.value).set(report.recall)
    STRUCTURE_NEEDED_BYTES.labels(*labels).set(report.needed_bytes)


def show_recall(tenant: str, collection: str, figure: RecallFigure) -> None:
    """Export what was measured of one modality."""
    labels = (tenant, collection, figure.item_modality.value)
    RECALL.labels(*labels).set(figure.recall)
    RECALL_TARGET.labels(*labels).set(figure.target)
    for source in QUERY_SOURCES:
        is_asked = (source == "real") is figure.is_real
        RECALL_QUERIES.labels(*labels, source).set(figure.query_count if is_asked else 0)


def forget_recall(tenant: str, collection: str) -> None:
    """Stop exporting the recall of a collection that is gone."""
    for modality in ("image", "text"):
        for metric in (RECALL, RECALL_TARGET):
            metric.remove(tenant, collection, modality)
        for source in QUERY_SOURCES:
            RECALL_QUERIES.remove(tenant, collection, modality, source)


def forget_structures(tenant: str, collection: str) -> None:
    """Stop exporting the structures of a collection that is gone."""
    for modality in ("image", "text"):
        for kind in Kind:
            STRUCTURE_BYTES.remove(tenant, collection, modality, kind.value)
            STRUCTURE_RECALL.remove(tenant, collection, modality, kind.value)
        STRUCTURE_NEEDED_BYTES.remove(tenant, collection, modality)


def forget_shadow(tenant: str, collection: str) -> None:
    """Stop exporting a comparison that is over."""
    for metric in (SHADOW_QUERIES, SHADOW_OVERLAP, SHADOW_TOP1_CHANGED, SHADOW_BYTES):
        metric.remove(tenant, collection)
    for side in SIDES:
        SHADOW_OWN_SHARE.remove(tenant, collection, side)
        SHADOW_SECONDS.remove(tenant, collection, side)
    for why in DROPS:
        SHADOW_DROPPED.remove(tenant, collection, why)


def forget_collection(role: str, tenant: str, collection: str) -> None:
    """Stop exporting a collection that is gone."""
    for modality in ("image", "text"):
        ITEMS.remove(role, tenant, collection, modality)
    REVISION.remove(role, tenant, collection)
    if role == "searcher":
        CACHE_BYTES.remove(tenant, collection)
