"""A stub of `IndexSearchService` that stands for all groups of searchers."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NoReturn, cast

import grpc

from isthmus.runtime.base.errors import FailedPreconditionError, IsthmusError, ResourceExhaustedError
from isthmus.runtime.base.limits import INTERNAL_RECEIVE_MAX_BYTES, LABELS_MAX_COUNT, UPSERT_MAX_COUNT
from isthmus.runtime.base.names import check_count
from isthmus.runtime.base.shards import SHARDS_MAX_COUNT, shard_of
from isthmus.runtime.rpc.sharded.reading import PartReads, merged_collection, one_name
from isthmus.runtime.rpc.sharded.scatter import Hop, Scatter
from isthmus.runtime.rpc.sharded.searching import search_parts
from isthmus.v1 import index_search_service_pb2 as pb
from isthmus.v1.index_search_service_pb2_grpc import IndexSearchServiceStub

if TYPE_CHECKING:
    from isthmus.v1.index_search_service_pb2_grpc import IndexSearchServiceAsyncStub

__all__ = ["ShardedSearchStub", "search_stub", "split_addresses"]


def split_addresses(text: str) -> tuple[str, ...]:
    """Return the addresses of the groups of searchers, in the order of their shard numbers.

    Raises:
        ValueError: there is none, an empty one, or more than 64.
    """
    addresses = tuple(part.strip() for part in text.split(","))
    if not all(addresses) or len(addresses) > SHARDS_MAX_COUNT:
        msg = f"index_search_address must be 1 to {SHARDS_MAX_COUNT} addresses, separated by commas"
        raise ValueError(msg)
    return addresses


def search_stub(channels: Sequence[grpc.aio.Channel]) -> IndexSearchServiceAsyncStub:
    """Return what `IndexSearchService` is asked through.

    Args:
        channels: To each group of searchers, in the order of their shard numbers; one holds everything.
    """
    if len(channels) == 1:
        return IndexSearchServiceStub(channels[0])
    # It has the methods and is called alike; what it returns only has what callers of ours use.
    return cast("IndexSearchServiceAsyncStub", ShardedSearchStub(channels))


class ShardedSearchStub:
    """Asks every group, and answers as one searcher of the whole would.

    Methods are called as those of the generated stub, and raise `IsthmusError`.

    Args:
        channels: To each group, in the order of their shard numbers.
    """

    def __init__(self, channels: Sequence[grpc.aio.Channel]) -> None:
        self._scatter = Scatter(channels)
        self._turns = itertools.count()

    async def Search(self, request: pb.SearchRequest, **options: Any) -> pb.SearchResponse:
        """Search all parts, or those that are there; see `search_parts`."""
        response = await search_parts(self._scatter, request, Hop.of(**options))
        _check_size(response.ByteSize())
        return response

    async def GetItems(
        self, request: pb.IndexSearchServiceGetItemsRequest, **options: Any
    ) -> pb.IndexSearchServiceGetItemsResponse:
        """Get items from the parts that hold them; the others need not be there."""
        check_count(request.ids, field="ids", limit=UPSERT_MAX_COUNT)
        holders = [shard_of(item_id, self._scatter.count) for item_id in request.ids]
        requests = self._scatter.addressed(request, sorted(set(holders)))
        for number, own in requests.items():
            del own.ids[:]
            own.ids.extend(item_id for item_id, holder in zip(request.ids, holders, strict=True) if holder == number)
        answers = await self._scatter.all("GetItems", requests, Hop.of(**options))
        found = {item.id: item for answer in answers.values() for item in answer.items}
        response = pb.IndexSearchServiceGetItemsResponse(
            items=[found[item_id] for item_id in request.ids if item_id in found],
            revision=min(answer.revision for answer in answers.values()),
            collection=one_name(answer.collection for answer in answers.values()),
        )
        _check_size(response.ByteSize())
        return response

    async def MatchPairs(
        self, request: pb.IndexSearchServiceMatchPairsRequest, **options: Any
    ) -> pb.IndexSearchServiceMatchPairsResponse:
        """Judge pairs at any part: aligner and fitted calibration are the same in all."""
        hop, first = Hop.of(**options), next(self._turns)
        failure: IsthmusError | None = None
        for step in range(self._scatter.count):
            number = (first + step) % self._scatter.count
            own = self._scatter.addressed(request, [number])[number]
            try:
                answer: pb.IndexSearchServiceMatchPairsResponse = await self._scatter.one(
                    number, "MatchPairs", own, hop
                )
            except IsthmusError as error:
                if error.reason != "SHARD_UNAVAILABLE":
                    raise
                failure = error
            else:
                return answer
        assert failure is not None
        raise failure

    async def GetShadowReport(
        self, request: pb.IndexSearchServiceGetShadowReportRequest, **options: Any
    ) -> pb.IndexSearchServiceGetShadowReportResponse:
        """Refuse: what a shadow changes in the answers of a part says little of those of the whole.

        Raises:
            FailedPreconditionError: SHARDED_UNSUPPORTED.
        """
        del request, options
        _refuse("a shadow aligner is not compared")

    async def GetStructures(self, request: pb.GetStructuresRequest, **options: Any) -> pb.GetStructuresResponse:
        """Refuse: each part has structures of its own.

        Raises:
            FailedPreconditionError: SHARDED_UNSUPPORTED.
        """
        del request, options
        _refuse("structures are not told")

    async def CompareCollections(
        self, request: pb.CompareCollectionsRequest, **options: Any
    ) -> pb.CompareCollectionsResponse:
        """Refuse: a part's answers to the probe of an alias say little of those of the whole.

        Raises:
            FailedPreconditionError: SHARDED_UNSUPPORTED.
        """
        del request, options
        _refuse("collections are not compared")

    async def ForgetErased(self, request: pb.ForgetErasedRequest, **options: Any) -> pb.ForgetErasedResponse:
        """Have every part remove its cache files; what they hold is of no matter, so neither is which part it is."""
        requests = dict.fromkeys(self._scatter.numbers, request)
        answers = await self._scatter.all("ForgetErased", requests, Hop.of(**options))
        return pb.ForgetErasedResponse(removed=all(answer.removed for answer in answers.values()))

    def BackupCollection(self, request: pb.IndexSearchServiceBackupCollectionRequest, **options: Any) -> Any:
        """Have any group copy the collection: each reads the whole store, whatever it holds of it."""
        return self._scatter.stubs[next(self._turns) % self._scatter.count].BackupCollection(request, **options)

    def ReadItems(self, request: pb.ReadItemsRequest, **options: Any) -> PartReads:
        """Stream the items of all parts as one searcher would."""
        return PartReads(self._scatter, request, Hop.of(**options))

    async def ListValues(self, request: pb.ListValuesRequest, **options: Any) -> pb.ListValuesResponse:
        """List the values that any part knows."""
        requests = self._scatter.addressed(request, self._scatter.numbers)
        answers = await self._scatter.all("ListValues", requests, Hop.of(**options))
        values = sorted({value for answer in answers.values() for value in answer.values})
        if len(values) > LABELS_MAX_COUNT:
            msg = f"the attribute has {len(values)} different values; the limit is {LABELS_MAX_COUNT}"
            raise ResourceExhaustedError(
                msg, reason="LIMIT_EXCEEDED", metadata={"field": "attribute", "limit": str(LABELS_MAX_COUNT)}
            )
        collection = merged_collection([answer.collection for answer in answers.values()])
        return pb.ListValuesResponse(values=values, collection=collection)

    async def ListFollowed(self, request: pb.ListFollowedRequest, **options: Any) -> pb.ListFollowedResponse:
        """List the collections that every part has loaded."""
        requests = self._scatter.addressed(request, self._scatter.numbers)
        answers = await self._scatter.all("ListFollowed", requests, Hop.of(**options))
        by_key: dict[tuple[str, str, str], list[pb.FollowedCollection]] = {}
        for answer in answers.values():
            for one in answer.collections:
                by_key.setdefault((one.tenant, one.name, one.uid), []).append(one)
        whole = []
        for _, parts in sorted(by_key.items()):
            if len(parts) == self._scatter.count:
                together = pb.FollowedCollection()
                together.CopyFrom(max(parts, key=lambda one: one.revision))
                together.revision = min(one.revision for one in parts)
                together.item_count = sum(one.item_count for one in parts)
                together.changed_count = sum(one.changed_count for one in parts)
                whole.append(together)
        return pb.ListFollowedResponse(collections=whole)


def _refuse(what: str) -> NoReturn:
    msg = f"{what} where collections are split"
    raise FailedPreconditionError(msg, reason="SHARDED_UNSUPPORTED")


def _check_size(size: int) -> None:
    if size > INTERNAL_RECEIVE_MAX_BYTES:
        msg = f"the answer has {size} bytes; the limit is {INTERNAL_RECEIVE_MAX_BYTES}: ask for less at a time"
        metadata = {"limit": str(INTERNAL_RECEIVE_MAX_BYTES), "bytes": str(size)}
        raise ResourceExhaustedError(msg, reason="MESSAGE_TOO_LARGE", metadata=metadata)
