"""Find the least effort that meets a recall, by asking what will be asked and comparing with the truth."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from isthmus.core.checkpoint import checkpoint
from isthmus.index import flat
from isthmus.index.structures.base import Effort, Floats
from isthmus.index.structures.searching import Arranged

__all__ = ["RECALL_COUNT", "Part", "Tuned", "recall_of", "truth_of", "tuned"]

RECALL_COUNT: Final = 10
"""Neighbours that recall is about."""


@dataclass(frozen=True, slots=True)
class Part:
    """One segment of what is measured.

    Attributes:
        vectors: (n, d) float32.
        arranged: How it is searched; None means exactly.
        live: (n,) which rows count; None means all.
    """

    vectors: Floats
    arranged: Arranged | None = None
    live: NDArray[np.bool_] | None = None

    def search(self, queries: Floats, count: int) -> flat.Found:
        """Return exact scores and rows of what is found."""
        if self.arranged is not None:
            found = self.arranged.search(self.vectors, queries, count, allowed=self.live)
            if found is not None:
                return found
        return self.search_exactly(queries, count)

    def search_exactly(self, queries: Floats, count: int) -> flat.Found:
        """Return exact scores and rows of the best."""
        rows = None if self.live is None else np.flatnonzero(self.live)
        return flat.exactly(self.vectors, queries, count, rows=rows)


@dataclass(frozen=True, slots=True)
class Tuned:
    """What was found.

    Attributes:
        effort: The least that meets the wanted recall, else the greatest there is.
        recall: Measured with it, a fraction.
    """

    effort: Effort
    recall: float


def truth_of(parts: Sequence[Part], queries: Floats, count: int = RECALL_COUNT) -> Floats:
    """Return the scores of the true neighbours, (m, k) float32, best first."""
    return _best([part.search_exactly(queries, count)[0] for part in parts], count)


def recall_of(parts: Sequence[Part], queries: Floats, truth: Floats) -> float:
    """Return the share of true neighbours that is found; of equal scores any serves."""
    return float(_recalls(parts, queries, truth).mean()) if truth.size else 1.0


def tuned(parts: Sequence[Part], queries: Floats, *, recall_min: float, truth: Floats | None = None) -> Tuned:
    """Find the least effort at which the parts together meet a recall.

    Other queries will be asked than those it is tuned on: the recall of these must be above it by a standard error.

    Args:
        parts: All segments of a modality; those that are arranged are all of one kind.
        queries: (m, d) float32, as they will be asked.
        recall_min: Wanted recall@10, a fraction.
        truth: From `truth_of`, where it is known.
    """
    truth = truth_of(parts, queries) if truth is None else truth
    first = next(part.arranged for part in parts if part.arranged is not None)
    last = Tuned(first.effort, 0.0)
    for effort in first.structure.efforts():
        checkpoint()
        if not truth.size:
            return Tuned(effort, 1.0)
        recalls = _recalls([_with_effort(part, effort) for part in parts], queries, truth)
        last = Tuned(effort, float(recalls.mean()))
        if last.recall - recalls.std() / math.sqrt(len(recalls)) >= recall_min:
            break
    return last


def _recalls(parts: Sequence[Part], queries: Floats, truth: Floats) -> NDArray[np.float64]:
    """Return each query's share of true neighbours that is found, (m,)."""
    found = _best([part.search(queries, truth.shape[1])[0] for part in parts], truth.shape[1])
    # Both are scored alike, to the last bit: what scores no less than the last of the true ones is one of them.
    recalls: NDArray[np.float64] = (found >= truth[:, -1:]).mean(axis=1)
    return recalls


def _with_effort(part: Part, effort: Effort) -> Part:
    if part.arranged is None:
        return part
    return Part(part.vectors, part.arranged.with_effort(effort), part.live)


def _best(scores: Sequence[Floats], count: int) -> Floats:
    together = np.concatenate(scores, axis=1)
    return -np.sort(-together, axis=1)[:, :count]
