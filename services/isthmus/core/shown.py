"""Which answers a query is shown: the first of everything that was loaded, found in blocks.

Items are mapped a block at a time and scored against some queries at a time; of each query the `top_k` highest scores
of either modality are kept, and how many more scored as much as the lowest of them. Inside one modality a merged score
rises with the cosine, so scores are merged only at the end, of what was kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from isthmus.core.calibration import Calibration
from isthmus.core.checkpoint import checkpoint
from isthmus.core.modality import Modality

__all__ = ["BLOCK_SIZES", "BlockSizes", "FirstScores", "ItemRows", "ShownRows", "WantedRows"]

ItemRows = Callable[[NDArray[np.float32], Modality], NDArray[np.float32]]
"""Maps (n, d) raw rows of a modality to the (n, k) rows that are searched."""

_FEW: Final = 0.05
"""Share of a block's scores below which it pays to look for those that may be among the highest."""


@dataclass(frozen=True, kw_only=True)
class BlockSizes:
    """How much is held at a time."""

    items: int = 4_096
    """Items that are mapped at a time."""
    scores: int = 1 << 21
    """Scores of items to queries that are computed at a time: 8 MiB, a few times over while they are sorted out."""
    kept: int = 1 << 21
    """Scores that are kept of all queries taken together, 8 MiB a modality; where there are more, the items are mapped
    again for the next of the queries."""


BLOCK_SIZES: Final = BlockSizes()
"""The defaults."""


@dataclass(frozen=True, kw_only=True)
class WantedRows:
    """Pairs of a query and an item that are asked about; the queries are of one modality."""

    query: NDArray[np.intp]
    """Place of each row's query among the queries."""
    own: NDArray[np.bool_]
    """Whether each row's item is of the queries' own modality."""
    item: NDArray[np.intp]
    """Row of its item among the items of its modality."""


class FirstScores:
    """The highest scores of each of q queries, of everything that was added."""

    def __init__(self, query_count: int, *, top_k: int) -> None:
        self.best = np.full((query_count, top_k), -np.inf, dtype=np.float32)
        """(q, top_k) the highest scores, the lowest of them first; minus infinity where there were fewer."""
        self.more = np.zeros(query_count, dtype=np.intp)
        """(q,) further scores that equal the lowest."""

    def add(self, start: int, scores: NDArray[np.float32]) -> None:
        """Take the scores of further items.

        Args:
            start: Place of the first query.
            scores: (p, n) of the p queries from there on; minus infinity for what is not shown.
        """
        part = slice(start, start + len(scores))
        best = self.best[part]
        lowest = best[:, 0].copy()
        among = scores >= lowest[:, None]
        candidates = scores if np.count_nonzero(among) > _FEW * scores.size else _pushed_left(scores, among)
        width = candidates.shape[1]
        joined = np.concatenate([best, candidates], axis=1)
        joined.partition(width, axis=1)
        new = joined[:, width]
        left_out = (joined[:, :width] == new[:, None]).sum(axis=1)
        self.more[part] = left_out + np.where(new == lowest, self.more[part], 0)
        self.best[part] = joined[:, width:]


