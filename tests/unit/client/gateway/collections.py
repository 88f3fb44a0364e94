"""Collections of the small gateway."""

from __future__ import annotations

from typing import Any

from isthmus.runtime.base.errors import AlreadyExistsError
from isthmus.v1 import common_pb2, gateway_service_pb2
from tests.unit.client.gateway.content import ALIGNER, DIMENSION, IMAGE_SPACE, TEXT_SPACE
from tests.unit.client.gateway.script import Script

_STRUCTURE = common_pb2.Structure(
    modality=common_pb2.MODALITY_IMAGE,
    state=common_pb2.STRUCTURE_STATE_READY,
    kind=common_pb2.INDEX_KIND_IVF_SQ8,
    recall=0.9625,
    cross_modal=True,
    probes=8,
    shortlist=128,
    item_count=200_000,
    memory_bytes=104_857_600,
    limit_bytes=1 << 30,
    served=common_pb2.ServedRecall(
        recall=0.925, target=0.95, query_count=100, real=True, revision=1, time_micros=1_700_000_000_000_000
    ),
)
_REFUSED = common_pb2.Structure(
    modality=common_pb2.MODALITY_TEXT,
    state=common_pb2.STRUCTURE_STATE_OVER_BUDGET,
    kind=common_pb2.INDEX_KIND_IVF_PQ,
    needed_bytes=2 << 30,
    limit_bytes=1 << 30,
)


class Collections(Script):
    """Answers about collections."""

    async def CreateCollection(self, request: gateway_service_pb2.CreateCollectionRequest, _context: Any) -> Any:
        """Create, or say that it is there."""
        await self._enter("CreateCollection", request)
        if request.name in self.collections:
            msg = "the collection is there already"
            raise AlreadyExistsError(msg, reason="COLLECTION_EXISTS", metadata={"field": "name"})
        both = not request.image_space and not request.text_space
        collection = common_pb2.Collection(
            name=request.name,
            image_space=IMAGE_SPACE if both else request.image_space,
            text_space=TEXT_SPACE if both else request.text_space,
            image_dimension=DIMENSION if both else request.image_dimension,
            text_dimension=DIMENSION if both else request.text_dimension,
            aligner=request.aligner or ALIGNER,
            guard=request.guard,
            store_thumbnails=request.store_thumbnails,
            keyword_search=request.keyword_search,
            revision=1,
            index=request.index,
            structures=[_STRUCTURE, _REFUSED] if request.index else [],
        )
        self.collections[request.name] = collection
        return gateway_service_pb2.CreateCollectionResponse(collection=collection)

    async def GetCollection(self, request: gateway_service_pb2.GetCollectionRequest, _context: Any) -> Any:
        """Return one."""
        await self._enter("GetCollection", request)
        return gateway_service_pb2.GetCollectionResponse(collection=self._collection(request.name))

    async def ListCollections(self, request: gateway_service_pb2.ListCollectionsRequest, _context: Any) -> Any:
        """Return all by name."""
        await self._enter("ListCollections", request)
        return gateway_service_pb2.ListCollectionsResponse(
            collections=[self.collections[name] for name in sorted(self.collections)]
        )

    async def DeleteCollection(self, request: gateway_service_pb2.DeleteCollectionRequest, _context: Any) -> Any:
        """Delete one."""
        await self._enter("DeleteCollection", request)
        self._collection(request.name)
        del self.collections[request.name]
        self.items.pop(request.name, None)
        return gateway_service_pb2.DeleteCollectionResponse()
