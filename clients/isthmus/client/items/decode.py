"""Answers to calls for storing, reading and deleting items, from the wire."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

from isthmus.client.chunking import Chunk
from isthmus.client.convert import modality_name, vector_rows
from isthmus.client.decode import timings_sum
from isthmus.client.inputs import AttributeValue
from isthmus.client.items.results import DeleteResult, EraseResult, GetResult, StoredItem, UpsertAck, UpsertSummary
from isthmus.client.results import ItemError
from isthmus.client.status import from_item_error
from isthmus.v1 import common_pb2, erasing_pb2, gateway_service_pb2

__all__ = ["delete_result", "erase_result", "get_result", "stored_item", "upsert_ack", "upsert_summary"]


def upsert_ack(
    chunk: Chunk[gateway_service_pb2.UpsertItem], response: gateway_service_pb2.UpsertItemsResponse
) -> UpsertAck:
    """Return the acknowledgement of one message."""
    errors: list[ItemError] = [
        from_item_error(error, index=chunk.indexes[error.index], item_id=chunk.entries[error.index].id)
        for error in response.errors
    ]
    return UpsertAck(
        request_id=response.request_id,
        revision=response.revision,
        items=len(chunk.entries) + len(chunk.refused),
        created=response.created_count,
        updated=response.updated_count,
        unchanged=response.unchanged_count,
        errors=tuple(sorted((*errors, *chunk.refused), key=lambda error: error.index)),
        truncated=tuple(chunk.entries[index].id for index in response.truncated_indexes),
        timings=timings_sum([response.timings]),
        collection=response.collection,
    )


def upsert_summary(acks: Sequence[UpsertAck]) -> UpsertSummary:
    """Return what the acknowledgements of one upsert come to."""
    return UpsertSummary(
        revision=max((ack.revision for ack in acks), default=0),
        items=sum(ack.items for ack in acks),
        created=sum(ack.created for ack in acks),
        updated=sum(ack.updated for ack in acks),
        unchanged=sum(ack.unchanged for ack in acks),
        errors=tuple(error for ack in acks for error in ack.errors),
        truncated=tuple(item_id for ack in acks for item_id in ack.truncated),
    )


def delete_result(responses: Sequence[gateway_service_pb2.DeleteItemsResponse]) -> DeleteResult:
    """Join the answers to the messages of one delete."""
    return DeleteResult(
        revision=max((response.revision for response in responses), default=0),
        deleted=sum(response.deleted_count for response in responses),
        collection=responses[-1].collection if responses else "",
    )


def erase_result(responses: Sequence[gateway_service_pb2.EraseItemsResponse]) -> EraseResult:
    """Join the answers to the messages of one erasure."""
    gaps = {gap: None for response in responses for gap in response.gaps}
    return EraseResult(
        revision=max((response.revision for response in responses), default=0),
        deleted=sum(response.deleted_count for response in responses),
        time=dt.datetime.fromtimestamp(max((r.time_micros for r in responses), default=0) / 1e6, dt.UTC),
        gaps=tuple(_gap_name(gap) for gap in sorted(gaps)),
    )


def _gap_name(gap: int) -> str:
    known = erasing_pb2.ErasureGap.DESCRIPTOR.values_by_number.get(gap)
    # A newer mesh knows places that this client does not.
    return f"gap_{gap}" if known is None else known.name.removeprefix("ERASURE_GAP_").lower()


def _attribute(value: common_pb2.AttributeValue) -> AttributeValue:
    kind = value.WhichOneof("kind")
    if kind is None:
        return ""
    found: AttributeValue = getattr(value, kind)
    return found


def stored_item(message: common_pb2.Item) -> StoredItem:
    """Return an item as it is stored."""
    return StoredItem(
        id=message.id,
        modality=modality_name(message.modality),
        attributes={name: _attribute(value) for name, value in sorted(message.attributes.items())},
        pair_key=message.pair_key,
        space=message.space,
        embedding=vector_rows(message.embedding)[0] if message.embedding.data else None,
        thumbnail=message.thumbnail,
        content_digest=message.content_digest,
        revision=message.revision,
        content_words=message.content_words,
    )


def get_result(responses: Sequence[gateway_service_pb2.GetItemsResponse]) -> GetResult:
    """Join the answers to the messages of one get."""
    return GetResult(
        items=tuple(stored_item(item) for response in responses for item in response.items),
        revision=min((response.revision for response in responses), default=0),
        collection=responses[-1].collection if responses else "",
    )
