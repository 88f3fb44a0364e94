"""The services behind the gateway, over gRPC: each class answers one port of `ports`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import grpc

from isthmus.core.modality import Modality
from isthmus.gateway.domain import (
    ROW_COMPONENT_BYTES,
    AlignedRows,
    AlignerFiles,
    AlignerInfo,
    Collection,
    Content,
    EncodedBatch,
    EncoderInfo,
    Row,
    StoredDigest,
    UpsertDraft,
    UpsertReceipt,
)
from isthmus.gateway.messages import (
    artefact_message,
    attributes_message,
    collection_of,
    modality_message,
    modality_of,
    row_data,
    rows_message,
)
from isthmus.runtime.base.errors import InternalError, IsthmusError, ResourceExhaustedError
from isthmus.runtime.base.limits import INTERNAL_RECEIVE_MAX_BYTES
from isthmus.runtime.rpc.channel import call
from isthmus.runtime.rpc.guard import guard_message
from isthmus.runtime.rpc.status import from_item_error
from isthmus.runtime.rpc.structure_kinds import kind_message
from isthmus.v1 import (
    alignment_service_pb2,
    common_pb2,
    encoder_service_pb2,
    index_writer_service_pb2,
)
from isthmus.v1.alignment_service_pb2_grpc import AlignmentServiceStub
from isthmus.v1.encoder_service_pb2_grpc import EncoderServiceStub
from isthmus.v1.index_writer_service_pb2_grpc import IndexWriterServiceStub

__all__ = ["AlignmentBackend", "EncoderBackend", "WriterBackend"]

_WRITE_TIMEOUT_S: Final = 60.0
"""An upsert stream may have no deadline; one commit has."""


class EncoderBackend:
    """An encoder service.

    Args:
        channel: To it.
        modality: What it encodes.
    """

    def __init__(self, channel: grpc.aio.Channel, modality: Modality) -> None:
        self._stub = EncoderServiceStub(channel)
        self._modality = modality
        self._name = f"{modality.value}_encoder"

    async def describe(self) -> EncoderInfo:
        """Say which encoder this is."""
        answer = await call(self._stub.GetEncoder, encoder_service_pb2.GetEncoderRequest(), backend=self._name)
        return EncoderInfo(
            space=answer.space,
            modality=modality_of(answer.modality),
            dimension=answer.dimension,
            context_tokens=answer.context_tokens,
            compute_type=answer.compute_type,
            device=answer.device,
            encoded_items=answer.encoded_items,
            forward_calls=answer.forward_calls,
        )

    async def encode(self, contents: Sequence[Content]) -> EncodedBatch:
        """Encode up to 256 contents; a bad one is reported in its place.

        Texts that are too long are always cut and flagged: whether that is refused is for each caller to say, and the
        cache keeps the flag.

        Raises:
            IsthmusError: of the encoder as a whole.
            InternalError: the answer does not cover every input once.
        """
        if self._modality is Modality.IMAGE:
            inputs = [common_pb2.Input(image=content.data) for content in contents]
        else:
            inputs = [common_pb2.Input(text=content.data.decode()) for content in contents]
        request = encoder_service_pb2.EncodeRequest(inputs=inputs, truncation=common_pb2.TRUNCATION_FLAG)
        answer = await call(self._stub.Encode, request, backend=self._name)
        batch = answer.embeddings
        rows: list[Row | IsthmusError | None] = [None] * len(contents)
        cut = set(answer.truncated_indexes)
        for index, data in zip(batch.input_indexes, row_data(batch.vectors), strict=True):
            rows[index] = Row(data, index in cut)
        for error in answer.errors:
            rows[error.index] = from_item_error(error)
        whole = [row for row in rows if row is not None]
        if len(whole) != len(contents):
            msg = "an encoder left inputs unanswered"
            raise InternalError(msg)
        return EncodedBatch(
            space=batch.space,
            dimension=batch.vectors.dimension,
            rows=whole,
            queue_micros=answer.timings.queue_micros,
            encode_micros=answer.timings.encode_micros,
        )


class WriterBackend:
    """The index writer."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.stub = IndexWriterServiceStub(channel)

    async def get_collection(self, name: str) -> Collection:
        """Return one collection."""
        request = index_writer_service_pb2.IndexWriterServiceGetCollectionRequest(name=name)
        return collection_of((await call(self.stub.GetCollection, request, backend="index_writer")).collection)

    async def look_up(self, collection: str, ids: Sequence[str]) -> tuple[list[StoredDigest | None], int]:
        """Return what is stored under `ids` (None where nothing is), and the revision this was read at."""
        request = index_writer_service_pb2.IndexWriterServiceLookupItemsRequest(collection=collection, ids=ids)
        answer = await call(self.stub.LookupItems, request, backend="index_writer", timeout_s=_WRITE_TIMEOUT_S)
        stored = [
            StoredDigest(entry.content_digest, entry.space, entry.metadata_digest) if entry.found else None
            for entry in answer.items
        ]
        return stored, answer.revision

    async def upsert(self, collection: Collection, drafts: Sequence[UpsertDraft], *, request_id: str) -> UpsertReceipt:
        """Store items; they are durable when this returns.

        Raises:
            ResourceExhaustedError: MESSAGE_TOO_LARGE; one mutation travels in one message.
        """
        request = index_writer_service_pb2.IndexWriterServiceUpsertItemsRequest(
            collection=collection.name,
            items=[
                index_writer_service_pb2.StoredItem(
                    id=draft.item_id,
                    modality=modality_message(draft.modality),
                    attributes=attributes_message(draft.attributes),
                    pair_key=draft.pair_key,
                    content_digest=draft.content_digest,
                    thumbnail=draft.thumbnail,
                    content_words=draft.content_words,
                    text=draft.text if collection.keyword_search else "",
                )
                for draft in drafts
            ],
            image_embeddings=_embeddings(collection, drafts, Modality.IMAGE),
            text_embeddings=_embeddings(collection, drafts, Modality.TEXT),
            request_id=request_id,
        )
        size = request.ByteSize()
        if size > INTERNAL_RECEIVE_MAX_BYTES:
            msg = f"items take {size} bytes with their embeddings; the limit is {INTERNAL_RECEIVE_MAX_BYTES}"
            raise ResourceExhaustedError(
                msg,
                reason="MESSAGE_TOO_LARGE",
                metadata={"field": "items", "size": str(size), "limit": str(INTERNAL_RECEIVE_MAX_BYTES)},
            )
        answer = await call(self.stub.UpsertItems, request, backend="index_writer", timeout_s=_WRITE_TIMEOUT_S)
        return UpsertReceipt(
            revision=answer.revision,
            created_count=answer.created_count,
            updated_count=answer.updated_count,
            unchanged_count=answer.unchanged_count,
            errors={error.index: from_item_error(error) for error in answer.errors},
        )

    async def create_collection(
        self, collection: Collection, *, aligner: AlignerFiles | None, request_id: str
    ) -> Collection:
        """Create a collection with the name, spaces, dimensions and settings of `collection`."""
        request = index_writer_service_pb2.IndexWriterServiceCreateCollectionRequest(
            name=collection.name,
            image_space=collection.image_space,
            text_space=collection.text_space,
            image_dimension=collection.image_dimension,
            text_dimension=collection.text_dimension,
            aligner=None if aligner is None else artefact_message(aligner),
            store_thumbnails=collection.store_thumbnails,
            keyword_search=collection.keyword_search,
            guard=guard_message(collection.guard),
            index=kind_message(collection.index),
            request_id=request_id,
        )
        return collection_of((await call(self.stub.CreateCollection, request, backend="index_writer")).collection)

    async def set_aligner(
        self,
        collection: str,
        aligner: AlignerFiles,
        *,
        allow_unverified: bool,
        override_reason: str,
        request_id: str,
    ) -> Collection:
        """Make an aligner the active one."""
        request = index_writer_service_pb2.IndexWriterServiceSetAlignerRequest(
            collection=collection,
            aligner=artefact_message(aligner),
            allow_unverified=allow_unverified,
            override_reason=override_reason,
            request_id=request_id,
        )
        return collection_of((await call(self.stub.SetAligner, request, backend="index_writer")).collection)


