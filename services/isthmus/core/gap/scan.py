"""One pass over all cosines, in blocks of bounded memory: whatever neighbours and ranks are asked for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from isthmus.core.checkpoint import checkpoint
from isthmus.core.gap.corpus import Corpus
from isthmus.core.metrics import TOP_DEPTH, ideal_gain, top_figures
from isthmus.core.modality import Modality

__all__ = ["NEIGHBOR_COUNT", "CosineScan", "SideScan", "own_neighbors", "scan_cosines"]

NEIGHBOR_COUNT: Final = 10
"""Nearest items of each modality that are kept for every query."""

_BLOCK_SCORES: Final = 1 << 22
"""Scores held at a time: 16 MiB of float32, and a few masks."""
_GROUP_COUNT: Final = 8
_DISCOUNTS: Final = 1.0 / np.log2(np.arange(TOP_DEPTH) + 2.0)


@dataclass(frozen=True, kw_only=True)
class SideScan:
    """What the queries of one modality see. n queries; k is NEIGHBOR_COUNT or the number of items, if less."""

    own_neighbors: NDArray[np.int32]
    """(n, k) nearest items of the query's modality, nearest first, itself left out."""
    own_scores: NDArray[np.float32]
    """(n, k) their cosines."""
    other_neighbors: NDArray[np.int32]
    """(n, k) nearest items of the other modality."""
    other_scores: NDArray[np.float32]
    """(n, k) their cosines."""
    other_rank: NDArray[np.float64]
    """(n,) 1-based rank of the best item of the other modality among both; ties count half."""
    match_rank: NDArray[np.float64]
    """(n,) 0-based rank of the best match among the other modality; NaN without a match."""
    average_precision: NDArray[np.float64]
    """(n,) mean over the matches of precision at their place; NaN without a match."""
    mixed_rank: NDArray[np.float64]
    """(n,) 0-based rank of the best match among both modalities, own siblings left out; NaN without a match."""
    ndcg10: NDArray[np.float64]
    """(n,) nDCG at 10 among both, every other item of the pair key relevant; NaN without a match."""
    own_share: NDArray[np.float64]
    """(n,) share of the query's modality in the first ten of both; NaN without a match."""
    own_kernel: NDArray[np.float64]
    """(n,) mean of exp(-2 ||u - v||²) over the other items of the query's modality."""
    other_kernel: NDArray[np.float64]
    """(n,) the same over the items of the other modality."""


@dataclass(frozen=True, kw_only=True)
class CosineScan:
    """Both sides of one corpus."""

    corpus: Corpus
    """What was scanned."""
    sides: dict[Modality, SideScan]
    """By the queries' modality."""


def scan_cosines(corpus: Corpus) -> CosineScan:
    """Compare every item with every other.

    Args:
        corpus: Images and texts of one space.

    Raises:
        SpacesMismatchError: The dimensions differ.

    Numerics: cosines are float32 products; 2 (n + m)² d operations, memory bounded by the block. A match's rank is the
    number of non-matches that score strictly higher plus half of those that tie (docs/methods.md), from the very
    product in which the match's own score stands, so that rounding never splits a tie.
    """
    corpus.require_one_space("cosines")
    return CosineScan(corpus=corpus, sides={query: _scan_side(corpus, query) for query in Modality})


def _scan_side(corpus: Corpus, query: Modality) -> SideScan:
    own, other = corpus.vectors[query], corpus.vectors[query.other]
    siblings = _Matches(corpus.codes[query], corpus.codes[query], same=True)
    matches = _Matches(corpus.codes[query], corpus.codes[query.other], same=False)

    parts = [
        _scan_block(rows, own=own, other=other, siblings=siblings, matches=matches)
        for rows in _blocks(len(own), len(own) + len(other))
    ]
    return SideScan(**{name: np.concatenate([part[name] for part in parts]) for name in parts[0]})


def own_neighbors(vectors: NDArray[np.float32], *, k: int = NEIGHBOR_COUNT) -> NDArray[np.int32]:
    """Return each row's nearest other rows by cosine.

    Args:
        vectors: (n, d) float32, rows unit-norm.
        k: How many, at most n - 1.

    Returns:
        (n, min(k, n - 1)) rows, nearest first.
    """
    found = []
    for rows in _blocks(len(vectors), len(vectors)):
        scores = vectors[rows] @ vectors.T
        scores[np.arange(rows.stop - rows.start), np.arange(rows.start, rows.stop)] = -np.inf
        found.append(_Top(scores, min(k, len(vectors) - 1)).padded()[0])
    return np.concatenate(found)


