"""Short ways to call a gateway in tests."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import grpc
import numpy as np
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from isthmus.v1 import common_pb2, errors_pb2, gateway_service_pb2
from tests.unit.gateway.mesh import GatewayMesh

__all__ = [
    "IMAGE_SPACE",
    "TEXT_SPACE",
    "counts",
    "create",
    "get",
    "image_item",
    "item_reasons",
    "refusal",
    "request",
    "search",
    "spaced",
    "stored_row",
    "text_item",
    "upsert",
    "vector_item",
]

IMAGE_SPACE = "dummy-image@0000000000000001"
TEXT_SPACE = "dummy-text@0000000000000001"


async def create(mesh: GatewayMesh, name: str, **settings: Any) -> common_pb2.Collection:
    """Create a collection."""
    message = gateway_service_pb2.CreateCollectionRequest(name=name, request_id=f"create-{name}", **settings)
    return (await mesh.stub.CreateCollection(message, timeout=10)).collection


def text_item(item_id: str, text: str, **more: Any) -> gateway_service_pb2.UpsertItem:
    """Return a text to store."""
    return gateway_service_pb2.UpsertItem(id=item_id, text=text, **more)


def image_item(item_id: str, data: bytes, **more: Any) -> gateway_service_pb2.UpsertItem:
    """Return an image to store."""
    return gateway_service_pb2.UpsertItem(id=item_id, image=data, **more)


def spaced(
    values: Sequence[float],
    *,
    space: str = TEXT_SPACE,
    modality: common_pb2.Modality.ValueType = common_pb2.MODALITY_TEXT,
) -> gateway_service_pb2.SpacedVector:
    """Return a vector with its space."""
    data = np.asarray(values, dtype="<f4").tobytes()
    return gateway_service_pb2.SpacedVector(
        vector=common_pb2.Vectors(data=data, dimension=len(values)), modality=modality, space=space
    )


def vector_item(item_id: str, values: Sequence[float], **more: Any) -> gateway_service_pb2.UpsertItem:
    """Return a vector to store."""
    return gateway_service_pb2.UpsertItem(id=item_id, vector=spaced(values, **more))


def request(
    request_id: str, items: Iterable[gateway_service_pb2.UpsertItem], *, collection: str = "things", **more: Any
) -> gateway_service_pb2.UpsertItemsRequest:
    """Return one mutation."""
    return gateway_service_pb2.UpsertItemsRequest(
        collection=collection, items=list(items), request_id=request_id, **more
    )


async def upsert(
    mesh: GatewayMesh, *requests: gateway_service_pb2.UpsertItemsRequest
) -> list[gateway_service_pb2.UpsertItemsResponse]:
    """Send mutations on one stream and return their acknowledgements."""
    return [ack async for ack in mesh.stub.UpsertItems(iter(requests), timeout=30)]


async def search(mesh: GatewayMesh, **query: Any) -> gateway_service_pb2.SearchItemsResponse:
    """Search the collection `things`."""
    message = gateway_service_pb2.SearchItemsRequest(**{"collection": "things", **query})
    return await mesh.stub.SearchItems(message, timeout=10)


async def get(mesh: GatewayMesh, *ids: str, collection: str = "things", revision: int = 0) -> list[common_pb2.Item]:
    """Return items with their embeddings."""
    message = gateway_service_pb2.GetItemsRequest(
        collection=collection, ids=ids, include_embeddings=True, min_revision=revision
    )
    return list((await mesh.stub.GetItems(message, timeout=10)).items)


def stored_row(item: common_pb2.Item) -> bytes:
    """Return the embedding of a stored item as float16."""
    half = item.embedding.type == common_pb2.VECTOR_TYPE_FLOAT16
    return np.frombuffer(item.embedding.data, dtype="<f2" if half else "<f4").astype("<f2").tobytes()


def counts(ack: gateway_service_pb2.UpsertItemsResponse) -> tuple[int, int, int]:
    """Return created, updated and unchanged."""
    return ack.created_count, ack.updated_count, ack.unchanged_count


def item_reasons(errors: Iterable[common_pb2.ItemError]) -> dict[int, str]:
    """Return the reason of each item's error, by position."""
    return {error.index: errors_pb2.ErrorReason.Name(error.reason).removeprefix("ERROR_REASON_") for error in errors}


def refusal(error: grpc.aio.AioRpcError) -> tuple[grpc.StatusCode, str, dict[str, str]]:
    """Return code, reason and metadata of a refused call."""
    status = rpc_status.from_call(error)  # type: ignore[arg-type]  # typed for the blocking API only
    info = error_details_pb2.ErrorInfo()
    assert status is not None
    assert status.details[0].Unpack(info)
    return error.code(), info.reason, dict(info.metadata)
