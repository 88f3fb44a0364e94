"""Hubness: do a few items turn up in everybody's answers?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from isthmus.core.gap.bootstrap import ClusterBootstrap, Figure, standard_error_figure
from isthmus.core.gap.result import MeasureResult
from isthmus.core.gap.scan import CosineScan
from isthmus.core.modality import Modality

__all__ = ["Hubness", "gini", "hubness"]

_REPLICATE_COUNT: Final = 200


@dataclass(frozen=True, kw_only=True)
class Hubness(MeasureResult):
    """Gini coefficient of how often each item is among the k nearest of a query of the other modality.

    0 when all are found equally often, near 1 when few are found by all.
    """

    gini: float
    """Mean of both directions."""
    images: Figure
    """Of images in the answers to text queries."""
    texts: Figure
    """Of texts in the answers to image queries."""
    never_found_images: float
    """Share of images that no text query finds."""
    never_found_texts: float
    """Share of texts that no image query finds."""
    k: int
    """Answers that are looked at."""


def hubness(scan: CosineScan, *, bootstrap: ClusterBootstrap, seed: int) -> Hubness:
    """Measure G = 2 sum_r r m_(r) / (C sum m) - (C + 1) / C over the k-occurrences m, counts ascending.

    The k-occurrence of :cite:`radovanovic:10:hubs`; all items, all queries.

    Args:
        scan: Of the corpus.
        bootstrap: Of its corpus.
        seed: Said in the result; nothing here is random but the bootstrap.
    """
    figures: dict[Modality, Figure] = {}
    never: dict[Modality, float] = {}
    for item in Modality:
        answers = scan.sides[item.other].other_neighbors
        count = len(scan.corpus.vectors[item])
        occurrences = np.bincount(answers.ravel(), minlength=count)
        never[item] = float((occurrences == 0).mean())
        figures[item] = standard_error_figure(
            float(gini(occurrences)),
            np.concatenate(
                [
                    gini(_drawn(answers, weights, count))
                    for weights in bootstrap.item_weights(item.other, replicate_count=_REPLICATE_COUNT)
                ]
            ),
            lowest=0.0,
        )
    return Hubness(
        n=len(scan.corpus.paired_keys),
        seed=seed,
        sampled=False,
        gini=0.5 * (figures[Modality.IMAGE].value + figures[Modality.TEXT].value),
        images=figures[Modality.IMAGE],
        texts=figures[Modality.TEXT],
        never_found_images=never[Modality.IMAGE],
        never_found_texts=never[Modality.TEXT],
        k=scan.sides[Modality.IMAGE].other_neighbors.shape[1],
    )


def gini(counts: NDArray[np.generic]) -> NDArray[np.float64]:
    """Return the Gini coefficient of (..., C) counts along the last axis; 0 where all are 0."""
    ascending = np.sort(counts, axis=-1).astype(np.float64)
    size = ascending.shape[-1]
    total = ascending.sum(axis=-1)
    weighted = ascending @ np.arange(1.0, size + 1)
    unequal: NDArray[np.float64] = np.where(
        total > 0, 2.0 * weighted / (size * np.where(total > 0, total, 1.0)) - (size + 1.0) / size, 0.0
    )
    return unequal


def _drawn(answers: NDArray[np.int32], weights: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    """Return (replicates, count) occurrences when the queries are drawn with these weights."""
    from scipy.sparse import csr_array  # noqa: PLC0415 - loaded where it is needed

    queries, k = answers.shape
    found = csr_array(
        (np.ones(queries * k), answers.ravel(), np.arange(0, queries * k + 1, k)),
        shape=(queries, count),
    )
    drawn: NDArray[np.float64] = (found.T @ weights.T).T
    return drawn
