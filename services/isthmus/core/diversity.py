"""Answers that do not repeat one another: near-duplicates left out, and maximal marginal relevance."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["diverse_places", "maximal_marginal_relevance", "without_near_duplicates"]


def diverse_places(
    units: NDArray[np.float32],
    kinds: NDArray[np.int64],
    relevance: NDArray[np.float64],
    *,
    collapse_above: float | None,
    mmr_lambda: float | None,
    count: int,
) -> NDArray[np.intp]:
    """Leave out near-duplicates, then choose by maximal marginal relevance; either only where it is asked for.

    Args:
        units: (n, d) float32 unit rows of the candidates, best first.
        kinds: (n,) what each is made of; candidates of two kinds are no duplicates.
        relevance: (n,) descending.
        collapse_above: The least similarity of duplicates; None keeps all.
        mmr_lambda: Weight of relevance, 0 to 1; None keeps the order.
        count: How many to choose by relevance and diversity.

    Returns:
        Places of those that are left, in their order.
    """
    similarity = units @ units.T
    kept = np.arange(len(units))
    if collapse_above is not None:
        kept = without_near_duplicates(similarity, kinds, above=collapse_above)
    if mmr_lambda is not None:
        near = similarity[np.ix_(kept, kept)]
        kept = kept[maximal_marginal_relevance(relevance[kept], near, trade_off=mmr_lambda, count=count)]
    return kept


def without_near_duplicates(
    similarity: NDArray[np.float32], kinds: NDArray[np.int64], *, above: float
) -> NDArray[np.intp]:
    """Keep each candidate unless one that is kept before it, of its kind, is at least as similar as `above`.

    Args:
        similarity: (n, n) of the candidates, best first.
        kinds: (n,) what each is made of; candidates of two kinds are no duplicates.
        above: The least similarity of duplicates.

    Returns:
        Places of those that are kept, ascending. What resembles only something that was left out is kept.
    """
    is_double = (similarity >= above) & (kinds[:, None] == kinds[None, :])
    is_dropped = np.zeros(len(similarity), dtype=np.bool_)
    for place in range(len(similarity)):
        if not is_dropped[place]:
            is_dropped[place + 1 :] |= is_double[place, place + 1 :]
    return np.flatnonzero(~is_dropped)


def maximal_marginal_relevance(
    relevance: NDArray[np.float64], similarity: NDArray[np.float32], *, trade_off: float, count: int
) -> NDArray[np.intp]:
    """Choose candidates one by one, each relevant and unlike those before it (Carbonell & Goldstein 1998, MMR).

        argmax over i not in S of  trade_off * relevance_i - (1 - trade_off) * max over j in S of similarity_ij

    with relevance scaled to [0, 1] over the candidates, so that it compares with a cosine whatever its unit is.

    Args:
        relevance: (n,) descending.
        similarity: (n, n) cosines.
        trade_off: Lambda, 0 to 1; 1 keeps the order of relevance, 0 looks at similarity only, after the first.
        count: How many to choose.

    Returns:
        Places of at most `count` candidates in the order they were chosen; of equals the more relevant is first.
    """
    if not len(relevance):
        return np.empty(0, dtype=np.intp)
    spread = float(relevance[0] - relevance[-1])
    scaled = (relevance - relevance[-1]) / spread if spread > 0.0 else np.zeros_like(relevance)
    gain = trade_off * scaled
    nearest = np.full(len(relevance), -np.inf)
    chosen: list[int] = []
    while len(chosen) < min(count, len(relevance)):
        marginal = gain - (1.0 - trade_off) * nearest if chosen and trade_off < 1.0 else gain.copy()
        marginal[chosen] = -np.inf
        best = int(np.argmax(marginal))
        chosen.append(best)
        nearest = np.maximum(nearest, similarity[best])
    return np.array(chosen, dtype=np.intp)
