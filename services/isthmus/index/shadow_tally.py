"""What a shadow aligner would have changed: the difference of one query, and the sums over many."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from isthmus.core.modality import Modality
from isthmus.index.metrics import (
    SHADOW_DROPPED,
    SHADOW_OVERLAP,
    SHADOW_OWN_SHARE,
    SHADOW_QUERIES,
    SHADOW_SECONDS,
    SHADOW_TOP1_CHANGED,
)
from isthmus.index.model import Neighbor, SearchResult

__all__ = ["Difference", "ShadowReport", "ShadowState", "ShadowTally", "averaged", "differences"]


class ShadowState(StrEnum):
    """What a searcher does with a collection's shadow aligner."""

    OFF = "off"
    BUILDING = "building"
    READY = "ready"
    OVER_BUDGET = "over_budget"
    FAILED = "failed"
    IS_ACTIVE = "is_active"
    """It was promoted meanwhile: there is nothing to compare."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One query under both aligners. Holds no id and nothing of an item."""

    overlap: float
    """Share of the answers that both give, in [0, 1]; 1 when neither gives one."""
    top1_changed: bool
    own_share_active: float | None
    """Share of the query's modality among the answers; None when one modality was asked for."""
    own_share_shadow: float | None
    active_s: float
    """Aligning and searching, for each query of its batch."""
    shadow_s: float


def differences(
    active: SearchResult, shadow: SearchResult, *, modality: Modality, is_mixed: bool
) -> tuple[Difference, ...]:
    """Compare the answers to the same queries over the same items.

    Args:
        active: Under the active aligner.
        shadow: Under the other one.
        modality: Of the queries.
        is_mixed: Whether the answers are of both modalities.
    """
    count = max(len(active.neighbors), 1)
    active_s, shadow_s = ((found.align_s + found.search_s) / count for found in (active, shadow))
    made = []
    for mine, theirs in zip(active.neighbors, shadow.neighbors, strict=True):
        ids, other_ids = ([neighbor.item.id for neighbor in side] for side in (mine, theirs))
        most = max(len(ids), len(other_ids))
        made.append(
            Difference(
                overlap=len(set(ids) & set(other_ids)) / most if most else 1.0,
                top1_changed=ids[:1] != other_ids[:1],
                own_share_active=_own_share(mine, modality) if is_mixed else None,
                own_share_shadow=_own_share(theirs, modality) if is_mixed else None,
                active_s=active_s,
                shadow_s=shadow_s,
            )
        )
    return tuple(made)


def averaged(found: Sequence[Difference]) -> dict[str, float | int | None]:
    """Return the means of one search's queries, as they are logged; milliseconds are extra ones under the shadow."""
    count = len(found)
    mixed = [one for one in found if one.own_share_active is not None and one.own_share_shadow is not None]
    return {
        "queries": count,
        "overlap": round(sum(one.overlap for one in found) / count, 4),
        "top1_changed": round(sum(one.top1_changed for one in found) / count, 4),
        "own_share_change": round(
            sum((one.own_share_shadow or 0.0) - (one.own_share_active or 0.0) for one in mixed) / len(mixed), 4
        )
        if mixed
        else None,
        "extra_ms": round(1e3 * sum(one.shadow_s - one.active_s for one in found) / count, 3),
    }


def _own_share(answers: Sequence[Neighbor], modality: Modality) -> float | None:
    return sum(found.item.modality is modality for found in answers) / len(answers) if answers else None


@dataclass(frozen=True, slots=True, kw_only=True)
class ShadowReport:
    """What one searcher found since it has compared these two aligners. Means; None where nothing was compared."""

    aligner: str
    """The shadow aligner; empty when there is none."""
    active_aligner: str
    """The active one; empty when there is none."""
    state: ShadowState
    revision: int
    """Of the items that are compared now; 0 when nothing is built."""
    memory_bytes: int
    """Of the shadow's structures; of one over its budget, what it would need."""
    memory_limit_bytes: int
    """For the shadows of all collections of this searcher."""
    sampled_share: float
    """Share of searches that are chosen."""
    requests: int = 0
    queries: int = 0
    overlap: float | None = None
    top1_changed: float | None = None
    own_share_active: float | None = None
    own_share_shadow: float | None = None
    active_s: float | None = None
    shadow_s: float | None = None
    dropped: Mapping[str, int] = field(default_factory=dict)
    """Chosen searches that were not compared, by why: busy, not_built, failed."""


@dataclass(slots=True)
class ShadowTally:
    """Sums over the queries that were compared; also exports them. On the event loop.

    Attributes:
        tenant: Whose collection it is.
        collection: Its name.
        requests: Searches that were compared.
        queries: Their queries.
        dropped: Searches that were chosen and not compared, by why.
        sums: Of the figures of `Difference`, by name.
        mixed_queries: Those that asked for both modalities.
    """

    tenant: str
    collection: str
    requests: int = 0
    queries: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    sums: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    mixed_queries: int = 0

    def add(self, found: Sequence[Difference]) -> None:
        """Count one search."""
        labels = (self.tenant, self.collection)
        self.requests += 1
        self.queries += len(found)
        SHADOW_QUERIES.labels(*labels).inc(len(found))
        for one in found:
            self.sums["overlap"] += one.overlap
            self.sums["top1_changed"] += one.top1_changed
            SHADOW_OVERLAP.labels(*labels).observe(one.overlap)
            SHADOW_TOP1_CHANGED.labels(*labels).inc(one.top1_changed)
            for side, seconds in (("active", one.active_s), ("shadow", one.shadow_s)):
                self.sums[f"{side}_s"] += seconds
                SHADOW_SECONDS.labels(*labels, side).observe(seconds)
            if one.own_share_active is not None and one.own_share_shadow is not None:
                self.mixed_queries += 1
                for side, share in (("active", one.own_share_active), ("shadow", one.own_share_shadow)):
                    self.sums[f"own_share_{side}"] += share
                    SHADOW_OWN_SHARE.labels(*labels, side).observe(share)

    def drop(self, why: str) -> None:
        """Count one search that was chosen and not compared: `why` is busy, not_built or failed."""
        self.dropped[why] += 1
        SHADOW_DROPPED.labels(self.tenant, self.collection, why).inc()

    def figures(self) -> dict[str, float | None]:
        """Return the means, by the names of `ShadowReport`."""
        names = ("overlap", "top1_changed", "active_s", "shadow_s")
        mixed = ("own_share_active", "own_share_shadow")
        return {name: self.sums[name] / self.queries if self.queries else None for name in names} | {
            name: self.sums[name] / self.mixed_queries if self.mixed_queries else None for name in mixed
        }
