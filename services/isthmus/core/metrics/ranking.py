"""Judge one ordered list of answers; ties share what their places are worth.

Rank of a match: the number of non-matches that score strictly higher, plus half of those that tie (docs/methods.md). A
sort order that happens to put matches first, as any stable sort can, would otherwise be counted as skill.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["TOP_DEPTH", "ideal_gain", "list_rank", "top_figures"]

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
