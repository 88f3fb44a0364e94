"""What retrieval looks like to each held-out query, so that two ways of serving can be compared query by query."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from isthmus.core.calibration import Calibration
from isthmus.core.checkpoint import checkpoint
from isthmus.core.gap import gini
from isthmus.core.metrics import MixedRetrieval, RecallAt, ideal_gain, top_figures_of_rows
from isthmus.core.modality import Modality

__all__ = ["NEIGHBOURS", "QueryFigures", "ServedRows", "judge_queries", "summarise"]

NEIGHBOURS: Final = 10
"""Neighbours that are compared and counted."""

_BLOCK_SCORES: Final = 1 << 21


@dataclass(frozen=True, kw_only=True)
class ServedRows:
    """How a set of held-out items is served: what the index holds, what it is asked with, how answers are merged."""

    queries: Mapping[Modality, NDArray[np.float32]]
    """(n, k) float32 each."""
    items: Mapping[Modality, NDArray[np.float32]]
    """(n, k) float32 each."""
    codes: Mapping[Modality, NDArray[np.int64]]
    """(n,) codes of pair keys each; equal codes match."""
    calibration: Calibration
    joined: bool = True
    """False when the modalities are of two raw spaces that nothing joins: then a query sees its own modality only."""


@dataclass(frozen=True, kw_only=True)
class QueryFigures:
    """Figures of the queries of one modality, (n,) each; infinite ranks are never found, NaN has nothing to find."""

    cross_rank: NDArray[np.float64]
    """0-based rank of the best match among the other modality."""
    mixed_rank: NDArray[np.float64]
    """0-based rank of the best match of the other modality among both, own siblings left out."""
    ndcg10: NDArray[np.float64]
    """Over both modalities, every other item of the pair key relevant."""
    own_share: NDArray[np.float64]
    """Share of the query's modality in the first ten of both."""
    own_rank: NDArray[np.float64]
    """0-based rank of the best sibling among the query's own modality; NaN without siblings."""
    own_neighbours: NDArray[np.intp]
    """(n, k) nearest others of the query's own modality."""
    other_neighbours: NDArray[np.intp]
    """(n, k) nearest items of the other modality."""


def judge_queries(served: ServedRows) -> dict[Modality, QueryFigures]:
    """Ask every item for both modalities, in blocks of bounded memory; each must have a match in the other modality."""
    return {query: _judge_side(served, query) for query in Modality}


def summarise(figures: Mapping[Modality, QueryFigures], *, pair_count: int) -> dict[str, Any]:
    """Return the keys of every `--json` answer, and beside them own-modality recall and hubness."""
    image, text = figures[Modality.IMAGE], figures[Modality.TEXT]
    return {
        "n": pair_count,
        "recall": {"t2i": asdict(RecallAt.of(text.cross_rank)), "i2t": asdict(RecallAt.of(image.cross_rank))},
        "mixed": {
            f"{query}_query": asdict(
                MixedRetrieval.of(found.mixed_rank, ndcg10=found.ndcg10, own_share=found.own_share)
            )
            for query, found in figures.items()
        },
        "own": {f"{query}_query": _share(found.own_rank) for query, found in figures.items()},
        "hubness": float(
            np.mean([_hub_gini(figures[item.other], item_count=len(figures[item].cross_rank)) for item in Modality])
        ),
    }


def _hub_gini(asked: QueryFigures, *, item_count: int) -> float:
    """Return the Gini coefficient of how often each item of the other modality is among the nearest ten."""
    return float(gini(np.bincount(asked.other_neighbours.ravel(), minlength=item_count)))


def _share(ranks: NDArray[np.float64]) -> float | None:
    known = ranks[~np.isnan(ranks)]
    return float((known < NEIGHBOURS).mean()) if len(known) else None


def _judge_side(served: ServedRows, query: Modality) -> QueryFigures:
    other = query.other
    own_items, other_items = served.items[query], served.items[other]
    own_codes, other_codes = served.codes[query], served.codes[other]
    count = len(own_items)
    is_own = np.arange(count + len(other_items)) < count
    k, l_count = min(NEIGHBOURS, count - 1), min(NEIGHBOURS, len(other_items))
    ranks = {name: np.empty(count) for name in ("cross_rank", "mixed_rank", "ndcg10", "own_share", "own_rank")}
    own_neighbours, other_neighbours = np.empty((count, k), np.intp), np.empty((count, l_count), np.intp)
    step = max(1, _BLOCK_SCORES // len(is_own))
    for start in range(0, count, step):
        checkpoint()
        rows = np.arange(start, min(start + step, count))
        asked = served.queries[query][rows]
        to_own = served.calibration.merge_scores(asked @ own_items.T, query=query, item=query)
        to_own[np.arange(len(rows)), rows] = -np.inf
        if served.joined:
            to_other = served.calibration.merge_scores(asked @ other_items.T, query=query, item=other)
        else:
            to_other = np.full((len(rows), len(other_items)), -np.inf)
        sibling = own_codes[rows, None] == own_codes[None, :]
        sibling[np.arange(len(rows)), rows] = False
        match = own_codes[rows, None] == other_codes[None, :]
        ranks["cross_rank"][rows] = _rank(to_other, match)
        ranks["own_rank"][rows] = np.where(sibling.any(axis=1), _rank(to_own, sibling), np.nan)
        merged = np.concatenate([np.where(sibling, -np.inf, to_own), to_other], axis=1)
        found = np.concatenate([np.zeros_like(sibling), match], axis=1)
        ranks["mixed_rank"][rows] = _rank(merged, found)
        merged = np.concatenate([to_own, to_other], axis=1)
        relevant = np.concatenate([sibling, match], axis=1)
        gain, ranks["own_share"][rows] = top_figures_of_rows(merged, relevant, is_own)
        ranks["ndcg10"][rows] = gain / ideal_gain(relevant.sum(axis=1))
        own_neighbours[rows] = np.argpartition(-to_own, k - 1, axis=1)[:, :k]
        other_neighbours[rows] = np.argpartition(-to_other, l_count - 1, axis=1)[:, :l_count]
    return QueryFigures(own_neighbours=own_neighbours, other_neighbours=other_neighbours, **ranks)


def _rank(scores: NDArray[np.float64], wanted: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return for each row how many others score above its best wanted one, plus half of those that tie."""
    best = np.where(wanted, scores, -np.inf).max(axis=1, keepdims=True)
    greater = ((scores > best) & ~wanted).sum(axis=1)
    ties = ((scores == best) & ~wanted & np.isfinite(scores)).sum(axis=1)
    ranks: NDArray[np.float64] = np.where(np.isfinite(best[:, 0]), greater + 0.5 * ties, np.inf)
    return ranks
