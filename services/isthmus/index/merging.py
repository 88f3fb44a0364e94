"""Merge what was found of each modality into one order, and choose from it what a query is answered with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from isthmus.core.modality import Modality
from isthmus.index.segments import LiveSegment

__all__ = ["Candidates", "Merged", "first_of_each", "merge", "unit_rows"]


@dataclass(frozen=True, slots=True)
class Candidates:
    """The best of one modality for each query, best first.

    Attributes:
        parts: The segments that were searched.
        scores: (n, k) float32 cosines; -inf where there is no candidate.
        numbers: (n, k) which of `parts`.
        rows: (n, k) which row of it.
        merge_scores: (n, k) float64, what modalities are merged by: scores, stretched and shifted.
        probabilities: (n, k) float64, or None.
    """

    parts: Sequence[LiveSegment]
    scores: NDArray[np.float32]
    numbers: NDArray[np.int64]
    rows: NDArray[np.int64]
    merge_scores: NDArray[np.float64]
    probabilities: NDArray[np.float64] | None


@dataclass(frozen=True, slots=True)
class Merged:
    """The best of all modalities for one query, best first.

    Attributes:
        parts: The segments of all modalities.
        scores: (k,) float32 cosines.
        numbers: (k,) which of `parts`.
        rows: (k,) which row of it.
        merge_scores: (k,) float64, descending.
        probabilities: (k,) float64; NaN where none is known.
    """

    parts: tuple[LiveSegment, ...]
    scores: NDArray[np.float32]
    numbers: NDArray[np.int64]
    rows: NDArray[np.int64]
    merge_scores: NDArray[np.float64]
    probabilities: NDArray[np.float64]

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self.scores)

    def chosen(self, places: NDArray[np.intp]) -> Merged:
        """Return those at `places`, in that order."""
        return Merged(
            self.parts,
            self.scores[places],
            self.numbers[places],
            self.rows[places],
            self.merge_scores[places],
            self.probabilities[places],
        )

    def first(self, count: int) -> Merged:
        """Return the best `count`, fewer where there are not so many."""
        return self if len(self) <= count else self.chosen(np.arange(count))

    def kinds(self) -> NDArray[np.int64]:
        """Return a number for the modality of each, (k,)."""
        order = tuple(Modality)
        kinds = np.array([order.index(part.segment.modality) for part in self.parts], dtype=np.int64)
        return kinds[self.numbers]

    def first_of_items(self) -> NDArray[np.intp]:
        """Return the places of the first of each item, ascending: `parts` may hold a segment more than once."""
        first: dict[int, int] = {}
        same = [first.setdefault(id(part.segment), number) for number, part in enumerate(self.parts)]
        items = np.stack([np.array(same, dtype=np.int64)[self.numbers], self.rows])
        return np.sort(np.unique(items, axis=1, return_index=True)[1])

    def unit_rows(self, dimension: int | None) -> NDArray[np.float32]:
        """Return their vectors in the space that was searched, (k, d) float32 of unit norm.

        Args:
            dimension: Of that space; what an item row holds beyond belongs to a hubness correction. None means all.
        """
        if not len(self):
            return np.empty((0, 0), dtype=np.float32)
        rows = np.stack(
            [
                self.parts[number].segment.vectors[row, :dimension]
                for number, row in zip(self.numbers.tolist(), self.rows.tolist(), strict=True)
            ]
        )
        return unit_rows(rows)

    def pair_keys(self) -> pa.Array:
        """Return their pair keys, (k,) texts, empty where there is none."""
        taken, order = [], []
        for number in np.unique(self.numbers).tolist():
            places = np.flatnonzero(self.numbers == number)
            taken.append(self.parts[number].segment.pair_keys.take(pa.array(self.rows[places])))
            order.append(places)
        if not taken:
            return pa.array([], pa.string())
        return pa.concat_arrays(taken).take(pa.array(np.argsort(np.concatenate(order))))


def unit_rows(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return rows scaled to unit norm, (n, d) float32, each by itself."""
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), dtype=np.float32)


def merge(found: Sequence[Candidates], query: int, count: int) -> Merged:
    """Merge the candidates of one query and return the best `count`, fewer where there are not so many.

    Each modality's list is sorted by a score that its merge score only stretches. Of equals the modality that comes
    first in `found` is first.
    """
    parts = tuple(part for candidates in found for part in candidates.parts)
    firsts = np.cumsum([0, *(len(candidates.parts) for candidates in found)])
    scores = np.concatenate([candidates.scores[query] for candidates in found])
    merge_scores = np.concatenate([candidates.merge_scores[query] for candidates in found])
    numbers = np.concatenate([each.numbers[query] + first for each, first in zip(found, firsts, strict=False)])
    probabilities = [
        np.full(each.scores.shape[1], np.nan) if each.probabilities is None else each.probabilities[query]
        for each in found
    ]
    rows = np.concatenate([candidates.rows[query] for candidates in found])
    order = np.argsort(-merge_scores, kind="stable")
    order = order[scores[order] > -np.inf][:count]
    return Merged(
        parts, scores[order], numbers[order], rows[order], merge_scores[order], np.concatenate(probabilities)[order]
    )


def first_of_each(keys: pa.Array) -> NDArray[np.intp]:
    """Return the places of the first of each text, and of every empty one, ascending."""
    firsts = np.asarray(pc.equal(keys, "").to_numpy(zero_copy_only=False))
    codes = keys.dictionary_encode().indices.to_numpy()
    firsts[np.unique(codes, return_index=True)[1]] = True
    return np.flatnonzero(firsts)
