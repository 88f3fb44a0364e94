"""A team's own figure: what the answers that are shown are worth, before and after an aligner.

A row says what one item is worth to one query, a gain or, below zero, a cost. A query collects the rows whose item is
among the first `top_k` answers of a search over everything that was loaded; rows that tie for the last places count
with the share of orders that show them. The figure is the mean over the queries of the table, times 1,000.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from isthmus.core.changes import Difference
from isthmus.core.errors import NotEnoughItemsError, OptionError
from isthmus.core.gap.bootstrap import Figure, percentile_figure, resampled_means
from isthmus.core.modality import Modality
from isthmus.core.shown import BLOCK_SIZES, BlockSizes, ShownRows, WantedRows

__all__ = ["GAIN_MAX", "GAIN_TOP_K", "GainFinding", "GainRequest", "GainRows", "GainTable", "judge_gain"]

GAIN_TOP_K: Final = 10
"""Answers that are shown, where nobody says how many."""

GAIN_MAX: Final = 1e12
"""Size of the largest gain or cost: sums and means of tables stay exact enough."""

_PER: Final = 1_000.0


@dataclass(frozen=True, kw_only=True)
class GainRequest:
    """What answers are worth.

    Raises:
        OptionError: There is no row, there is not one id of each kind for every gain, an id is empty or a gain is not
            finite or beyond 1e12 in size (the message has the row, from 1), or `top_k` is below 1.
    """

    query_ids: Sequence[str]
    """n ids of items that are queries."""
    item_ids: Sequence[str]
    """n ids of items that are answers."""
    gains: Sequence[float]
    """n numbers of at most 1e12 in size, below zero for a cost; rows of the same two ids add up."""
    top_k: int = GAIN_TOP_K
    """Answers that are shown to a query, at least 1."""
    item_modality: Modality | None = None
    """What is searched; None for both modalities."""

    def __post_init__(self) -> None:
        """Check every row."""
        if not len(self.query_ids) == len(self.item_ids) == len(self.gains) or not self.gains:
            msg = "gains: need at least one row, each of a query id, an item id and a gain"
            raise OptionError(msg)
        if self.top_k < 1:
            msg = "gains.top_k: must be at least 1"
            raise OptionError(msg)
        for row, (query, item, gain) in enumerate(zip(self.query_ids, self.item_ids, self.gains, strict=True), 1):
            if not (query and item):
                msg = f"gains: row {row} lacks a query id or an item id"
                raise OptionError(msg)
            if not math.isfinite(gain):
                msg = f"gains: row {row} has a gain that is not a finite number"
                raise OptionError(msg)
            if abs(gain) > GAIN_MAX:
                msg = f"gains: row {row} has a gain beyond {GAIN_MAX:g} in size"
                raise OptionError(msg)


@dataclass(frozen=True, kw_only=True)
class GainRows(WantedRows):
    """Rows of the queries of one modality."""

    gain: NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class GainTable:
    """A request whose ids were found."""

    queries: Mapping[Modality, NDArray[np.intp]]
    """Rows of the items that are queries, per modality."""
    top_k: int
    item_modality: Modality | None
    skipped: Mapping[str, tuple[int, ...]]
    """Rows that count for nothing, from 1, by the reason: `unknown_query`, `unknown_item`, `learned_query` (the aligner
    may have been fitted on it), `query_itself` and `other_modality` (neither is ever shown)."""
    used_count: int
    """Rows that count."""
    rows: Mapping[Modality, GainRows]
    """Of the queries of each modality."""

    @classmethod
    def of(
        cls, request: GainRequest, *, ids: Mapping[Modality, Sequence[str]], learned_ids: Collection[str] = ()
    ) -> GainTable:
        """Find the rows' ids among the items.

        Args:
            request: The rows.
            ids: Per modality the ids of all items that are searched.
            learned_ids: Of items that may not be queries.

        Raises:
            NotEnoughItemsError: No row is left.
        """
        places = {item_id: (modality, row) for modality, found in ids.items() for row, item_id in enumerate(found)}
        learned = set(learned_ids)
        skipped: defaultdict[str, list[int]] = defaultdict(list)
        queries: dict[Modality, dict[int, int]] = {modality: {} for modality in Modality}
        kept: dict[Modality, list[tuple[int, bool, int, float]]] = {modality: [] for modality in Modality}
        given = zip(request.query_ids, request.item_ids, request.gains, strict=True)
        for number, (query_id, item_id, gain) in enumerate(given, 1):
            query, item = places.get(query_id), places.get(item_id)
            reason = ""
            if query is None:
                reason = "unknown_query"
            elif item is None:
                reason = "unknown_item"
            elif query_id in learned:
                reason = "learned_query"
            elif query == item:
                reason = "query_itself"
            elif request.item_modality not in (None, item[0]):
                reason = "other_modality"
            if reason or query is None or item is None:
                skipped[reason].append(number)
                continue
            known = queries[query[0]]
            place = known.setdefault(query[1], len(known))
            kept[query[0]].append((place, item[0] is query[0], item[1], gain))
        used_count = sum(map(len, kept.values()))
        if not used_count:
            told = ", ".join(f"{len(numbers)} {reason.replace('_', ' ')}" for reason, numbers in skipped.items())
            msg = f"gains: none of {len(request.gains)} rows can be judged ({told})"
            raise NotEnoughItemsError(msg)
        return cls(
            queries={modality: np.array([*found], dtype=np.intp) for modality, found in queries.items()},
            top_k=request.top_k,
            item_modality=request.item_modality,
            skipped={reason: tuple(numbers) for reason, numbers in skipped.items()},
            used_count=used_count,
            rows={modality: _packed(found) for modality, found in kept.items()},
        )

    def collected(
        self,
        shown: ShownRows,
        *,
        blocks: BlockSizes = BLOCK_SIZES,
    ) -> dict[Modality, NDArray[np.float64]]:
        """Return what each query collects, per modality (q,), in the order of `queries`.

        Args:
            shown: How answers are found.
            blocks: How much is held at a time.
        """
        found: dict[Modality, NDArray[np.float64]] = {}
        for query, rows in self.rows.items():
            shares = shown.shares(
                query,
                rows,
                itself=self.queries[query],
                top_k=self.top_k,
                item_modality=self.item_modality,
                blocks=blocks,
            )
            found[query] = np.zeros(len(self.queries[query]))
            np.add.at(found[query], rows.query, rows.gain * shares)
        return found

    def possible(self) -> dict[Modality, NDArray[np.float64]]:
        """Return what each query would collect were its `top_k` most valuable items shown, per modality (q,)."""
        most: dict[Modality, NDArray[np.float64]] = {}
        for query, rows in self.rows.items():
            worth: defaultdict[tuple[int, bool, int], float] = defaultdict(float)
            for place, own, item, gain in zip(
                rows.query.tolist(), rows.own.tolist(), rows.item.tolist(), rows.gain.tolist(), strict=True
            ):
                worth[place, own, item] += gain
            of_query: defaultdict[int, list[float]] = defaultdict(list)
            for (place, _, _), gain in worth.items():
                of_query[place].append(gain)
            most[query] = np.array(
                [
                    sum(sorted((gain for gain in of_query[place] if gain > 0.0), reverse=True)[: self.top_k])
                    for place in range(len(self.queries[query]))
                ]
            )
        return most


@dataclass(frozen=True, kw_only=True)
class GainFinding:
    """Expected gain per 1,000 queries."""

    top_k: int
    """Answers that were shown."""
    item_modality: Modality | None
    query_count: int
    """Different queries that count."""
    pair_count: int
    """Different pair keys among them; a query without one is its own."""
    used_count: int
    """Rows that count."""
    before: Figure
    """Per 1,000 queries, with its interval."""
    after: Figure
    difference: Difference
    """After minus before."""
    possible: float
    """Per 1,000 queries, were the most valuable items of each always shown."""
    skipped: Mapping[str, tuple[int, ...]]
    """Rows that count for nothing, as of the table."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "top_k": self.top_k,
            "item_modality": None if self.item_modality is None else self.item_modality.value,
            "queries": self.query_count,
            "n": self.pair_count,
            "rows": self.used_count,
            "per_1000": {
                "before": _interval(self.before),
                "after": _interval(self.after),
                "difference": self.difference.to_dict(),
                "possible": self.possible,
            },
            "skipped": {reason: list(rows) for reason, rows in self.skipped.items()},
        }