def _pushed_left(scores: NDArray[np.float32], among: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Return only some of the scores of each row (p, most of any row), minus infinity after them."""
    flat = np.flatnonzero(among)
    rows = flat // scores.shape[1]
    counts = np.bincount(rows, minlength=len(scores))
    before = np.cumsum(counts) - counts
    pushed = np.full((len(scores), int(counts.max(initial=0))), -np.inf, dtype=np.float32)
    pushed[rows, np.arange(len(flat)) - before[rows]] = scores.ravel()[flat]
    return pushed


@dataclass(frozen=True, kw_only=True)
class ShownRows:
    """How answers are found: what is asked, what is searched, how answers are merged."""

    queries: Mapping[Modality, NDArray[np.float32]]
    """Per modality (q, k) query rows, in the order of the table's queries."""
    items: Mapping[Modality, NDArray[np.float32]]
    """Per modality (n, d) rows of everything that is searched, before `item_rows`."""
    item_rows: ItemRows = field(default=lambda rows, _: rows)
    """Called with a block of `items` at a time; as they are where nobody says."""
    calibration: Calibration
    joined: bool = True
    """False when nothing joins the modalities: then a query sees its own only."""

    def shares(
        self,
        query: Modality,
        wanted: WantedRows,
        *,
        itself: NDArray[np.intp],
        top_k: int,
        item_modality: Modality | None = None,
        blocks: BlockSizes = BLOCK_SIZES,
    ) -> NDArray[np.float64]:
        """Return the share of orders of equal scores in which an item is among the first `top_k`, for each row (r,).

        Neither all mapped items nor all scores are ever held: `blocks` bounds what is, beside the given items and the
        queries. With the defaults a process grew by 171 MiB for 20,000 queries over 200,000 items of 512 numbers and 10
        shown answers, 80 MiB of them the queries, and by 145 MiB for 5,000 queries over 100,000 and 1,000 shown.

        Args:
            query: Modality of the queries.
            wanted: r rows.
            itself: (q,) rows of the queries among the items of their modality: no query is shown itself.
            top_k: Answers that are shown.
            item_modality: What is searched; None for both modalities.
            blocks: How much is held at a time.
        """
        searched = [
            modality
            for modality in (query, query.other)
            if item_modality in (None, modality) and (self.joined or modality is query)
        ]
        top_k = max(1, min(top_k, sum(len(self.items[modality]) for modality in searched)))
        shares = np.zeros(len(wanted.query))
        step = max(1, blocks.kept // top_k)
        for start in range(0, len(itself), step):
            stop = min(start + step, len(itself))
            chosen = np.flatnonzero((wanted.query >= start) & (wanted.query < stop))
            part = WantedRows(query=wanted.query[chosen] - start, own=wanted.own[chosen], item=wanted.item[chosen])
            firsts: dict[Modality, FirstScores] = {}
            scores = np.full(len(chosen), -np.inf)
            for modality in searched:
                here = np.flatnonzero(part.own == (modality is query))
                firsts[modality], found = self._scored(
                    self.queries[query][start:stop],
                    modality,
                    at=part.query[here],
                    items=part.item[here],
                    itself=itself[start:stop] if modality is query else None,
                    top_k=top_k,
                    blocks=blocks,
                )
                scores[here] = self.calibration.merge_scores(found, query=query, item=modality)
            shares[chosen] = self._merged_shares(firsts, part.query, scores, query=query, top_k=top_k)
        return shares

    def _scored(
        self,
        asked: NDArray[np.float32],
        modality: Modality,
        *,
        at: NDArray[np.intp],
        items: NDArray[np.intp],
        itself: NDArray[np.intp] | None,
        top_k: int,
        blocks: BlockSizes,
    ) -> tuple[FirstScores, NDArray[np.float32]]:
        """Return the first scores of some queries, and the scores of some (query, item)."""
        first = FirstScores(len(asked), top_k=top_k)
        found = np.full(len(at), -np.inf, dtype=np.float32)
        step = max(1, blocks.scores // max(1, min(blocks.items, len(self.items[modality]))))
        for base, count, mapped in self._blocks(modality, blocks.items):
            wanted_here = np.flatnonzero((items >= base) & (items < base + count))
            for start in range(0, len(asked), step):
                checkpoint()
                scores = (asked[start : start + step] @ mapped.T)[:, :count]
                if itself is not None:
                    own = itself[start : start + step] - base
                    rows = np.flatnonzero((own >= 0) & (own < count))
                    scores[rows, own[rows]] = -np.inf
                place = at[wanted_here] - start
                inside = (place >= 0) & (place < len(scores))
                chosen = wanted_here[inside]
                found[chosen] = scores[place[inside], items[chosen] - base]
                first.add(start, scores)
        return first, found

    def _blocks(self, modality: Modality, size: int) -> Iterator[tuple[int, int, NDArray[np.float32]]]:
        """Yield the first row, the number and the mapped rows of each block; rows beyond that number fill it up.

        Equal items must have equal scores, or ties would be none, and how a product of matrices rounds depends on its
        shape: so all of them have the same.
        """
        rows = self.items[modality]
        for base in range(0, len(rows), size):
            block = rows[base : base + size]
            count = len(block)
            if base and count < size:
                block = np.concatenate([block, np.repeat(block[:1], size - count, axis=0)])
            yield base, count, self.item_rows(block, modality)

    def _merged_shares(
        self,
        firsts: Mapping[Modality, FirstScores],
        at: NDArray[np.intp],
        scores: NDArray[np.float64],
        *,
        query: Modality,
        top_k: int,
    ) -> NDArray[np.float64]:
        """Return the share of each row: its query `at` (r,) and its merged score (r,)."""
        if not firsts:
            return np.zeros(len(at))
        best = {
            item: self.calibration.merge_scores(first.best, query=query, item=item) for item, first in firsts.items()
        }
        merged = np.concatenate([*best.values()], axis=1)
        last = merged.shape[1] - top_k
        threshold = np.partition(merged, last, axis=1)[:, last]
        room = top_k - (merged > threshold[:, None]).sum(axis=1)
        tied = (merged == threshold[:, None]).sum(axis=1)
        for item, first in firsts.items():
            tied += np.where(best[item][:, 0] == threshold, first.more, 0)
        shares = np.where(scores > threshold[at], 1.0, np.where(scores == threshold[at], (room / tied)[at], 0.0))
        return np.where(np.isfinite(scores), shares, 0.0)
