"""Judge one ordered list of answers; ties share what their places are worth.

Rank of a match: the number of non-matches that score strictly higher, plus half of those that tie (docs/methods.md). A
sort order that happens to put matches first, as any stable sort can, would otherwise be counted as skill.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["TOP_DEPTH", "ideal_gain", "list_rank", "top_figures", "top_figures_of_rows"]

TOP_DEPTH: Final = 10
"""How many answers nDCG and the own-modality share look at."""

_DISCOUNTS: Final = 1.0 / np.log2(np.arange(TOP_DEPTH) + 2.0)
_CUMULATED: Final = np.concatenate([[0.0], np.cumsum(_DISCOUNTS)])


def ideal_gain(relevant_count: NDArray[np.intp] | int) -> NDArray[np.float64]:
    """Return the DCG at 10 of a list that starts with all `relevant_count` relevant items."""
    ideal: NDArray[np.float64] = np.asarray(_CUMULATED[np.minimum(relevant_count, TOP_DEPTH)])
    return ideal


def list_rank(scores: NDArray[np.float64], matches: NDArray[np.bool_]) -> float:
    """Return the 0-based rank of the best match in a list, or infinity when it holds none.

    Args:
        scores: (k,) scores, in any order.
        matches: (k,) which answers match the query.
    """
    if not matches.any():
        return float("inf")
    best = scores[matches].max()
    others = scores[~matches]
    return float((others > best).sum() + 0.5 * (others == best).sum())


def top_figures(
    scores: NDArray[np.float64], relevant: NDArray[np.bool_], own: NDArray[np.bool_]
) -> tuple[float, float]:
    """Return the expected DCG and the expected own-modality share of the first 10, ties in random order.

    Tied answers share the discounts of the places that they fill together (McSherry and Najork 2008, "Computing
    information retrieval performance measures efficiently in the presence of tied scores", section 2).

    Args:
        scores: (k,) finite scores, highest first.
        relevant: (k,) which answers are relevant.
        own: (k,) which answers are of the query's modality.
    """
    depth = min(TOP_DEPTH, len(scores))
    if depth == 0:
        return 0.0, 0.0
    starts = np.flatnonzero(np.concatenate([[True], scores[1:] != scores[:-1]]))
    ends = np.concatenate([starts[1:], [len(scores)]])
    gain = own_places = 0.0
    for start, end in zip(starts, ends, strict=True):
        if start >= depth:
            break
        last = min(int(end), depth)
        gain += float(relevant[start:end].mean()) * float(_CUMULATED[last] - _CUMULATED[start])
        own_places += float(own[start:end].mean()) * (last - int(start))
    return gain, own_places / depth


def top_figures_of_rows(
    scores: NDArray[np.float64], relevant: NDArray[np.bool_], own: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return `top_figures` of each row: expected DCG and expected own-modality share of its first 10.

    Args:
        scores: (n, k), in any order; minus infinity is no answer.
        relevant: (n, k) which answers are relevant.
        own: (k,) which answers are of the queries' modality.

    Returns:
        (n,) and (n,) float64.
    """
    count, width = scores.shape
    gain, share = np.zeros(count), np.zeros(count)
    depth = min(TOP_DEPTH, width)
    if depth == 0:
        return gain, share
    # One more than is looked at: a tie across the last place belongs to the decision.
    seen = min(depth + 1, width)
    top = (
        np.argpartition(-scores, seen - 1, axis=1)[:, :seen] if seen < width else np.tile(np.arange(width), (count, 1))
    )
    found = np.take_along_axis(scores, top, axis=1)
    order = np.argsort(-found, axis=1, kind="stable")
    top, found = np.take_along_axis(top, order, axis=1), np.take_along_axis(found, order, axis=1)
    plain = np.isfinite(found[:, :depth]).all(axis=1) & (found[:, 1:] != found[:, :-1]).all(axis=1)
    hits = np.take_along_axis(relevant, top[:, :depth], axis=1)
    gain[plain] = (hits @ _DISCOUNTS[:depth])[plain]
    share[plain] = own[top[:, :depth]].mean(axis=1)[plain]
    for row in np.flatnonzero(~plain):
        values = scores[row]
        chosen = np.flatnonzero((values >= found[row, depth - 1]) & np.isfinite(values))
        chosen = chosen[np.argsort(-values[chosen], kind="stable")]
        gain[row], share[row] = top_figures(values[chosen], relevant[row, chosen], own[chosen])
    return gain, share
