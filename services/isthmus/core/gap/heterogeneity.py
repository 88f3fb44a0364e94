"""Heterogeneity of the mixed database: who are an item's neighbours when both modalities lie in one index?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from isthmus.core.gap.bootstrap import ClusterBootstrap, Figure, percentile_figure
from isthmus.core.gap.result import MeasureResult
from isthmus.core.gap.scan import CosineScan, SideScan
from isthmus.core.modality import Modality

__all__ = ["Heterogeneity", "SideHeterogeneity", "heterogeneity"]


@dataclass(frozen=True, kw_only=True)
class SideHeterogeneity:
    """What the queries of one modality find first."""

    ratio: Figure
    """Queries whose nearest other item is of their own modality, over those where it is of the other: ITR or TIR.

    1 is balanced. Below 1 too when pairs are almost equal: read the counts. Where no query finds the other modality
    first, the number of queries that find their own.
    """
    own_count: int
    """Queries whose nearest item is of their own modality."""
    other_count: int
    """Queries whose nearest item is of the other modality."""
    tied_count: int
    """Queries where both are equally near; they count half to each side."""
    saturated: bool
    """Whether no query finds the other modality first, so that the ratio has no upper end."""
    mean_rank: Figure
    """Mean 1-based rank of the best item of the other modality: TMR or IMR."""
    median_rank: Figure
    """Median of the same."""


@dataclass(frozen=True, kw_only=True)
class Heterogeneity(MeasureResult):
    """ITR and TMR (image queries), TIR and IMR (text queries)."""

    image_query: SideHeterogeneity
    """ITR, and the rank of the best text."""
    text_query: SideHeterogeneity
    """TIR, and the rank of the best image."""


def heterogeneity(scan: CosineScan, *, bootstrap: ClusterBootstrap, seed: int) -> Heterogeneity:
    """Measure ITR, TIR, TMR and IMR of :cite:`role:25:fill` (reconstruction) on all pairs, the query itself left out.

    Args:
        scan: Of a balanced corpus: of two modalities the larger one would be found more often.
        bootstrap: Of its corpus.
        seed: Said in the result; nothing here is random but the bootstrap.
    """
    sides = {query: _side(scan.sides[query], query=query, bootstrap=bootstrap) for query in Modality}
    return Heterogeneity(
        n=len(scan.corpus.images),
        seed=seed,
        sampled=False,
        image_query=sides[Modality.IMAGE],
        text_query=sides[Modality.TEXT],
    )


def _side(side: SideScan, *, query: Modality, bootstrap: ClusterBootstrap) -> SideHeterogeneity:
    own, other = side.own_scores[:, 0], side.other_scores[:, 0]
    tied = own == other
    own_first = (own > other) + 0.5 * tied
    other_first = (own < other) + 0.5 * tied
    count = len(own)
    own_drawn = bootstrap.replicate_means(own_first, query) * count
    other_drawn = bootstrap.replicate_means(other_first, query) * count
    return SideHeterogeneity(
        ratio=percentile_figure(
            float(own_first.sum()) / max(float(other_first.sum()), 1.0), own_drawn / np.maximum(other_drawn, 1.0)
        ),
        own_count=int((own > other).sum()),
        other_count=int((own < other).sum()),
        tied_count=int(tied.sum()),
        saturated=not other_first.any(),
        mean_rank=bootstrap.mean(side.other_rank, query),
        median_rank=percentile_figure(
            float(np.median(side.other_rank)),
            np.concatenate([_medians(side.other_rank, block) for block in bootstrap.item_weights(query)]),
        ),
    )


def _medians(values: NDArray[np.float64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the weighted median of `values` for each row of `weights`."""
    order = np.argsort(values)
    reached = np.cumsum(weights[:, order], axis=1)
    place = (reached >= 0.5 * reached[:, -1:]).argmax(axis=1)
    medians: NDArray[np.float64] = values[order][place]
    return medians
