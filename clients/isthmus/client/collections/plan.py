"""What calls for collections send, and how their answers are read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from isthmus.client.channel import new_request_id
from isthmus.client.collections import decode
from isthmus.client.collections.results import Collection, IndexKind
from isthmus.client.inputs import GuardLimits
from isthmus.client.plan import Plan, Planner
from isthmus.v1 import common_pb2, gateway_service_pb2

__all__ = ["create_collection", "delete_collection", "get_collection", "list_collections", "written"]


def create_collection(
    planner: Planner,
    name: str,
    *,
    image_space: str,
    text_space: str,
    image_dimension: int,
    text_dimension: int,
    aligner: str,
    store_thumbnails: bool,
    index: IndexKind | None,
    guard: GuardLimits | None,
    keyword_search: bool,
    request_id: str | None,
) -> Plan[Collection]:
    """Plan the creation of a collection; raise ValueError when `index` is no kind that there is."""
    if index is not None and index not in decode.KIND_NUMBERS:
        msg = f"index is {index!r}; it may be None or one of {', '.join(decode.KIND_NUMBERS)}"
        raise ValueError(msg)
    request = gateway_service_pb2.CreateCollectionRequest(
        name=name,
        image_space=image_space,
        text_space=text_space,
        image_dimension=image_dimension,
        text_dimension=text_dimension,
        aligner=aligner,
        store_thumbnails=store_thumbnails,
        index=common_pb2.INDEX_KIND_UNSPECIFIED if index is None else decode.KIND_NUMBERS[index],
        guard=None if guard is None else common_pb2.GuardLimits(**asdict(guard)),
        keyword_search=keyword_search,
        request_id=request_id or new_request_id(),
    )

    def read(answers: Sequence[gateway_service_pb2.CreateCollectionResponse]) -> Collection:
        planner.revisions.forget(name)
        return written(planner, decode.collection(answers[0].collection))

    return planner.plan("CreateCollection", [request], read)


def get_collection(planner: Planner, name: str) -> Plan[Collection]:
    """Plan the look-up of a collection."""
    return planner.plan(
        "GetCollection",
        [gateway_service_pb2.GetCollectionRequest(name=name)],
        lambda answers: decode.collection(answers[0].collection),
    )


def list_collections(planner: Planner) -> Plan[tuple[Collection, ...]]:
    """Plan the list of collections."""
    return planner.plan(
        "ListCollections",
        [gateway_service_pb2.ListCollectionsRequest()],
        lambda answers: tuple(decode.collection(found) for found in answers[0].collections),
    )


def delete_collection(planner: Planner, name: str, *, request_id: str | None) -> Plan[None]:
    """Plan the end of a collection."""
    request = gateway_service_pb2.DeleteCollectionRequest(name=name, request_id=request_id or new_request_id())
    return planner.plan("DeleteCollection", [request], lambda _: planner.revisions.forget(name))


def written(planner: Planner, collection: Collection) -> Collection:
    """Return a collection, and remember that this client wrote it."""
    planner.revisions.wrote(collection.name, collection.revision)
    return collection
