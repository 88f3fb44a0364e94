"""What calls for storing, reading and deleting items send, and how their answers are read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from isthmus.client.channel import new_request_id
from isthmus.client.chunking import batches
from isthmus.client.items import decode
from isthmus.client.items.results import DeleteResult, EraseResult, GetResult
from isthmus.client.plan import Plan, Planner
from isthmus.v1 import gateway_service_pb2

__all__ = ["delete", "erase", "get_items"]

_IDS_MAX_COUNT: Final = 1000
"""Ids in one delete or get."""
_LARGE_ITEMS_MAX_COUNT: Final = 128
"""Ids in one get with embeddings or thumbnails: at their limits, 8 MiB of thumbnails and 4 MiB of vectors."""


def delete(planner: Planner, collection: str, ids: Sequence[str], *, request_id: str | None) -> Plan[DeleteResult]:
    """Plan a delete."""
    base = request_id or new_request_id()
    runs = list(batches(ids, size=_IDS_MAX_COUNT))

    def read(answers: Sequence[gateway_service_pb2.DeleteItemsResponse]) -> DeleteResult:
        result = decode.delete_result(answers)
        planner.revisions.wrote(collection, result.revision)
        return result

    return planner.plan(
        "DeleteItems",
        (
            gateway_service_pb2.DeleteItemsRequest(
                collection=collection,
                ids=run,
                # Each message is a mutation of its own.
                request_id=base if len(runs) == 1 else f"{base}-{number}",
            )
            for number, run in enumerate(runs)
        ),
        read,
    )


def erase(planner: Planner, collection: str, ids: Sequence[str], *, request_id: str | None) -> Plan[EraseResult]:
    """Plan an erasure."""
    base = request_id or new_request_id()
    runs = list(batches(ids, size=_IDS_MAX_COUNT))

    def read(answers: Sequence[gateway_service_pb2.EraseItemsResponse]) -> EraseResult:
        result = decode.erase_result(answers)
        planner.revisions.wrote(collection, result.revision)
        return result

    return planner.plan(
        "EraseItems",
        (
            gateway_service_pb2.EraseItemsRequest(
                collection=collection, ids=run, request_id=base if len(runs) == 1 else f"{base}-{number}"
            )
            for number, run in enumerate(runs)
        ),
        read,
    )


def get_items(
    planner: Planner,
    collection: str,
    ids: Sequence[str],
    *,
    include_embeddings: bool,
    include_thumbnails: bool,
    min_revision: int | None,
) -> Plan[GetResult]:
    """Plan a get."""
    large = include_embeddings or include_thumbnails
    return planner.plan(
        "GetItems",
        (
            gateway_service_pb2.GetItemsRequest(
                collection=collection,
                ids=run,
                include_embeddings=include_embeddings,
                include_thumbnails=include_thumbnails,
                min_revision=planner.revisions.least(collection, min_revision),
            )
            for run in batches(ids, size=_LARGE_ITEMS_MAX_COUNT if large else _IDS_MAX_COUNT)
        ),
        decode.get_result,
    )
