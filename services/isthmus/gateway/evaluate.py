"""Judge retrieval as users meet it: every paired item of a collection is a query that goes through search."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from isthmus.core.errors import NotEnoughItemsError
from isthmus.core.metrics import RetrievalReport
from isthmus.core.modality import Modality
from isthmus.evaluation import Answer, SearchTally
from isthmus.gateway.domain import Collection, Found, Neighbor, Row
from isthmus.gateway.gather import gather_all
from isthmus.gateway.offload import Offload
from isthmus.gateway.ports import SearchPort
from isthmus.runtime.base.errors import FailedPreconditionError, InternalError, ResourceExhaustedError
from isthmus.runtime.base.limits import EMBED_MAX_COUNT, TOP_K_MAX_COUNT

__all__ = ["EvaluateLimits", "Evaluator", "SearchReport"]


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluateLimits:
    """Bounds of one evaluation.

    Attributes:
        max_pairs_count: Pair keys that are judged, chosen by their hash.
        max_items_count: Paired items that are held in memory.
    """

    max_pairs_count: int
    max_items_count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchReport:
    """What an evaluation through search found.

    Attributes:
        report: The figures.
        collection: The collection at the revision that was read.
        calibration: How scores of the two modalities were made comparable, as the wire numbers it.
    """

    report: RetrievalReport
    collection: Collection
    calibration: int


@dataclass(slots=True)
class _Items:
    """The paired items of one modality."""

    ids: list[str] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    rows: dict[str, Row] = field(default_factory=dict)


class Evaluator:
    """Judges retrieval through search.

    Args:
        searcher: The index searcher.
        offload: Threads for the judging.
        limits: Bounds of one evaluation.
    """

    def __init__(self, *, searcher: SearchPort, offload: Offload, limits: EvaluateLimits) -> None:
        self._searcher = searcher
        self._offload = offload
        self._limits = limits

    async def evaluate(self, collection: str, *, min_revision: int) -> SearchReport:
        """Send every paired item through search, twice: for the other modality, and for both.

        Raises:
            FailedPreconditionError: NOT_ENOUGH_PAIRS; no image and text share a pair key.
            ResourceExhaustedError: LIMIT_EXCEEDED; the collection holds too many paired items.
            IsthmusError: of the searcher.
        """
        pinned, items = await self._read(collection, min_revision=min_revision)
        try:
            tally = SearchTally(
                ids={modality: group.ids for modality, group in items.items()},
                pair_keys={modality: group.keys for modality, group in items.items()},
                pair_limit=self._limits.max_pairs_count,
            )
        except NotEnoughItemsError as error:
            msg = "the collection holds no image and text with the same pair_key; 1 pair is needed"
            raise FailedPreconditionError(
                msg, reason="NOT_ENOUGH_PAIRS", metadata={"field": "pair_key", "needed": "1", "count": "0"}
            ) from error
        calibration = 0
        for modality, group in items.items():
            ids = list(tally.queries(modality))
            for start in range(0, len(ids), EMBED_MAX_COUNT):
                batch = ids[start : start + EMBED_MAX_COUNT]
                rows = [group.rows[item_id] for item_id in batch]
                calibration = await self._judge(tally, pinned, modality, batch, rows)
        return SearchReport(report=tally.report(), collection=pinned, calibration=calibration)

    async def _read(self, collection: str, *, min_revision: int) -> tuple[Collection, Mapping[Modality, _Items]]:
        pinned: Collection | None = None
        items = {modality: _Items() for modality in Modality}
        async for part in self._searcher.read_pairs(collection, min_revision=min_revision):
            if isinstance(part, Collection):
                pinned = part
                continue
            group = items[part.modality]
            group.ids.extend(part.ids)
            group.keys.extend(part.pair_keys)
            group.rows.update(zip(part.ids, part.rows, strict=True))
            self._check_count(sum(len(group.ids) for group in items.values()))
        if pinned is None:
            msg = "the searcher did not name the collection it streamed"
            raise InternalError(msg)
        return pinned, items

    def _check_count(self, count: int) -> None:
        limit = self._limits.max_items_count
        if count > limit:
            msg = f"the collection holds {count} paired items or more; the limit of an evaluation is {limit}"
            raise ResourceExhaustedError(
                msg, reason="LIMIT_EXCEEDED", metadata={"field": "collection", "limit": str(limit)}
            )

    async def _judge(
        self, tally: SearchTally, pinned: Collection, modality: Modality, ids: Sequence[str], rows: Sequence[Row]
    ) -> int:
        """Search a batch of queries and add the answers to the tally; return the calibration of the mixed answers."""
        cross, mixed = await gather_all(
            [
                self._search(pinned, modality, rows, wanted=modality.other, top_k=tally.cross_top_k),
                self._search(pinned, modality, rows, wanted=None, top_k=tally.mixed_top_k),
            ]
        )
        await self._offload.run(partial(_add, tally, ids, cross, mixed), count=len(ids) * tally.mixed_top_k)
        return mixed.calibration

    async def _search(
        self, pinned: Collection, modality: Modality, rows: Sequence[Row], *, wanted: Modality | None, top_k: int
    ) -> Found:
        return await self._searcher.search(
            pinned.name,
            rows,
            modality=modality,
            space=pinned.space(modality),
            top_k=min(top_k, TOP_K_MAX_COUNT),
            item_modality=wanted,
            min_revision=pinned.revision,
        )


def _add(tally: SearchTally, ids: Sequence[str], cross: Found, mixed: Found) -> None:
    for item_id, of_other, of_both in zip(ids, cross.neighbors, mixed.neighbors, strict=True):
        tally.add_cross(item_id, [Answer(neighbor.item_id, neighbor.score) for neighbor in of_other])
        tally.add_mixed(item_id, [_merged(neighbor) for neighbor in of_both])


def _merged(neighbor: Neighbor) -> Answer:
    return Answer(neighbor.item_id, neighbor.calibrated_score, neighbor.modality)