def _blocks(queries: int, items: int) -> Iterator[slice]:
    step = max(1, _BLOCK_SCORES // items)
    for start in range(0, queries, step):
        checkpoint()
        yield slice(start, min(start + step, queries))


class _Matches:
    """For every query the items of equal code, itself left out."""

    def __init__(self, query_codes: NDArray[np.int64], item_codes: NDArray[np.int64], *, same: bool) -> None:
        order = np.argsort(item_codes, kind="stable")
        starts = np.searchsorted(item_codes[order], query_codes, side="left")
        counts = np.searchsorted(item_codes[order], query_codes, side="right") - starts
        query = np.repeat(np.arange(len(query_codes)), counts)
        within = np.arange(len(query)) - np.repeat(np.cumsum(counts) - counts, counts)
        item = order[np.repeat(starts, counts) + within]
        if same:
            query, item = query[query != item], item[query != item]
        self._query, self._item = query, item

    def of(self, rows: slice) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Return (row within the block, item) of every match of the block's queries, by row."""
        start, stop = np.searchsorted(self._query, [rows.start, rows.stop])
        return self._query[start:stop] - rows.start, self._item[start:stop]


def _scan_block(
    rows: slice,
    *,
    own: NDArray[np.float32],
    other: NDArray[np.float32],
    siblings: _Matches,
    matches: _Matches,
) -> dict[str, NDArray[Any]]:
    count = rows.stop - rows.start
    asked = own[rows]
    to_own, to_other = asked @ own.T, asked @ other.T
    kernels = (_kernel_sums(to_own) - 1.0) / max(len(own) - 1, 1), _kernel_sums(to_other) / len(other)
    to_own[np.arange(count), np.arange(rows.start, rows.stop)] = -np.inf

    own_top = _Top(to_own, min(NEIGHBOR_COUNT, len(own) - 1))
    other_top = _Top(to_other, min(NEIGHBOR_COUNT, len(other)))
    own_neighbors, own_scores = own_top.padded()
    other_neighbors, other_scores = other_top.padded()

    sibling_row, sibling_item = siblings.of(rows)
    match_row, match_item = matches.of(rows)
    match_score = to_other[match_row, match_item]
    best = np.full(count, -np.inf, dtype=np.float32)
    np.maximum.at(best, match_row, match_score)
    judged = np.isfinite(best)
    match_rank, precision = _match_ranks(to_other, match_row, match_score, best)
    mixed_rank = match_rank + _ranks(to_own, best)
    sibling_score = to_own[sibling_row, sibling_item]
    mixed_rank -= np.bincount(sibling_row, weights=_places(sibling_score, best[sibling_row]), minlength=count)
    relevant_count = np.bincount(np.concatenate([sibling_row, match_row]), minlength=count)
    gain, share = _mixed_top(
        own_top, other_top, siblings=(sibling_row, sibling_item), matches=(match_row, match_item), count=count
    )
    unknown = np.where(judged, 0.0, np.nan)
    return {
        "own_neighbors": own_neighbors,
        "own_scores": own_scores,
        "other_neighbors": other_neighbors,
        "other_scores": other_scores,
        "other_rank": 1.0 + _ranks(to_own, other_scores[:, 0]),
        "match_rank": match_rank + unknown,
        "average_precision": precision + unknown,
        "mixed_rank": mixed_rank + unknown,
        "ndcg10": gain / np.maximum(ideal_gain(relevant_count), 1.0) + unknown,
        "own_share": share + unknown,
        "own_kernel": kernels[0],
        "other_kernel": kernels[1],
    }


def _kernel_sums(cosines: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return each row's sum of exp(-2 (2 - 2 s))."""
    kernel = cosines * np.float32(4.0)
    kernel -= np.float32(4.0)
    np.exp(kernel, out=kernel)
    sums: NDArray[np.float64] = kernel.sum(axis=1, dtype=np.float64)
    return sums


def _places(scores: NDArray[np.float32], mark: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return what each score takes from the mark's rank: 1 above, one half in a tie."""
    places: NDArray[np.float64] = (scores > mark) + 0.5 * (scores == mark)
    return places


def _ranks(scores: NDArray[np.float32], mark: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return for each row how many scores are above its mark, plus half of those that equal it."""
    above = np.count_nonzero(scores > mark[:, None], axis=1)
    not_below = np.count_nonzero(scores >= mark[:, None], axis=1)
    ranks: NDArray[np.float64] = 0.5 * (above + not_below)
    return ranks


def _match_ranks(
    scores: NDArray[np.float32],
    match_row: NDArray[np.intp],
    match_score: NDArray[np.float32],
    best: NDArray[np.float32],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the 0-based rank of each row's best match among non-matches, and the average precision."""
    count = len(scores)
    order = np.lexsort((-match_score, match_row))
    match_row, match_score = match_row[order], match_score[order]
    match_counts = np.bincount(match_row, minlength=count)
    place = np.arange(len(match_row)) - np.repeat(np.cumsum(match_counts) - match_counts, match_counts)
    precision = np.zeros(count)
    rank = np.zeros(count)
    tied_matches = np.bincount(match_row, weights=match_score == best[match_row], minlength=count)
    for slot in range(int(match_counts.max(initial=0))):
        chosen = place == slot
        rows = match_row[chosen]
        among = scores if len(rows) == count else scores[rows]
        # The match ties with itself, which costs it nothing.
        position = _ranks(among, match_score[chosen]) - 0.5
        precision[rows] += (slot + 1) / np.maximum(position + 1.0, slot + 1)
        if slot == 0:
            rank[rows] = position - 0.5 * (tied_matches[rows] - 1.0)
    return rank, precision / np.maximum(match_counts, 1)


class _Top:
    """The k best of each row and all that tie with the last of them, found without sorting the rows."""

    def __init__(self, scores: NDArray[np.float32], k: int) -> None:
        self._count, self._k = len(scores), k
        threshold = _threshold(scores, k)
        flat = np.flatnonzero(scores >= threshold[:, None])
        row, item = np.divmod(flat, scores.shape[1])
        score = scores[row, item]
        finite = np.isfinite(score)
        row, item, score = row[finite], item[finite], score[finite]
        order = np.lexsort((item, -score, row))
        self.row, self.item, self.score = row[order], item[order], score[order]

    def padded(self) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """Return (rows, k) items and scores, best first."""
        place = _places_in_rows(self.row, self._count)
        first = place < self._k
        shape = (self._count, self._k)
        return self.item[first].reshape(shape).astype(np.int32), self.score[first].reshape(shape)


def _threshold(scores: NDArray[np.float32], k: int) -> NDArray[np.float32]:
    """Return for each row a score that at least k of its scores reach, seldom many more.

    The k-th largest of the maxima of disjoint groups: at least k scores reach it, and finding it takes an eighth of
    a partition of the whole row.
    """
    width = scores.shape[1] // _GROUP_COUNT
    if width >= k:
        grouped = scores[:, :width].copy()
        for group in range(1, _GROUP_COUNT):
            np.maximum(grouped, scores[:, group * width : (group + 1) * width], out=grouped)
        for column in range(_GROUP_COUNT * width, scores.shape[1]):
            np.maximum(grouped[:, 0], scores[:, column], out=grouped[:, 0])
    else:
        grouped = scores.copy()
    place = grouped.shape[1] - k
    grouped.partition(place, axis=1)
    return grouped[:, place]


def _places_in_rows(row: NDArray[np.intp], count: int) -> NDArray[np.intp]:
    """Return each entry's place within its row, for entries sorted by row."""
    counts = np.bincount(row, minlength=count)
    places: NDArray[np.intp] = np.arange(len(row)) - np.repeat(np.cumsum(counts) - counts, counts)
    return places


def _mixed_top(
    own: _Top,
    other: _Top,
    *,
    siblings: tuple[NDArray[np.intp], NDArray[np.intp]],
    matches: tuple[NDArray[np.intp], NDArray[np.intp]],
    count: int,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return DCG at 10 and own-modality share of the first ten of both modalities."""
    row = np.concatenate([own.row, other.row])
    score = np.concatenate([own.score, other.score])
    is_own = np.arange(len(row)) < len(own.row)
    relevant = np.concatenate(
        [_listed(own.row, own.item, *siblings), _listed(other.row, other.item, *matches)],
    )
    order = np.lexsort((-score, row))
    row, score, is_own, relevant = row[order], score[order], is_own[order], relevant[order]
    place = _places_in_rows(row, count)
    first = place < TOP_DEPTH
    discount = np.where(first, _DISCOUNTS[np.minimum(place, TOP_DEPTH - 1)], 0.0)
    gain = np.zeros(count)
    np.add.at(gain, row, discount * relevant)
    listed = np.bincount(row, weights=first, minlength=count)
    share = np.bincount(row, weights=first & is_own, minlength=count) / np.maximum(listed, 1.0)
    # Ties share what their places are worth; they are rare, so only their rows take the careful way.
    tied = (row[1:] == row[:-1]) & (score[1:] == score[:-1]) & first[:-1]
    for tied_row in np.unique(row[1:][tied]):
        entries = slice(*np.searchsorted(row, [tied_row, tied_row + 1]))
        gain[tied_row], share[tied_row] = top_figures(
            score[entries].astype(np.float64), relevant[entries], is_own[entries]
        )
    return gain, share


def _listed(
    row: NDArray[np.intp], item: NDArray[np.intp], wanted_row: NDArray[np.intp], wanted_item: NDArray[np.intp]
) -> NDArray[np.bool_]:
    """Return which (row, item) are among the wanted ones."""
    width = 1 + max(int(item.max(initial=0)), int(wanted_item.max(initial=0)))
    return np.isin(row * width + item, wanted_row * width + wanted_item)
