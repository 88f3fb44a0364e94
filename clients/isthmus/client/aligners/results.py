"""What calls for aligners return."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal, TypeAlias

__all__ = ["Aligner", "FitProgress", "Promotion", "PromotionHistory", "PromotionKind"]

PromotionKind: TypeAlias = Literal["created", "promoted", "rolled_back", "unknown"]
"""How an aligner became the active one; `unknown` is a kind that a newer server knows."""


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
