"""What calls for judging collections and aligners return."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from isthmus.client.results import Calibration

__all__ = ["Comparison", "EvaluationReport", "GapReport", "MixedRetrieval", "RecallAt", "VerificationReport"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RecallAt:
    """Shares of queries, in [0, 1], with an answer among the first 1, 5 and 10."""

    r1: float
    """Recall at 1."""
    r5: float
    """Recall at 5."""
    r10: float
    """Recall at 10."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MixedRetrieval:
    """Retrieval over images and texts together, every figure in [0, 1]."""

    r1: float
    """Share of queries with a counterpart ranked first, own-modality siblings left out."""
    r10: float
    """The same within the first 10."""
    r20: float
    """The same within the first 20."""
    ndcg10: float
    """nDCG at 10; every other item of the same pair key is relevant."""
    own_share: float
    """Share of the query's own modality in the first 10."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationReport:
    """What an evaluation of a collection's pairs found."""

    pairs: int
    """Distinct pair keys."""
    image_queries: int
    """Image queries."""
    text_queries: int
    """Text queries."""
    t2i: RecallAt
    """Text query, image answers."""
    i2t: RecallAt
    """Image query, text answers."""
    mixed_image_query: MixedRetrieval
    """Image query, answers of both modalities."""
    mixed_text_query: MixedRetrieval
    """Text query, answers of both modalities."""
    aligner: str
    """The aligner that was used; empty when there was none."""
    revision: int
    """Revision of the collection."""
    through_search: bool
    """True when every query went through search, False when similarities were computed exactly."""
    calibration: Calibration
    """How scores of the two modalities were made comparable."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GapReport:
    """What a measurement of the gap found."""

    pairs: int
    """Pair keys with items of both modalities that were looked at."""
    image_count: int
    """Images that were looked at."""
    text_count: int
    """Texts that were looked at."""
    sample_count: int
    """Pairs that the costlier measures looked at."""
    seed: int
    """Seed of every sample, split and bootstrap."""
    share: float
    """Share of the pair keys that was looked at, in (0, 1]; 1 means all of them."""
    gap: Mapping[str, float | None]
    """One number a measure; None where it could not be taken."""
    report_json: str
    """Everything: intervals, noise floors, counts, and why a measure was not taken."""
    aligner: str
    """The aligner in whose space it was measured; empty for the raw space."""
    revision: int
    """Revision of the collection."""
    page: str = ""
    """The same as one HTML page with pictures, for people; empty where it was not asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VerificationReport:
    """What a collection's held-out pairs say of an aligner."""

    method: str
    """How it maps."""
    aligner: str
    """`aligner_id@revision`; empty for one that was fitted for a comparison and is not kept."""
    pairs: int
    """Held-out pair keys that it was judged on."""
    guard_ok: bool
    """True when it costs no more than the collection's guard allows."""
    guard_reasons: tuple[str, ...]
    """Why it does not, with figures."""
    ece: float | None
    """Expected calibration error of the best answers; None without a fitted calibration."""
    report_json: str
    """Everything, before and after: `before`, `after`, `guard` and `calibration`; where asked for `slices`, `gain`."""
    revision: int
    """Revision of the collection."""
    page: str = ""
    """The same as one HTML page with pictures, for people; empty where it was not asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Several methods on one split of a collection's pairs."""

    reports: tuple[VerificationReport, ...]
    """Of the methods that could be fitted."""
    refused: Mapping[str, str]
    """Why the others could not, by method."""
    best: str
    """The method of the highest nDCG@10 over both modalities among those that keep the guard; empty for none."""
    revision: int
    """Revision of the collection."""
    page: str = ""
    """The same as one HTML page with pictures, for people; empty where it was not asked for."""
