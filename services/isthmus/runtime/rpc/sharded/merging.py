"""Merge the best of each part of a collection into what one searcher of the whole would have found.

Each part sends the best of each modality, by score and then by id; the best of the whole are among them, whatever the
calibration. Merge scores are made here, from one calibration for all.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from isthmus.core.calibration import Calibration
from isthmus.core.modality import Modality
from isthmus.v1 import common_pb2, index_search_service_pb2

__all__ = ["Found", "Replies", "first_of_each_key", "merged"]

_MODALITIES = {common_pb2.MODALITY_IMAGE: Modality.IMAGE, common_pb2.MODALITY_TEXT: Modality.TEXT}


@dataclass(frozen=True, slots=True)
class Replies:
    """What parts of a collection answered, in one space.

    Attributes:
        parts: By number.
    """

    parts: Mapping[int, index_search_service_pb2.SearchShardResponse]

    @property
    def newest(self) -> index_search_service_pb2.SearchShardResponse:
        """Of the newest revision, and of these of the first part: its calibration counts."""
        return max((self.parts[number] for number in sorted(self.parts)), key=lambda reply: reply.revision)

    @property
    def revision(self) -> int:
        """The revision that every part has reached."""
        return min(reply.revision for reply in self.parts.values())


@dataclass(frozen=True, slots=True)
class Found:
    """The best for one query, best first.

    Attributes:
        ids: Their ids.
        kinds: (k,) a number for the modality of each.
        scores: (k,) float32.
        merge_scores: (k,) float64, descending.
        probabilities: (k,) float64, or None where none is known.
        keys: Their pair keys; empty where nobody asked.
        shards: (k,) which part each is of.
        items: Those that were sent, None for each that was not.
        replies: What they were found in.
    """

    ids: Sequence[str]
    kinds: NDArray[np.int64]
    scores: NDArray[np.float32]
    merge_scores: NDArray[np.float64]
    probabilities: NDArray[np.float64] | None
    keys: Sequence[str]
    shards: NDArray[np.int64]
    items: Sequence[common_pb2.Item | None]
    replies: Replies

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self.ids)

    def chosen(self, places: NDArray[np.intp]) -> Found:
        """Return those at `places`, in that order."""
        at = places.tolist()
        return Found(
            [self.ids[place] for place in at],
            self.kinds[places],
            self.scores[places],
            self.merge_scores[places],
            None if self.probabilities is None else self.probabilities[places],
            [self.keys[place] for place in at] if self.keys else (),
            self.shards[places],
            [self.items[place] for place in at],
            self.replies,
        )


def merged(replies: Replies, place: int, queries: int, *, depth: int, query: Modality | None) -> Found:
    """Return the best `depth` for one query, fewer where there are not so many.

    Args:
        replies: Of the parts.
        place: Of the query among those that were asked.
        queries: How many were.
        depth: As was asked of each part.
        query: Modality of the queries; None where one is made of examples, which have no probability.
    """
    newest = replies.newest
    curves = _curves(newest.curves_json)
    both = {Modality.IMAGE: newest.image_share, Modality.TEXT: newest.text_share}
    shares = {modality: share for modality, share in both.items() if share}
    a_query = len(newest.candidates) // queries
    parts = [
        _of_modality(replies, place * a_query + number, kind, depth=depth, curves=curves, shares=shares, query=query)
        for kind, number in enumerate(range(a_query))
    ]
    merge_scores = np.concatenate([part.merge_scores for part in parts])
    # Each modality's list is sorted; of equals the modality that comes first is first.
    order = np.argsort(-merge_scores, kind="stable")[:depth]
    probabilities = [part.probabilities for part in parts if part.probabilities is not None]
    whole = Found(
        [item_id for part in parts for item_id in part.ids],
        np.concatenate([part.kinds for part in parts]),
        np.concatenate([part.scores for part in parts]),
        merge_scores,
        np.concatenate(probabilities) if len(probabilities) == len(parts) else None,
        [key for part in parts for key in part.keys],
        np.concatenate([part.shards for part in parts]),
        [item for part in parts for item in part.items],
        replies,
    )
    return whole.chosen(order)


def first_of_each_key(keys: Sequence[str]) -> NDArray[np.intp]:
    """Return the places of the first of each text, and of every empty one, ascending."""
    seen: set[str] = set()
    places = []
    for place, key in enumerate(keys):
        if not key or key not in seen:
            places.append(place)
            seen.add(key)
    return np.array(places, dtype=np.intp)


def _of_modality(
    replies: Replies,
    entry: int,
    kind: int,
    *,
    depth: int,
    curves: Calibration,
    shares: Mapping[Modality, float],
    query: Modality | None,
) -> Found:
    """Return the best of one modality over all parts, best first; of equals by id."""
    lists = {number: replies.parts[number].candidates[entry] for number in sorted(replies.parts)}
    item = _MODALITIES[next(iter(lists.values())).modality]
    ids = [item_id for each in lists.values() for item_id in each.candidate_ids]
    scores = np.concatenate([np.frombuffer(each.scores, dtype="<f4") for each in lists.values()])
    keys = [key for each in lists.values() for key in each.pair_keys]
    items: list[common_pb2.Item | None] = []
    for each in lists.values():
        items.extend(each.candidate_items or [None] * len(each.candidate_ids))
    order = _by_score(scores, ids)[:depth]
    return Found(
        ids,
        np.full(len(ids), kind, dtype=np.int64),
        scores,
        curves.mixed_scores(scores, shares=shares, item=item),
        None if query is None else curves.probabilities(scores, query=query, item=item),
        keys,
        np.repeat(np.array(list(lists), dtype=np.int64), [len(each.candidate_ids) for each in lists.values()]),
        items,
        replies,
    ).chosen(order)


def _by_score(scores: NDArray[np.float32], ids: Sequence[str]) -> NDArray[np.intp]:
    order = np.argsort(-scores, kind="stable")
    ranked = scores[order]
    if (ranked[1:] == ranked[:-1]).any():
        order = np.array(sorted(order.tolist(), key=lambda place: (-float(scores[place]), ids[place])), dtype=np.intp)
    return order


@functools.lru_cache(maxsize=64)
def _curves(document: bytes) -> Calibration:
    return Calibration.from_dict(json.loads(document))
