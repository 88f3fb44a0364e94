"""Retrieval with intervals: cross-modal and mixed, from one scan of all cosines."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from isthmus.core.errors import NotEnoughItemsError
from isthmus.core.gap.bootstrap import ClusterBootstrap, Figure, percentile_figure
from isthmus.core.gap.corpus import Corpus
from isthmus.core.gap.result import MeasureResult
from isthmus.core.gap.scan import CosineScan, scan_cosines
from isthmus.core.metrics import MixedRetrieval, RecallAt
from isthmus.core.modality import Modality

__all__ = ["DirectionRetrieval", "FoldedRetrieval", "GapRetrieval", "fold_rows", "folded_retrieval", "gap_retrieval"]

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
    keys: tuple[str, ...] = field(repr=False)
    """The pair keys, sorted."""
    key_recall: NDArray[np.float64] = field(repr=False, compare=False)
    """(n,) for each of them the mean over its queries of the mean of R@1, R@5, R@10: what encoders are compared by."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values, without those of each key."""
        document = asdict(self)
        del document["keys"], document["key_recall"]
        return document


@dataclass(frozen=True, kw_only=True)
class FoldedRetrieval(MeasureResult):
    """Mean recall over disjoint folds, each searched alone."""

    folds: int
    """How many."""
    t2i: RecallAt
    """Text queries."""
    i2t: RecallAt
    """Image queries."""
    rsum: float
    """Sum of the six mean recalls in percent; at most 600."""


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
        keys=tuple(scan.corpus.paired_keys),
        key_recall=_key_recall(scan),
    )


def fold_rows(corpus: Corpus, *, folds: int, seed: int) -> list[Corpus]:
    """Cut a corpus into disjoint folds of about equal numbers of pair keys.

    Args:
        corpus: Items without a partner are left out.
        folds: How many.
        seed: Seed of the shuffle.
    """
    keys = corpus.paired_keys
    order = np.random.default_rng(seed).permutation(len(keys))
    return [corpus.of_keys(frozenset(keys[row] for row in part)) for part in np.array_split(order, folds)]


def folded_retrieval(corpus: Corpus, *, folds: int = 5, seed: int) -> FoldedRetrieval:
    """Average recall over disjoint folds, each searched alone: the "1K" protocol of :cite:`faghri:18:vsepp`.

    Never compare it with recall over the whole: a fold has fewer items to confuse.

    Args:
        corpus: Of one space.
        folds: How many; each must hold a pair.
        seed: Seed of the shuffle.

    Raises:
        NotEnoughItemsError: There are fewer pairs than folds.
        SpacesMismatchError: The dimensions differ.
    """
    count = len(corpus.paired_keys)
    if not 1 <= folds <= count:
        msg = f"folds: {folds} of {count} pairs; need at least one fold, and a pair in each"
        raise NotEnoughItemsError(msg)
    scans = [scan_cosines(fold) for fold in fold_rows(corpus, folds=folds, seed=seed)]
    mean: dict[Modality, RecallAt] = {}
    for query in Modality:
        each = [asdict(RecallAt.of(scan.sides[query].match_rank)) for scan in scans]
        mean[query] = RecallAt(**{name: float(np.mean([one[name] for one in each])) for name in each[0]})
    return FoldedRetrieval(
        n=count,
        seed=seed,
        sampled=False,
        folds=folds,
        t2i=mean[Modality.TEXT],
        i2t=mean[Modality.IMAGE],
        rsum=100.0 * sum(sum(asdict(recall).values()) for recall in mean.values()),
    )


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


def _key_recall(scan: CosineScan) -> NDArray[np.float64]:
    """Return for each pair key, sorted, the mean over its queries of the mean recall at the three depths."""
    place = {key: row for row, key in enumerate(scan.corpus.paired_keys)}
    sums, counts = np.zeros(len(place)), np.zeros(len(place))
    for query in Modality:
        ranks = scan.sides[query].match_rank
        judged = np.flatnonzero(np.isfinite(ranks))
        recall = np.mean([ranks[judged] < depth for depth in _CROSS_DEPTHS], axis=0)
        of_key = np.array([place[scan.corpus.keys[query][row]] for row in judged], dtype=np.intp)
        # Both directions count alike, however many captions a photo has.
        per_key = np.bincount(of_key, minlength=len(place))
        np.add.at(sums, of_key, recall / per_key[of_key])
        counts += per_key > 0
    mean: NDArray[np.float64] = sums / np.maximum(counts, 1.0)
    return mean


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
