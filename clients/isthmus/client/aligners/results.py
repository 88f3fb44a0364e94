"""What calls for aligners return."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal, TypeAlias

__all__ = ["Aligner", "FitProgress", "Promotion", "PromotionHistory", "PromotionKind", "ShadowReport", "ShadowState"]

PromotionKind: TypeAlias = Literal["created", "promoted", "rolled_back", "unknown"]
"""How an aligner became the active one; `unknown` is a kind that a newer server knows."""

ShadowState: TypeAlias = Literal["off", "building", "ready", "over_budget", "failed", "is_active", "unknown"]
"""What a searcher does with a shadow aligner; `unknown` is a state that a newer server knows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Aligner:
    """An aligner, without its tensors."""

    aligner: str
    """`aligner_id@revision`: also the name of its aligned space."""
    method: str
    """identity, center or heads."""
    image_space: str
    """Raw space of the images it accepts."""
    text_space: str
    """Raw space of the texts it accepts."""
    dimension: int
    """Dimension of the aligned space."""
    manifest_json: str
    """Its manifest: provenance, figures, calibration."""
    notice: str
    """What a person must know before using it, for example its licence; empty for most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FitProgress:
    """A step of a fit."""

    progress: float
    """Share of the work that is done, in [0, 1]."""
    stage: str
    """reading, fitting, saving or done."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Promotion:
    """One change of a collection's active aligner."""

    aligner: str
    """`aligner_id@revision`; empty when none was active from then on."""
    revision: int
    """Of the collection, from which it was active."""
    time: datetime
    """When, in UTC."""
    kind: PromotionKind
    """How it became the active one."""
    override_reason: str
    """Why it was taken against the guard's word; empty when it was not. Of a rollback, of what it restored."""
    unverified: bool
    """Whether it was taken without a verdict, on the caller's word. Of a rollback, of what it restored."""
    restored_revision: int
    """Of a rollback, the revision of the promotion that it restored; 0 otherwise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PromotionHistory:
    """What was active in a collection."""

    promotions: tuple[Promotion, ...]
    """Newest first, so the first is the active one; at most the last 100."""
    total_count: int
    """How many there were in all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShadowReport:
    """What a shadow aligner would have changed, as far as one searcher has compared. None before the first query."""

    aligner: str
    """The shadow aligner, `aligner_id@revision`; empty when there is none."""
    active_aligner: str
    """The active aligner; empty when there is none."""
    state: ShadowState
    """What the searcher does with it."""
    revision: int
    """Of the items that are compared; 0 when nothing is built."""
    memory_bytes: int
    """What its structures take, or would take."""
    memory_limit_bytes: int
    """What the shadows of all collections of the searcher may take."""
    sampled_share: float
    """Share of the searches that are chosen, in [0, 1]."""
    requests: int
    """Searches that were compared."""
    queries: int
    """Queries that were compared, at most 8 of a search."""
    overlap: float | None
    """Mean share of a query's answers that both aligners give, in [0, 1]."""
    top1_changed: float | None
    """Share of queries whose best answer differs, in [0, 1]."""
    own_share_active: float | None
    """Mean share of the query's modality among the active aligner's answers over both, in [0, 1]."""
    own_share_shadow: float | None
    """The same of the shadow aligner's answers."""
    active_s: float | None
    """Mean seconds to align and search a query under the active aligner."""
    shadow_s: float | None
    """The same under the shadow aligner, by the same thread."""
    dropped_busy_count: int
    """Searches that were chosen and dropped because the searcher was busy."""
    dropped_not_built_count: int
    """Searches that were chosen while nothing was built."""
    dropped_failed_count: int
    """Searches that were chosen and could not be compared."""