def _embeddings(
    collection: Collection, drafts: Sequence[UpsertDraft], modality: Modality
) -> common_pb2.EmbeddingBatch | None:
    positions = [index for index, draft in enumerate(drafts) if draft.modality is modality]
    if not positions:
        return None
    return common_pb2.EmbeddingBatch(
        space=collection.space(modality),
        vectors=rows_message([drafts[position].row for position in positions], collection.dimension(modality)),
        input_indexes=positions,
    )


class AlignmentBackend:
    """The alignment service."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.stub = AlignmentServiceStub(channel)

    async def get_aligner(self, aligner: str) -> tuple[AlignerInfo, AlignerFiles]:
        """Return an aligner, described and with its tensors."""
        request = alignment_service_pb2.AlignmentServiceGetAlignerRequest(aligner=aligner)
        answer = await call(self.stub.GetAligner, request, backend="alignment")
        known = answer.aligner
        return (
            AlignerInfo(known.aligner, known.image_space, known.text_space, known.notice),
            AlignerFiles(answer.artefact.manifest, answer.artefact.tensors),
        )

    async def count_open_proposals(self) -> int:
        """Return how many proposals to fit again are open, over all collections of the call's tenant."""
        request = alignment_service_pb2.AlignmentServiceListProposalsRequest()
        return len((await call(self.stub.ListProposals, request, backend="alignment")).proposals)

    async def align(self, aligner: str, rows: Sequence[Row], *, modality: Modality, space: str) -> AlignedRows:
        """Map up to 1,000 rows to the aligned space."""
        request = alignment_service_pb2.AlignmentServiceAlignVectorsRequest(
            aligner=aligner,
            modality=modality_message(modality),
            space=space,
            vectors=rows_message(rows, len(rows[0].data) // ROW_COMPONENT_BYTES),
        )
        answer = await call(self.stub.AlignVectors, request, backend="alignment")
        return AlignedRows(answer.space, answer.vectors.data, answer.vectors.dimension)
