"""Queries that are items themselves: each is left out of its own answers, and in a batch of nobody else's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from isthmus.index.segments import LiveSegment

__all__ = ["own_places", "without_items", "without_own"]

_Found: TypeAlias = tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.int64]]


def without_items(parts: tuple[LiveSegment, ...], ids: Sequence[str]) -> tuple[LiveSegment, ...]:
    """Return segments with the items of these ids dead."""
    return tuple(part.without(part.find(ids)) for part in parts) if ids else parts


def own_places(parts: Sequence[LiveSegment], ids: Sequence[str]) -> NDArray[np.int64]:
    """Return segment and row of each id, (n, 2); -1 where it is in none of the segments, or empty."""
    places = np.full((len(ids), 2), -1, dtype=np.int64)
    for number, part in enumerate(parts):
        rows = part.find(ids)
        found = rows >= 0
        places[found, 0] = number
        places[found, 1] = rows[found]
    return places


def without_own(
    scores: NDArray[np.float32],
    numbers: NDArray[np.int64],
    rows: NDArray[np.int64],
    own: NDArray[np.int64],
    count: int,
) -> _Found:
    """Return the best `count` of candidates, best first, without the item that each query is.

    Args:
        scores: (n, k) best first.
        numbers: (n, k) which segment.
        rows: (n, k) which row of it.
        own: (n, 2) segment and row of the query itself, -1 for none.
        count: As many are left, or as there are.
    """
    is_own = (numbers == own[:, :1]) & (rows == own[:, 1:])
    # The order of the others stays: what is left out goes to the end.
    order = np.argsort(is_own, axis=1, kind="stable")[:, :count]
    scores = np.where(is_own, -np.inf, scores).astype(np.float32)
    return (
        np.take_along_axis(scores, order, axis=1),
        np.take_along_axis(numbers, order, axis=1),
        np.take_along_axis(rows, order, axis=1),
    )
