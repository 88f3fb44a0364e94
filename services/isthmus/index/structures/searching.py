"""Ask a structure for candidates and score them exactly, or say that all vectors had better be asked."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from isthmus.index import flat
from isthmus.index.structures.base import Effort, Floats, Structure

__all__ = ["DEPTH_MAX_COUNT", "Arranged"]


@dataclass(frozen=True, slots=True)
class _Depth:
    """A number of answers up to which all are chosen from the same candidates, so that pages fit together.

    Attributes:
        count: Answers.
        probes: In units of the structure's own effort.
        shortlist: Likewise.
    """

    count: int
    probes: int
    shortlist: int


_DEPTHS: Final = (_Depth(64, 1, 1), _Depth(256, 2, 4), _Depth(1_280, 4, 16))
_CALL_WORK: Final = 2_500.0
"""Vectors scored one after the other, as they lie, that take as long as all else that a filtered query does."""
_RESCORED_WORK: Final = 20.0
"""So many that take as long as a candidate, which lies anywhere."""
_FILTERED_MAX_SHARE: Final = 0.9
"""Share of the rows above which a structure is asked whatever is left, as after some deletes."""
DEPTH_MAX_COUNT: Final = _DEPTHS[-1].count
"""Answers beyond which all vectors are asked."""


@dataclass(frozen=True, slots=True)
class Arranged:
    """A structure and how hard it is searched. Immutable.

    Attributes:
        structure: Of a segment.
        effort: What meets the wanted recall without a filter.
    """

    structure: Structure
    effort: Effort

    def search(
        self,
        vectors: Floats,
        queries: Floats,
        count: int,
        *,
        allowed: NDArray[np.bool_] | None = None,
        allowed_count: int | None = None,
    ) -> flat.Found | None:
        """Search the rows that are allowed.

        Where a share s of the rows is allowed, a query looks into 1/s as many lists, or keeps as many candidates: those
        that are allowed are then as many as without a filter. Where that is no less work than scoring all that are
        allowed, it is left to the caller.

        Args:
            vectors: (n, d) float32, those that the structure was made of; candidates are scored by them.
            queries: (m, d) float32.
            count: Neighbours wanted.
            allowed: (n,) which rows may be returned; None means all.
            allowed_count: How many are allowed.

        Returns:
            Exact scores and rows, best first, (m, k), k less than `count` only where there are no more; None where all
            vectors had better be asked.
        """
        rows = self.structure.rows
        left = rows if allowed is None else int(allowed.sum()) if allowed_count is None else allowed_count
        effort = self.effort_for(count, left)
        if effort is None:
            return None
        queries = np.ascontiguousarray(queries, dtype=np.float32)
        found = self.structure.candidates(queries, effort.shortlist, probes=effort.probes, allowed=allowed)
        # A walk ends after so many steps, wherever the allowed rows are: too few of them, and it walked elsewhere.
        least = effort.shortlist // 2 if self.structure.needs_probes_of_depth and left < rows else 0
        return _scored(vectors, queries, found, min(count, left), allowed, least=min(least, left))

    def effort_for(self, count: int, left: int) -> Effort | None:
        """Return how hard to search where a filter leaves some rows; None where these had better be scored, all.

        Args:
            count: Neighbours wanted.
            left: Rows that may be returned.
        """
        rows = self.structure.rows
        depth = next((depth for depth in _DEPTHS if count <= depth.count), None)
        if depth is None or count > left // 2:
            return None
        probes = self.effort.probes * depth.probes
        if self.structure.needs_probes_of_depth:
            probes = max(probes, depth.count)
        shortlist = self.effort.shortlist * depth.shortlist
        if left < rows:
            probes = int(np.ceil(probes * rows / left))
            work = self.structure.filtered_work(probes, left / rows) + _RESCORED_WORK * shortlist + _CALL_WORK
            # Codes of nearly all rows are fewer bytes than their vectors, which may not be in memory at all.
            if work >= left and left < _FILTERED_MAX_SHARE * rows:
                return None
        return Effort(probes, shortlist)

    def with_effort(self, effort: Effort) -> Arranged:
        """Return the same structure, searched otherwise."""
        return replace(self, effort=effort)


def _scored(
    vectors: Floats,
    queries: Floats,
    found: NDArray[np.int64],
    count: int,
    allowed: NDArray[np.bool_] | None,
    *,
    least: int,
) -> flat.Found:
    """Score candidates exactly; a query that has less than `least`, or too few, is asked of all vectors."""
    is_there = found >= 0
    scores = flat.inner_products(queries, vectors, np.where(is_there, found, 0))
    scores[~is_there] = -np.inf
    order = np.argsort(-scores, axis=1, kind="stable")[:, :count]
    scores, rows = np.take_along_axis(scores, order, axis=1), np.take_along_axis(found, order, axis=1)
    short = np.flatnonzero(is_there.sum(axis=1) < max(count, least))
    if not len(short):
        return scores, rows
    among = None if allowed is None else np.flatnonzero(allowed)
    again = flat.exactly(vectors, np.ascontiguousarray(queries[short]), count, rows=among)
    if scores.shape[1] < count:
        missing = count - scores.shape[1]
        scores = np.pad(scores, ((0, 0), (0, missing)), constant_values=-np.inf)
        rows = np.pad(rows, ((0, 0), (0, missing)), constant_values=-1)
    scores[short], rows[short] = again
    return scores, rows
