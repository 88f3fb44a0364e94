"""The retrieval protocol from exact similarities, in blocks of bounded memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from isthmus.core.calibration import Calibration
from isthmus.core.checkpoint import checkpoint
from isthmus.core.metrics.ranking import ideal_gain, top_figures_of_rows
from isthmus.core.metrics.reports import MixedRetrieval, RecallAt
from isthmus.core.modality import Modality

__all__ = ["cross_modal_recall", "mixed_retrieval"]

_BLOCK_SCORES: Final = 1 << 21
"""Scores held at a time: 16 MiB of float64, and a few masks of the same shape."""


def cross_modal_recall(
    query_vectors: NDArray[np.float32],
    item_vectors: NDArray[np.float32],
    *,
    query_codes: NDArray[np.int64],
    item_codes: NDArray[np.int64],
) -> RecallAt:
    """Rank the items of the other modality for each query and say how often a match comes early (docs/methods.md).

    Args:
        query_vectors: (q, d) float32, rows unit-norm, aligned. Each must match at least one item.
        item_vectors: (m, d) float32, rows unit-norm, aligned, of the other modality.
        query_codes: (q,) codes of pair keys, see `isthmus.core.keys.key_codes`.
        item_codes: (m,) codes of pair keys.

    Returns:
        Recall at 1, 5 and 10. With several matches a query the best-ranked one counts.
    """
    ranks = np.empty(len(query_vectors))
    for rows in _blocks(len(query_vectors), len(item_vectors)):
        scores = query_vectors[rows] @ item_vectors.T
        ranks[rows] = _best_ranks(scores, gold := query_codes[rows, None] == item_codes[None, :], counted=~gold)
    return RecallAt.of(ranks)


def mixed_retrieval(
    query_rows: NDArray[np.intp],
    *,
    query: Modality,
    vectors: Mapping[Modality, NDArray[np.float32]],
    codes: Mapping[Modality, NDArray[np.int64]],
    calibration: Calibration,
    query_vectors: NDArray[np.float32] | None = None,
) -> MixedRetrieval:
    """Rank all images and texts together for each query, by the calibrated merge (docs/methods.md).

    The query itself is never an answer. In R@K its own-modality siblings (same pair key) are left out of the list and
    its matches of the other modality are the answers sought; in nDCG@10 every other item of its pair key is relevant.

    Args:
        query_rows: (q,) rows of `vectors[query]` that are queries. Each must match an item of the other modality.
        query: Modality of the queries.
        vectors: Per modality (n, d) float32, the aligner's item rows.
        codes: Per modality (n,) codes of pair keys.
        calibration: Makes the scores of both modalities comparable.
        query_vectors: (n, d) float32, the aligner's query rows of `vectors[query]`; None where both are the same.
    """
    other = query.other
    own_count = len(vectors[query])
    asking = vectors[query] if query_vectors is None else query_vectors
    item_codes = np.concatenate([codes[query], codes[other]])
    is_own = np.arange(len(item_codes)) < own_count
    ranks, ndcg, share = (np.empty(len(query_rows)) for _ in range(3))
    for block in _blocks(len(query_rows), len(item_codes)):
        rows = query_rows[block]
        asked = asking[rows]
        merged = np.concatenate(
            [calibration.merge_scores(asked @ vectors[item].T, query=query, item=item) for item in (query, other)],
            axis=1,
        )
        merged[np.arange(len(rows)), rows] = -np.inf
        relevant = codes[query][rows, None] == item_codes[None, :]
        relevant[np.arange(len(rows)), rows] = False
        ranks[block] = _best_ranks(merged, relevant & ~is_own, counted=~relevant & np.isfinite(merged))
        gain, share[block] = top_figures_of_rows(merged, relevant, is_own)
        ndcg[block] = gain / ideal_gain(relevant.sum(axis=1))
    return MixedRetrieval.of(ranks, ndcg10=ndcg, own_share=share)


def _blocks(queries: int, items: int) -> Iterator[slice]:
    step = max(1, _BLOCK_SCORES // max(items, 1))
    for start in range(0, queries, step):
        checkpoint()
        yield slice(start, min(start + step, queries))


def _best_ranks(
    scores: NDArray[np.floating], gold: NDArray[np.bool_], *, counted: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Return each row's rank of its best gold score among the counted ones: strictly greater plus half the ties."""
    best = np.where(gold, scores, -np.inf).max(axis=1, keepdims=True)
    greater = ((scores > best) & counted).sum(axis=1)
    ties = ((scores == best) & counted).sum(axis=1)
    ranks: NDArray[np.float64] = greater + 0.5 * ties
    return ranks
