"""Search a split collection: ask its parts, merge what they found, choose answers as one searcher would."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Coroutine, Iterable, Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from isthmus.core.diversity import diverse_places
from isthmus.core.modality import Modality
from isthmus.runtime.base.answer_terms import AnswerTerms
from isthmus.runtime.base.errors import FailedPreconditionError, IsthmusError, NotFoundError, UnavailableError
from isthmus.runtime.rpc.answer_terms import answer_terms_of
from isthmus.runtime.rpc.codec import decode_vectors
from isthmus.runtime.rpc.sharded.merging import Found, Replies, first_of_each_key, merged
from isthmus.runtime.rpc.sharded.scatter import Hop, Scatter, disagreement
from isthmus.v1 import common_pb2, index_search_service_pb2

__all__ = ["search_parts"]

_ATTEMPTS: Final = 3
"""Times that a search begins anew because what it found was changed before it could be told."""
_CATCH_UP_S: Final = 0.2
"""What a part that is behind the others may take to reach their revision; then it answers as it is."""
_DEPTH_GROWTH: Final = 4
"""So many times as many candidates are fetched where those at hand make too few answers."""
_WITH_ITEMS_MAX_COUNT: Final = 256
"""Candidates of a modality, all queries together, that come with their items; those of more are fetched once chosen."""
_CANDIDATES_MAX_COUNT: Final = 65_536
"""Candidates of a modality, all queries together, that are asked for at a time; one query may need more."""
_VECTORS_MAX_COUNT: Final = 250
"""Vectors asked for at a time: 4 MiB at 4,096 components."""
_VECTORS_HELD_COUNT: Final = 4_096
_ITEMS_MAX_COUNT: Final = 1_000
_ORDER_BYTES: Final = 8

_Response = index_search_service_pb2.SearchResponse


class _ChangedError(Exception):
    """What a part found was changed before it could be told."""


async def search_parts(
    scatter: Scatter, request: index_search_service_pb2.SearchRequest, hop: Hop
) -> index_search_service_pb2.SearchResponse:
    """Answer a search from all parts, or from those that answer in time where the caller allows that.

    Parts are asked for one revision: those that are behind the newest are asked once more. One that does not catch up
    within 0.2 s answers as it is, and the answer names the least revision. Parts under different aligners are never
    merged.

    Raises:
        UnavailableError: SHARD_UNAVAILABLE; SHARDS_DISAGREE, parts are at different aligners, or change too fast.
        FailedPreconditionError: CURSOR_EXPIRED; as one searcher.
        IsthmusError: as one searcher.
    """
    started_s = time.monotonic()
    for _ in range(_ATTEMPTS):
        try:
            response = await _Search(scatter, request, hop).answer()
        except _ChangedError:
            continue
        response.timings.total_micros = int((time.monotonic() - started_s) * 1e6)
        return response
    msg = "items changed faster than they could be read"
    raise disagreement(msg)


class _Search:
    """One attempt at one search."""

    def __init__(self, scatter: Scatter, request: index_search_service_pb2.SearchRequest, hop: Hop) -> None:
        self._scatter = scatter
        self._request = request
        self._hop = hop
        self._terms: AnswerTerms = answer_terms_of(request)
        if request.keywords:
            msg = "keywords are not looked for where collections are split: how rare a word is, no part knows"
            raise FailedPreconditionError(msg, reason="SHARDED_UNSUPPORTED", metadata={"field": "keywords"})
        self._alive = list(scatter.numbers)
        self._align_micros = self._search_micros = 0

    async def answer(self) -> _Response:
        request, terms = self._request, self._terms
        picks = await self._picks(terms.depth(request.top_k + terms.offset))
        if terms.collapse_above is not None or terms.mmr_lambda is not None:
            picks = await self._diverse(picks)
        first = terms.offset
        answers = [pick.chosen(np.arange(first, min(first + request.top_k, len(pick)))) for pick in picks]
        order = _order(picks[-1].replies, self._scatter.count)
        if terms.expected_order and terms.expected_order != order:
            msg = "the collection has changed since the first page; search again without page_token"
            raise FailedPreconditionError(msg, reason="CURSOR_EXPIRED", metadata={"field": "page_token"})
        items = await self._items(answers)
        newest = picks[-1].replies.newest
        return _Response(
            results=[_neighbors(each, items) for each in answers],
            revision=min(pick.replies.revision for pick in picks),
            space=newest.space,
            collection=newest.collection,
            calibration=newest.calibration,
            order=order,
            timings=common_pb2.Timings(align_micros=self._align_micros, search_micros=self._search_micros),
            shards_answered=min(len(pick.replies.parts) for pick in picks),
            shards_total=self._scatter.count,
        )

    async def _picks(self, wanted: int) -> list[Found]:
        """Return what the answers to each query are chosen from: the loop of one searcher, over all parts."""
        grouped = self._terms.one_per_pair_key
        queries = self._queries()
        picks: dict[int, Found] = {}
        waiting, depth = list(range(len(queries) or 1)), wanted * (_DEPTH_GROWTH if grouped else 1)
        modality = None
        if len(queries):
            modality = Modality.IMAGE if self._request.modality == common_pb2.MODALITY_IMAGE else Modality.TEXT
        while waiting:
            short = []
            size = max(1, _CANDIDATES_MAX_COUNT // depth)
            for start in range(0, len(waiting), size):
                asked = waiting[start : start + size]
                replies = await self._ask(asked, queries, depth)
                for place, number in enumerate(asked):
                    found = merged(replies, place, len(asked), depth=depth, query=modality)
                    chosen = found.chosen(first_of_each_key(found.keys)) if grouped else found
                    if len(chosen) < wanted and len(found) == depth:
                        short.append(number)
                    else:
                        picks[number] = chosen.chosen(np.arange(min(wanted, len(chosen))))
            waiting, depth = short, depth * _DEPTH_GROWTH
        return [picks[number] for number in range(len(picks))]

    def _queries(self) -> list[bytes]:
        """Return the raw rows of the queries; none where one query is made of examples."""
        vectors = self._request.queries
        if self._request.examples or not vectors.dimension:
            return []
        size = vectors.dimension * (2 if vectors.type == common_pb2.VECTOR_TYPE_FLOAT16 else 4)
        # What is left over goes with the first row: the searcher says what is wrong with it.
        if len(vectors.data) % size or not vectors.data:
            return [vectors.data]
        return [vectors.data[start : start + size] for start in range(0, len(vectors.data), size)]

    async def _ask(self, asked: Sequence[int], queries: Sequence[bytes], depth: int) -> Replies:
        search = index_search_service_pb2.SearchRequest()
        search.CopyFrom(self._request)
        search.offset, search.expected_order, search.allow_partial = 0, b"", False
        if len(asked) < len(queries):
            search.queries.data = b"".join([queries[number] for number in asked])
            if search.own_ids:
                del search.own_ids[:]
                search.own_ids.extend(self._request.own_ids[number] for number in asked)
        basic = search.view == common_pb2.NEIGHBOR_VIEW_BASIC
        request = index_search_service_pb2.SearchShardRequest(
            search=search, depth=depth, items=basic or depth * len(asked) <= _WITH_ITEMS_MAX_COUNT
        )
        replies = await self._agreed(request)
        self._align_micros += max(reply.timings.align_micros for reply in replies.parts.values())
        self._search_micros += max(reply.timings.search_micros for reply in replies.parts.values())
        return replies

    async def _agreed(self, request: index_search_service_pb2.SearchShardRequest) -> Replies:
        """Return replies in one space, of one revision where that can be had soon."""
        replies = await self._first(request)
        newest = Replies(replies).newest
        behind = [number for number, reply in replies.items() if reply.revision < newest.revision]
        if behind:
            request.search.min_revision = newest.revision
            is_one_space = all(_space(reply) == _space(newest) for reply in replies.values())
            patience_s = min(_CATCH_UP_S, self._hop.patience_s()) if is_one_space else self._hop.patience_s()
            again, _ = await self._scatter.some(
                "SearchShard", self._scatter.addressed(request, behind), self._hop, patience_s=patience_s
            )
            replies.update(again)
        newest = Replies(replies).newest
        fitting = {number: reply for number, reply in replies.items() if _space(reply) == _space(newest)}
        if len(fitting) < len(replies):
            if not self._request.allow_partial:
                msg = "the parts of the collection are at different aligners"
                raise disagreement(msg)
            self._alive = list(fitting)
        return Replies(fitting)

    async def _first(
        self, request: index_search_service_pb2.SearchShardRequest
    ) -> dict[int, index_search_service_pb2.SearchShardResponse]:
        requests = self._scatter.addressed(request, self._alive)
        if not self._request.allow_partial:
            return await self._scatter.all("SearchShard", requests, self._hop)
        replies, missing = await self._scatter.some(
            "SearchShard", requests, self._hop, patience_s=self._hop.patience_s()
        )
        if not replies:
            # A part that knows nothing of the collection says more than one that is not there.
            raise min(missing.values(), key=lambda error: not isinstance(error, NotFoundError))
        self._alive = list(replies)
        return replies

    async def _diverse(self, picks: Sequence[Found]) -> list[Found]:
        """Leave out near-duplicates and order by diversity, for which the vectors of candidates are fetched."""
        chosen: list[Found] = []
        while len(chosen) < len(picks):
            group = [picks[len(chosen)]]
            while len(chosen) + len(group) < len(picks) and sum(map(len, group)) < _VECTORS_HELD_COUNT:
                group.append(picks[len(chosen) + len(group)])
            units = await self._units(group)
            for pick in group:
                rows = np.stack([units[item_id] for item_id in pick.ids]) if len(pick) else np.empty((0, 0), np.float32)
                places = diverse_places(
                    rows,
                    pick.kinds,
                    pick.merge_scores,
                    collapse_above=self._terms.collapse_above,
                    mmr_lambda=self._terms.mmr_lambda,
                    count=self._request.top_k,
                )
                chosen.append(pick.chosen(places))
        return chosen

    async def _units(self, picks: Sequence[Found]) -> dict[str, NDArray[np.float32]]:
        wanted: dict[int, dict[str, Replies]] = {}
        for pick in picks:
            for item_id, number in zip(pick.ids, pick.shards.tolist(), strict=True):
                wanted.setdefault(number, {})[item_id] = pick.replies
        units: dict[str, NDArray[np.float32]] = {}

        async def fetch(number: int, ids: Sequence[str]) -> None:
            answer: index_search_service_pb2.GetShardVectorsResponse = await self._fetch(
                number,
                "GetShardVectors",
                index_search_service_pb2.GetShardVectorsRequest(
                    collection=self._request.collection, shard=self._scatter.shard(number), ids=ids
                ),
            )
            if len(answer.ids) != len(ids):
                raise _ChangedError
            for item_id, revision in zip(ids, answer.item_revisions, strict=True):
                reply = wanted[number][item_id].parts[number]
                if revision > reply.revision or answer.space != reply.space:
                    raise _ChangedError
            rows = decode_vectors(answer.vectors, field="vectors", max_rows=len(ids))
            units.update(zip(ids, rows, strict=True))

        await _side_by_side(
            fetch(number, ids) for number, known in wanted.items() for ids in _pieces(list(known), _VECTORS_MAX_COUNT)
        )
        return units

    async def _items(self, answers: Sequence[Found]) -> dict[str, common_pb2.Item]:
        """Return the items of the answers that came without."""
        wanted: dict[int, dict[str, int]] = {}
        for answer in answers:
            for item_id, number, item in zip(answer.ids, answer.shards.tolist(), answer.items, strict=True):
                if item is None:
                    wanted.setdefault(number, {})[item_id] = answer.replies.parts[number].revision
        items: dict[str, common_pb2.Item] = {}

        async def fetch(number: int, ids: Sequence[str]) -> None:
            request = index_search_service_pb2.IndexSearchServiceGetItemsRequest(
                collection=self._request.collection, ids=ids, shard=self._scatter.shard(number)
            )
            answer: index_search_service_pb2.IndexSearchServiceGetItemsResponse = await self._fetch(
                number, "GetItems", request
            )
            if len(answer.items) != len(ids):
                raise _ChangedError
            for item in answer.items:
                if item.revision > wanted[number][item.id]:
                    raise _ChangedError
                items[item.id] = item

        await _side_by_side(
            fetch(number, ids) for number, known in wanted.items() for ids in _pieces(list(known), _ITEMS_MAX_COUNT)
        )
        return items

    async def _fetch(self, number: int, method: str, request: object) -> Any:
        """Ask a part for more of what it has found."""
        try:
            return await self._scatter.one(number, method, request, self._hop)
        except IsthmusError as error:
            # Where the others' answers will do, the search begins anew, and finds out who is there.
            if self._request.allow_partial and isinstance(error, UnavailableError):
                raise _ChangedError from error
            raise


def _space(reply: index_search_service_pb2.SearchShardResponse) -> tuple[str, str]:
    return reply.uid, reply.space


def _order(replies: Replies, count: int) -> bytes:
    """Return 8 bytes that fix the order of the whole: those of the parts where they agree and are all there."""
    orders = {number: replies.parts[number].order for number in sorted(replies.parts)}
    if len(orders) == count and len(set(orders.values())) == 1:
        return next(iter(orders.values()))
    return hashlib.sha256(repr(orders).encode()).digest()[:_ORDER_BYTES]


def _neighbors(found: Found, items: Mapping[str, common_pb2.Item]) -> index_search_service_pb2.NeighborList:
    scores = found.scores if found.replies.newest.unbounded_scores else np.clip(found.scores, -1.0, 1.0)
    probabilities = [None] * len(found) if found.probabilities is None else found.probabilities.tolist()
    return index_search_service_pb2.NeighborList(
        neighbors=[
            common_pb2.Neighbor(
                item=items[item_id] if item is None else item,
                score=score,
                calibrated_score=merge_score,
                probability=probability,
            )
            for item_id, item, score, merge_score, probability in zip(
                found.ids, found.items, scores.tolist(), found.merge_scores.tolist(), probabilities, strict=True
            )
        ]
    )


def _pieces(ids: Sequence[str], size: int) -> list[Sequence[str]]:
    return [ids[start : start + size] for start in range(0, len(ids), size)]


async def _side_by_side(work: Iterable[Coroutine[Any, Any, None]]) -> None:
    try:
        async with asyncio.TaskGroup() as group:
            for part in work:
                group.create_task(part)
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from failures