def judge_gain(
    table: GainTable,
    before: ShownRows,
    after: ShownRows,
    *,
    codes: Mapping[Modality, NDArray[np.int64]],
    seed: int = 0,
) -> GainFinding:
    """Compare what two ways of serving are worth, by resampling pair keys (paired bootstrap).

    Items are mapped and scored in blocks, as `BlockSizes` bounds, first for one way, then for the other.

    Args:
        table: The rows.
        before: What is served now.
        after: What would be served.
        codes: Per modality (n,) codes of pair keys of all items; equal codes are one observation.
        seed: Of the resampling.
    """
    of_queries = np.concatenate([codes[modality][table.queries[modality]] for modality in Modality])
    values = [
        _PER * np.concatenate([found[modality] for modality in Modality])
        for found in (
            table.collected(before),
            table.collected(after),
            table.possible(),
        )
    ]
    worth = values[0], values[1], values[1] - values[0]
    figures = [percentile_figure(float(found.mean()), resampled_means(found, of_queries, seed=seed)) for found in worth]
    pair_count = len(np.unique(of_queries))
    return GainFinding(
        top_k=table.top_k,
        item_modality=table.item_modality,
        query_count=len(of_queries),
        pair_count=pair_count,
        used_count=table.used_count,
        before=figures[0],
        after=figures[1],
        difference=Difference.of(figures[2], pair_count=pair_count),
        possible=float(values[2].mean()),
        skipped=table.skipped,
    )


def _packed(kept: Sequence[tuple[int, bool, int, float]]) -> GainRows:
    return GainRows(
        query=np.array([row[0] for row in kept], dtype=np.intp),
        own=np.array([row[1] for row in kept], dtype=np.bool_),
        item=np.array([row[2] for row in kept], dtype=np.intp),
        gain=np.array([row[3] for row in kept], dtype=np.float64),
    )


def _interval(figure: Figure) -> dict[str, float]:
    return {"value": figure.value, "low": figure.low, "high": figure.high}
