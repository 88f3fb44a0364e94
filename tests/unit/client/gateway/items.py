"""Embedding, storing, getting and searching."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from isthmus.gateway.messages import attribute_values
from isthmus.runtime.base.errors import NotFoundError
from isthmus.runtime.rpc.codec import decode_vectors, encode_vectors
from isthmus.runtime.rpc.filters import filter_of
from isthmus.runtime.rpc.status import item_error
from isthmus.v1 import common_pb2, erasing_pb2, gateway_service_pb2
from tests.unit.client.gateway.content import (
    ALIGNER,
    DIMENSION,
    IMAGE_SPACE,
    SPACES,
    TEXT_SPACE,
    content_of,
    embedding,
    refusal,
)
from tests.unit.client.gateway.script import Script
from tests.unit.index.filter_model import holds


def _example(example: gateway_service_pb2.Example, stored: Any) -> NDArray[np.float32]:
    row: NDArray[np.float32]
    if example.HasField("item_id"):
        row = stored[example.item_id][1]
        return row
    if example.HasField("vector"):
        row = decode_vectors(example.vector.vector, field="vector", max_rows=1)[0]
        return row
    return embedding(example.image if example.HasField("image") else example.text.encode())


def _query(request: gateway_service_pb2.SearchItemsRequest, stored: Any) -> NDArray[np.float32]:
    """Return the vector that is searched; zeros where there are only words."""
    query = request.WhichOneof("query")
    row: NDArray[np.float32]
    if query == "examples":
        examples = request.examples.examples
        row = np.sum([each.weight * _example(each, stored) for each in examples], axis=0, dtype=np.float32)
    elif query == "item_id" and request.item_id in stored:
        row = stored[request.item_id][1]
    elif query == "vector":
        row = decode_vectors(request.vector.vector, field="query.vector", max_rows=1)[0]
    elif query in ("text", "image"):
        row = embedding(request.image if query == "image" else request.text.encode())
    elif query is None and request.keywords:
        row = np.zeros(DIMENSION, dtype=np.float32)
    else:
        msg = "there is no such item"
        raise NotFoundError(msg, reason="ITEM_NOT_FOUND", metadata={"field": "query.item_id"})
    return row


def _held(keywords: str, items: list[common_pb2.Item]) -> dict[str, float]:
    """Return how many of the words each item's attribute `text` holds, by id."""
    words = keywords.casefold().split()
    return {
        item.id: float(sum(word in item.attributes["text"].string_value.casefold().split() for word in words))
        for item in items
        if "text" in item.attributes
    }


