"""Ask two collections the same questions, each with its own vectors of the same items: the probe of an alias."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from isthmus.core.modality import Modality
from isthmus.index.aliases import Comparison
from isthmus.index.events import embedding_rows
from isthmus.index.follower import Follower
from isthmus.index.model import Neighbor
from isthmus.index.pair_rows import PairSampling, sampled_row_ids
from isthmus.index.ranking import Question, rank_snapshot
from isthmus.index.snapshot import Snapshot
from isthmus.index.stored_rows import take_rows
from isthmus.runtime.base.errors import FailedPreconditionError

__all__ = ["PROBE_COUNT", "Side", "compare"]

PROBE_COUNT: Final = 200
"""Pairs, and items whose neighbours are compared; the standard error of a recall is 0.035 at most, and less of the
difference of two, because both collections are asked the same."""
_DEPTH: Final = 10


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two collections.

    Attributes:
        follower: Reads its store.
        snapshot: What is compared.
    """

    follower: Follower
    snapshot: Snapshot

    def has(self, ids: Sequence[str], modality: Modality) -> list[bool]:
        """Say which items of a modality are there."""
        places = self.snapshot.find(ids)
        return [place is not None and place.segment.modality is modality for place in places]

    def answers(self, ids: Sequence[str], modality: Modality, wanted: Modality, top_k: int) -> list[Sequence[Neighbor]]:
        """Search with the raw vectors of items, all there and of one modality; no answers where no aligner joins both.

        Raises:
            UnavailableError: BACKEND_UNAVAILABLE; the store cannot be read.
            DataLossError: STORE_DAMAGED.
        """
        places = [place for place in self.snapshot.find(ids) if place is not None]
        row_ids = np.array([place.segment.row_ids[place.row] for place in places], dtype=np.int64)
        settings = self.snapshot.settings
        rows = take_rows(self.follower, self.snapshot, row_ids)
        queries = embedding_rows(rows["embedding"], settings.dimension(modality))
        question = Question(modality=modality, space=settings.space(modality), top_k=top_k, item_modality=wanted)
        try:
            return list(rank_snapshot(self.snapshot, queries, question).neighbors)
        except FailedPreconditionError as error:
            if error.reason != "NO_ALIGNER":
                raise
            return [()] * len(ids)


@dataclass(frozen=True, slots=True)
class _Pair:
    key: str
    ids: dict[Modality, str]


def compare(old: Side, new: Side, *, seed: int) -> Comparison:
    """Compare two collections; blocks.

    Recall@10 of a direction is the share of the pairs of which one item is among the first 10 answers to the other;
    any item of the pair's key counts. Overlap is the share of an item's 10 nearest neighbours of its own modality,
    itself left out, that both collections name.

    Raises:
        IsthmusError: as `Side.answers`.
    """
    pairs = _pairs(old, seed)
    held = [new.has([pair.ids[modality] for pair in pairs], modality) for modality in Modality]
    there = [pair for pair, *both in zip(pairs, *held, strict=True) if all(both)]
    recalls = {
        (which, modality): _recall(side, there, modality, of=len(pairs)) if there else 0.0
        for which, side in (("old", old), ("new", new))
        for modality in Modality
    }
    count, overlap = _overlap(old, new, seed)
    return Comparison(
        old_collection=old.snapshot.name,
        new_collection=new.snapshot.name,
        old_revision=old.snapshot.revision,
        new_revision=new.snapshot.revision,
        pair_count=len(pairs),
        missing_pair_count=len(pairs) - len(there),
        old_t2i_recall=recalls["old", Modality.TEXT],
        new_t2i_recall=recalls["new", Modality.TEXT],
        old_i2t_recall=recalls["old", Modality.IMAGE],
        new_i2t_recall=recalls["new", Modality.IMAGE],
        neighbor_query_count=count,
        neighbor_overlap=overlap,
    )


def _pairs(side: Side, seed: int) -> list[_Pair]:
    """Draw pairs, the first item of each modality by id standing for all that share its key."""
    firsts: dict[Modality, dict[str, str]] = {}
    for modality, row_ids in sampled_row_ids(side.snapshot, PairSampling(PROBE_COUNT, seed)).items():
        if not len(row_ids):
            return []
        rows = take_rows(side.follower, side.snapshot, row_ids)
        keyed = sorted(zip(rows["id"].to_pylist(), rows["pair_key"].to_pylist(), strict=True), reverse=True)
        firsts[modality] = {key: item_id for item_id, key in keyed}
    keys = sorted(firsts[Modality.IMAGE].keys() & firsts[Modality.TEXT].keys())
    return [_Pair(key, {modality: firsts[modality][key] for modality in Modality}) for key in keys]


def _recall(side: Side, pairs: Sequence[_Pair], modality: Modality, *, of: int) -> float:
    answers = side.answers([pair.ids[modality] for pair in pairs], modality, modality.other, _DEPTH)
    found = sum(
        any(neighbor.item.pair_key == pair.key for neighbor in neighbors)
        for pair, neighbors in zip(pairs, answers, strict=True)
    )
    return found / of


def _overlap(old: Side, new: Side, seed: int) -> tuple[int, float]:
    shares: list[float] = []
    for modality in Modality:
        ids = _drawn_ids(old, modality, seed)
        ids = [item_id for item_id, there in zip(ids, new.has(ids, modality), strict=True) if there]
        if not ids:
            continue
        answers = [side.answers(ids, modality, modality, _DEPTH + 1) for side in (old, new)]
        for item_id, *both in zip(ids, *answers, strict=True):
            near = [[one.item.id for one in found if one.item.id != item_id][:_DEPTH] for found in both]
            most = max(map(len, near))
            if most:
                shares.append(len(set(near[0]) & set(near[1])) / most)
    return len(shares), float(np.mean(shares)) if shares else 0.0


def _drawn_ids(side: Side, modality: Modality, seed: int) -> list[str]:
    row_ids: NDArray[np.int64] = side.snapshot.live_row_ids(modality)
    if not len(row_ids):
        return []
    count = min(PROBE_COUNT // 2, len(row_ids))
    chosen = np.sort(np.random.default_rng(seed).choice(row_ids, size=count, replace=False))
    ids: list[str] = take_rows(side.follower, side.snapshot, chosen)["id"].to_pylist()
    return ids
