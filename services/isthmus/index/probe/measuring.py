"""Recall of what a snapshot answers, against all its vectors compared one by one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import faiss
import numpy as np
from numpy.typing import NDArray

from isthmus.core.modality import Modality
from isthmus.index.probe.pace import Pace
from isthmus.index.ranking import Question, rank_snapshot
from isthmus.index.segments import LiveSegment
from isthmus.index.snapshot import Snapshot

__all__ = ["TOP_K", "measured_recall"]

_faiss: Any = faiss  # its type stubs know the C++ signatures, not what its Python wrappers add

TOP_K: Final = 10
"""Neighbours that recall is about."""
_BLOCK_ROWS: Final = 4_096
"""Vectors compared at once, so that a step takes milliseconds."""
_QUERIES_AT_ONCE: Final = 4
"""Queries searched at once, for the same reason."""
_ROUNDING: Final = 1e-5
"""Two ways to add up one product differ by less: what is as near as the last true neighbour is one."""


def measured_recall(snapshot: Snapshot, item_modality: Modality, raw: NDArray[np.float32], *, pace: Pace) -> float:
    """Return recall@10 of the answers to queries of the other modality, in [0, 1].

    The answers are those that a caller gets; the truth is found without the structures that they were found by.

    Args:
        snapshot: What is asked.
        item_modality: Of the answers; there is an item of it.
        raw: (n, d) float32 raw embeddings of the other modality, n at least 1.
        pace: Asked to rest between steps.

    Raises:
        StoppedError: the process ends.
    """
    (other,) = (modality for modality in Modality if modality is not item_modality)
    asked = np.ascontiguousarray(snapshot.query_rows(raw, other))
    question = Question(modality=other, space=snapshot.settings.space(other), top_k=TOP_K, item_modality=item_modality)
    parts = snapshot.segments[item_modality]
    needed = _last_scores(parts, asked, pace=pace) - _ROUNDING
    wanted = min(TOP_K, snapshot.count(item_modality))
    found = 0
    for start in range(0, len(raw), _QUERIES_AT_ONCE):
        answers = rank_snapshot(snapshot, raw[start : start + _QUERIES_AT_ONCE], question).neighbors
        for query, neighbors in enumerate(answers, start):
            places = snapshot.find(sorted({neighbor.item.id for neighbor in neighbors}))
            rows = [place.segment.vectors[place.row] for place in places if place is not None]
            scores = np.array(rows, dtype=np.float32).reshape(len(rows), -1) @ asked[query] if rows else np.empty(0)
            found += min(wanted, int(np.count_nonzero(scores >= needed[query])))
        pace.step()
    return found / (wanted * len(raw))


def _last_scores(parts: Sequence[LiveSegment], asked: NDArray[np.float32], *, pace: Pace) -> NDArray[np.float32]:
    """Return the score of each query's last true neighbour, (n,)."""
    best = np.empty((len(asked), 0), dtype=np.float32)
    for part in parts:
        vectors = part.segment.vectors
        for start in range(0, part.segment.rows, _BLOCK_ROWS):
            block = vectors[start : start + _BLOCK_ROWS]
            if part.live is not None:
                block = block[part.live[start : start + _BLOCK_ROWS]]
            if len(block):
                count = min(TOP_K, len(block))
                scores, _ = _faiss.knn(asked, np.ascontiguousarray(block), count, metric=faiss.METRIC_INNER_PRODUCT)
                best = -np.sort(-np.concatenate([best, scores], axis=1), axis=1)[:, :TOP_K]
            pace.step()
    last: NDArray[np.float32] = best[:, -1]
    return last
