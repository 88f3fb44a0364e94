"""Retrieval with intervals: cross-modal and mixed, from one scan of all cosines."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from isthmus.core.gap.bootstrap import ClusterBootstrap, Figure, percentile_figure
from isthmus.core.gap.corpus import Corpus
from isthmus.core.gap.result import MeasureResult
from isthmus.core.gap.scan import CosineScan
from isthmus.core.metrics import MixedRetrieval, RecallAt
from isthmus.core.modality import Modality

__all__ = ["DirectionRetrieval", "GapRetrieval", "fold_rows", "gap_retrieval"]

RSUM_MAX: Final = 600.0
"""Six recalls in percent."""

_CROSS_DEPTHS: Final = (1, 5, 10)
_MIXED_DEPTHS: Final = (1, 10, 20)
_GATHER_ROWS: Final = 1_024


@dataclass(frozen=True, kw_only=True)
class DirectionRetrieval:
    """Queries of one modality."""

    query_count: int
    """Queries with a match of the other modality."""
    recall: RecallAt
    """Among the other modality: shares of queries with a match within 1, 5, 10."""
    intervals: dict[str, Figure]
    """`r1`, `r5`, `r10`, `map`, `mrr`, and `mixed_` with `r1`, `r10`, `r20`, `ndcg10`, `own_share`: all with ends."""
    mean_average_precision: float
    """Mean over queries of the average precision over all their matches."""
    mean_reciprocal_rank: float
    """Mean over queries of 1 over the 1-based rank of the best match."""
    median_rank: float
    """Median 1-based rank of the best match."""
    mixed: MixedRetrieval
    """Among both modalities, by plain cosine: what the gap does to a shared index."""
    list_diversity: float
    """Mean cosine distance of two answers among the first ten of the other modality."""


@dataclass(frozen=True, kw_only=True)
class GapRetrieval(MeasureResult):
    """Both directions."""

    t2i: DirectionRetrieval
    """Text queries."""
    i2t: DirectionRetrieval
    """Image queries."""
    rsum: Figure
    """Sum of the six recalls in percent; at most 600."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self)


def gap_retrieval(scan: CosineScan, *, bootstrap: ClusterBootstrap, seed: int) -> GapRetrieval:
    """Judge retrieval by plain cosine over every item of the corpus (docs/methods.md, "Retrieval").

    Args:
        scan: Of the corpus.
        bootstrap: Of its corpus.
        seed: Said in the result; nothing here is random but the bootstrap.
    """
    i2t, t2i = (_direction(scan, query=query, bootstrap=bootstrap) for query in Modality)
    drawn = sum(
        100.0 * bootstrap.replicate_means(_within(scan.sides[query].match_rank, depth), query)
        for query in Modality
        for depth in _CROSS_DEPTHS
    )
    value = 100.0 * sum(sum(asdict(side.recall).values()) for side in (t2i, i2t))
    return GapRetrieval(
        n=len(scan.corpus.paired_keys),
        seed=seed,
        sampled=False,
        t2i=t2i,
        i2t=i2t,
        rsum=percentile_figure(min(value, RSUM_MAX), np.asarray(drawn)),
    )


def fold_rows(corpus: Corpus, *, folds: int, seed: int) -> list[Corpus]:
    """Cut a corpus into disjoint folds of about equal numbers of pair keys: the "1K" protocol (methods of VSE++).

    Args:
        corpus: Items without a partner are left out.
        folds: How many.
        seed: Seed of the shuffle.
    """
    keys = corpus.paired_keys
    order = np.random.default_rng(seed).permutation(len(keys))
    return [corpus.of_keys(frozenset(keys[row] for row in part)) for part in np.array_split(order, folds)]


def _direction(scan: CosineScan, *, query: Modality, bootstrap: ClusterBootstrap) -> DirectionRetrieval:
    side = scan.sides[query]
    judged = np.isfinite(side.match_rank)
    values = {f"r{depth}": _within(side.match_rank, depth) for depth in _CROSS_DEPTHS}
    values |= {"map": side.average_precision, "mrr": 1.0 / (side.match_rank + 1.0)}
    values |= {f"mixed_r{depth}": _within(side.mixed_rank, depth) for depth in _MIXED_DEPTHS}
    values |= {"mixed_ndcg10": side.ndcg10, "mixed_own_share": side.own_share}
    intervals = {name: bootstrap.mean(value, query) for name, value in values.items()}
    return DirectionRetrieval(
        query_count=int(judged.sum()),
        recall=RecallAt.of(side.match_rank[judged]),
        intervals=intervals,
        mean_average_precision=intervals["map"].value,
        mean_reciprocal_rank=intervals["mrr"].value,
        median_rank=1.0 + float(np.median(side.match_rank[judged])),
        mixed=MixedRetrieval.of(side.mixed_rank[judged], ndcg10=side.ndcg10[judged], own_share=side.own_share[judged]),
        list_diversity=_diversity(side.other_neighbors, scan.corpus.vectors[query.other]),
    )


def _within(ranks: NDArray[np.float64], depth: int) -> NDArray[np.float64]:
    """Return 1 where the rank is below `depth`, NaN where there is none."""
    within: NDArray[np.float64] = np.where(np.isfinite(ranks), ranks < depth, np.nan)
    return within


def _diversity(answers: NDArray[np.int32], vectors: NDArray[np.float32]) -> float:
    """Return 1 minus the mean cosine of two different answers of one list."""
    k = answers.shape[1]
    if k < 2:  # noqa: PLR2004 - one answer has no other
        return 0.0
    total = 0.0
    for start in range(0, len(answers), _GATHER_ROWS):
        lists = vectors[answers[start : start + _GATHER_ROWS]]  # (rows, k, d)
        # The squared length of a sum of unit rows is k plus the sum over pairs.
        total += float(np.square(lists.sum(axis=1)).sum(dtype=np.float64)) - k * len(lists)
    return float(np.clip(1.0 - total / (len(answers) * k * (k - 1)), 0.0, 2.0))