class Items(Script):
    """Answers about items."""

    async def Embed(self, request: gateway_service_pb2.EmbedRequest, _context: Any) -> Any:
        """Embed by digest; the image `BROKEN_IMAGE` and blank texts are refused, texts over 20 characters are cut."""
        await self._enter("Embed", request)
        response = gateway_service_pb2.EmbedResponse()
        rows: dict[str, list[tuple[int, NDArray[np.float32]]]] = {"image": [], "text": []}
        for index, given in enumerate(request.inputs):
            content = given.image if given.HasField("image") else given.text.encode()
            if error := refusal(given.HasField("image"), content):
                response.errors.append(item_error(index, error))
                continue
            if given.HasField("text") and len(given.text) > 20:
                response.truncated_indexes.append(index)
            rows["image" if given.HasField("image") else "text"].append((index, embedding(content)))
        for name, batch, space in (
            ("image", response.image_embeddings, IMAGE_SPACE),
            ("text", response.text_embeddings, TEXT_SPACE),
        ):
            if rows[name]:
                batch.space = request.aligner or space
                batch.input_indexes.extend(index for index, _ in rows[name])
                batch.vectors.CopyFrom(encode_vectors(np.stack([row for _, row in rows[name]]), half=True))
        response.timings.total_micros = 100
        response.timings.cache_misses = len(request.inputs)
        return response

    async def UpsertItems(
        self, request_iterator: AsyncIterator[gateway_service_pb2.UpsertItemsRequest], _context: Any
    ) -> AsyncIterator[gateway_service_pb2.UpsertItemsResponse]:
        """Apply messages in order, each once by its request id."""
        self.calls["UpsertItems"] += 1
        async for request in request_iterator:
            self.requests["UpsertItems"].append(request)
            await asyncio.sleep(self.delay_s.get("UpsertItems", 0))
            if self.apply_before_failing:
                self._apply(request)
            self._fail("UpsertItems")
            yield self._apply(request)

    def _apply(self, request: gateway_service_pb2.UpsertItemsRequest) -> gateway_service_pb2.UpsertItemsResponse:
        if request.request_id in self._answers:
            return self._answers[request.request_id]
        collection = self._collection(request.collection)
        collection.revision += 1
        response = gateway_service_pb2.UpsertItemsResponse(request_id=request.request_id, revision=collection.revision)
        stored = self.items[request.collection]
        for index, given in enumerate(request.items):
            modality, content, vector = content_of(given)
            if error := refusal(modality == common_pb2.MODALITY_IMAGE and not given.HasField("vector"), content):
                response.errors.append(item_error(index, error))
                continue
            digest = hashlib.sha256(content).digest()
            item = common_pb2.Item(
                id=given.id,
                modality=modality,
                attributes=given.attributes,
                pair_key=given.pair_key,
                space=given.vector.space or SPACES[modality],
                thumbnail=given.thumbnail,
                content_digest=digest,
            )
            old = stored.get(given.id)
            if old is not None:
                item.revision = old[0].revision
            if old is None:
                response.created_count += 1
            elif old[0] == item:
                response.unchanged_count += 1
                continue
            else:
                response.updated_count += 1
            if given.HasField("text") and len(given.text) > 20:
                response.truncated_indexes.append(index)
            item.revision = collection.revision
            stored[given.id] = (item, vector)
        collection.image_count = sum(i.modality == common_pb2.MODALITY_IMAGE for i, _ in stored.values())
        collection.text_count = len(stored) - collection.image_count
        self.applied.append(request.request_id)
        self._answers[request.request_id] = response
        return response

    async def DeleteItems(self, request: gateway_service_pb2.DeleteItemsRequest, _context: Any) -> Any:
        """Delete what is there."""
        await self._enter("DeleteItems", request)
        collection = self._collection(request.collection)
        collection.revision += 1
        gone = [item_id for item_id in request.ids if self.items[request.collection].pop(item_id, None)]
        return gateway_service_pb2.DeleteItemsResponse(revision=collection.revision, deleted_count=len(gone))

    async def EraseItems(self, request: gateway_service_pb2.EraseItemsRequest, _context: Any) -> Any:
        """Delete what is there, and say so as if nothing were left of it."""
        await self._enter("EraseItems", request)
        collection = self._collection(request.collection)
        collection.revision += 1
        gone = [item_id for item_id in request.ids if self.items[request.collection].pop(item_id, None)]
        return gateway_service_pb2.EraseItemsResponse(
            revision=collection.revision,
            deleted_count=len(gone),
            time_micros=1_700_000_000_000_000,
            gaps=[erasing_pb2.ERASURE_GAP_BACKUPS, cast("Any", 77)],
        )

    async def GetItems(self, request: gateway_service_pb2.GetItemsRequest, _context: Any) -> Any:
        """Return what is there, in the order asked."""
        await self._enter("GetItems", request)
        collection = self._collection(request.collection)
        response = gateway_service_pb2.GetItemsResponse(revision=collection.revision)
        for item_id in request.ids:
            if item_id in self.items[request.collection]:
                item, vector = self.items[request.collection][item_id]
                shown = response.items.add()
                shown.CopyFrom(item)
                if request.include_embeddings:
                    shown.embedding.CopyFrom(encode_vectors(vector[None], half=True))
                if not request.include_thumbnails:
                    shown.ClearField("thumbnail")
        return response

    async def BatchSearchItems(self, request: gateway_service_pb2.BatchSearchItemsRequest, _context: Any) -> Any:
        """Answer each query as a search by itself; the image `BROKEN_IMAGE` and blank texts are refused."""
        await self._enter("BatchSearchItems", request)
        response = gateway_service_pb2.BatchSearchItemsResponse()
        for index, query in enumerate(request.queries):
            content = query.image if query.HasField("image") else query.text.encode()
            if content and (error := refusal(query.HasField("image"), content)):
                response.errors.append(item_error(index, error))
                continue
            one = gateway_service_pb2.SearchItemsRequest(
                collection=request.collection, top_k=request.top_k, modality=request.modality, group_by=request.group_by
            )
            kind = query.WhichOneof("query")
            if kind == "vector":
                one.vector.CopyFrom(query.vector)
            elif kind is not None:
                setattr(one, kind, getattr(query, kind))
            if request.HasField("filter"):
                one.filter.CopyFrom(request.filter)
            try:
                found = await self._answer(one)
            except NotFoundError as error:
                response.errors.append(item_error(index, error))
                continue
            response.results.add(index=index, neighbors=found.neighbors, space=found.space, truncated=found.truncated)
            response.revision, response.calibration = found.revision, found.calibration
            response.timings.total_micros += found.timings.total_micros
        return response

    async def SearchItems(self, request: gateway_service_pb2.SearchItemsRequest, _context: Any) -> Any:
        """Rank by cosine everything that the filter holds for."""
        await self._enter("SearchItems", request)
        return await self._answer(request)

    async def _answer(self, request: gateway_service_pb2.SearchItemsRequest) -> gateway_service_pb2.SearchItemsResponse:
        collection = self._collection(request.collection)
        stored = self.items[request.collection]
        query = _query(request, stored)
        own_ids = {request.item_id, *(example.item_id for example in request.examples.examples)}
        wanted = [
            (float(vector @ query), item)
            for item, vector in stored.values()
            if request.modality in (common_pb2.MODALITY_UNSPECIFIED, item.modality) and item.id not in own_ids
        ]
        if request.HasField("filter"):
            where = filter_of(request.filter)
            wanted = [(score, item) for score, item in wanted if holds(where, attribute_values(item.attributes))]
        held = _held(request.keywords, [item for _, item in wanted])
        is_alone = bool(request.keywords) and request.WhichOneof("query") is None
        wanted = [(score, item) for score, item in wanted if held.get(item.id) or not is_alone]
        wanted.sort(key=lambda pair: (-held.get(pair[1].id, 0.0), -pair[0]))
        if request.group_by == common_pb2.GROUP_BY_PAIR_KEY:
            keys = [item.pair_key for _, item in wanted]
            wanted = [pair for place, pair in enumerate(wanted) if not keys[place] or keys[place] not in keys[:place]]
        response = gateway_service_pb2.SearchItemsResponse(
            revision=collection.revision,
            space=ALIGNER,
            calibration=common_pb2.CALIBRATION_SOURCE_FITTED,
            truncated=len(request.text) > 20,
            degraded=["cache"],
            timings=common_pb2.Timings(total_micros=1500, encode_micros=900, search_micros=300),
        )
        first = int(request.page_token or 0)
        if first + request.top_k < len(wanted):
            response.next_page_token = str(first + request.top_k)
        for score, item in wanted[first : first + request.top_k]:
            response.neighbors.add(
                item=item,
                score=score,
                calibrated_score=2 * score,
                probability=0.5,
                keyword_score=held.get(item.id) or None,
            )
        return response
