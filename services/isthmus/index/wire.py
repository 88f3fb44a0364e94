"""Messages of the index services to domain values and back. What comes from the wire is checked here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, TypeVar

import numpy as np
from google.protobuf.message import Message

from isthmus.core.modality import Modality
from isthmus.index.examples import ExampleVectors
from isthmus.index.history import Promotion, PromotionKind
from isthmus.index.model import (
    AlignerFiles,
    CollectionInfo,
    Followed,
    ItemBatch,
    ItemView,
    Neighbor,
    NewItem,
    SearchResult,
    SpacedVectors,
    StoredDigest,
)
from isthmus.index.pair_matching import PairsResult, PairVectors
from isthmus.index.shadow_tally import ShadowReport, ShadowState
from isthmus.index.wire_enums import modality_message, source_message
from isthmus.runtime.base.digests import AttributeScalar
from isthmus.runtime.base.errors import InvalidArgumentError, ResourceExhaustedError
from isthmus.runtime.base.limits import (
    ALIGNER_MAX_BYTES,
    EMBED_MAX_COUNT,
    EXAMPLES_MAX_COUNT,
    INTERNAL_RECEIVE_MAX_BYTES,
    MANIFEST_MAX_BYTES,
    UPSERT_MAX_COUNT,
)
from isthmus.runtime.base.names import check_count
from isthmus.runtime.rpc.attributes import attribute_message, attribute_value
from isthmus.runtime.rpc.codec import check_modality, decode_vectors, encode_vectors
from isthmus.runtime.rpc.guard import guard_message
from isthmus.runtime.rpc.matching import decision_message
from isthmus.runtime.rpc.status import item_error
from isthmus.runtime.rpc.structure_kinds import kind_message
from isthmus.v1 import common_pb2, index_search_service_pb2, index_writer_service_pb2, matching_pb2

__all__ = [
    "aligner_files",
    "aligner_message",
    "batch_message",
    "collection_message",
    "digest_message",
    "example_vectors",
    "fitting",
    "followed_message",
    "given_vectors",
    "item_message",
    "micros",
    "modality_of",
    "new_items",
    "pair_vectors",
    "pairs_message",
    "promotion_message",
    "search_message",
    "shadow_message",
]

_PROMOTION_KINDS: Final[Mapping[PromotionKind, common_pb2.PromotionKind.ValueType]] = {
    PromotionKind.CREATED: common_pb2.PROMOTION_KIND_CREATED,
    PromotionKind.PROMOTED: common_pb2.PROMOTION_KIND_PROMOTED,
    PromotionKind.ROLLED_BACK: common_pb2.PROMOTION_KIND_ROLLED_BACK,
}
_SHADOW_STATES: Final[Mapping[ShadowState, common_pb2.ShadowState.ValueType]] = {
    ShadowState.OFF: common_pb2.SHADOW_STATE_OFF,
    ShadowState.BUILDING: common_pb2.SHADOW_STATE_BUILDING,
    ShadowState.READY: common_pb2.SHADOW_STATE_READY,
    ShadowState.OVER_BUDGET: common_pb2.SHADOW_STATE_OVER_BUDGET,
    ShadowState.FAILED: common_pb2.SHADOW_STATE_FAILED,
    ShadowState.IS_ACTIVE: common_pb2.SHADOW_STATE_IS_ACTIVE,
}

M = TypeVar("M", bound=Message)


def modality_of(value: int, *, field: str) -> Modality:
    """Return the modality that a message names.

    Raises:
        InvalidArgumentError: FIELD_REQUIRED or UNKNOWN_ENUM_VALUE.
    """
    return Modality.IMAGE if check_modality(value, field=field) == common_pb2.MODALITY_IMAGE else Modality.TEXT


def micros(seconds: float) -> int:
    """Return whole microseconds."""
    return max(0, round(seconds * 1e6))


def fitting(message: M) -> M:
    """Return `message` if it may be sent.

    Raises:
        ResourceExhaustedError: MESSAGE_TOO_LARGE; the caller must ask for less at a time.
    """
    size = message.ByteSize()
    if size > INTERNAL_RECEIVE_MAX_BYTES:
        msg = f"the answer has {size} bytes; the limit is {INTERNAL_RECEIVE_MAX_BYTES}: ask for less at a time"
        metadata = {"limit": str(INTERNAL_RECEIVE_MAX_BYTES), "bytes": str(size)}
        raise ResourceExhaustedError(msg, reason="MESSAGE_TOO_LARGE", metadata=metadata)
    return message


def collection_message(info: CollectionInfo) -> common_pb2.Collection:
    """Return a collection for the wire."""
    return common_pb2.Collection(
        name=info.name,
        image_space=info.settings.image_space,
        text_space=info.settings.text_space,
        image_dimension=info.settings.image_dimension,
        text_dimension=info.settings.text_dimension,
        aligner=info.aligner,
        store_thumbnails=info.settings.store_thumbnails,
        revision=info.revision,
        image_count=info.image_count,
        text_count=info.text_count,
        guard=guard_message(info.settings.guard),
        shadow_aligner=info.shadow_aligner,
        index=kind_message(info.settings.index_kind),
        keyword_search=info.settings.keyword_search,
    )


def shadow_message(report: ShadowReport) -> common_pb2.ShadowReport:
    """Return what a shadow aligner would have changed for the wire."""
    return common_pb2.ShadowReport(
        aligner=report.aligner,
        active_aligner=report.active_aligner,
        state=_SHADOW_STATES[report.state],
        revision=report.revision,
        memory_bytes=report.memory_bytes,
        memory_limit_bytes=report.memory_limit_bytes,
        sampled_share=report.sampled_share,
        requests=report.requests,
        queries=report.queries,
        overlap=report.overlap,
        top1_changed=report.top1_changed,
        own_share_active=report.own_share_active,
        own_share_shadow=report.own_share_shadow,
        active_seconds=report.active_s,
        shadow_seconds=report.shadow_s,
        dropped_busy_count=report.dropped.get("busy", 0),
        dropped_not_built_count=report.dropped.get("not_built", 0),
        dropped_failed_count=report.dropped.get("failed", 0),
    )


def promotion_message(promotion: Promotion) -> common_pb2.Promotion:
    """Return one change of an active aligner for the wire."""
    return common_pb2.Promotion(
        aligner=promotion.aligner,
        revision=promotion.revision,
        time_micros=promotion.time_us,
        kind=_PROMOTION_KINDS[promotion.kind],
        override_reason=promotion.override_reason,
        unverified=promotion.unverified,
        restored_revision=promotion.restored_revision,
    )


def followed_message(found: Followed) -> index_search_service_pb2.FollowedCollection:
    """Return a collection of some tenant for the wire."""
    info = found.info
    return index_search_service_pb2.FollowedCollection(
        tenant=found.tenant,
        name=info.name,
        uid=found.uid,
        revision=info.revision,
        aligner=info.aligner,
        item_count=info.image_count + info.text_count,
        changed_count=found.changed_count,
    )


def aligner_files(message: common_pb2.AlignerArtefact) -> AlignerFiles:
    """Return an artefact's files.

    Raises:
        InvalidArgumentError: FIELD_REQUIRED.
        ResourceExhaustedError: LIMIT_EXCEEDED.
    """
    limits = {"manifest": MANIFEST_MAX_BYTES, "tensors": ALIGNER_MAX_BYTES}
    for name, limit in limits.items():
        size = len(getattr(message, name))
        if not size:
            msg = f"aligner.{name} is required"
            raise InvalidArgumentError(msg, reason="FIELD_REQUIRED", metadata={"field": f"aligner.{name}"})
        if size > limit:
            msg = f"aligner.{name} has {size} bytes; the limit is {limit}"
            metadata = {"field": f"aligner.{name}", "limit": str(limit), "bytes": str(size)}
            raise ResourceExhaustedError(msg, reason="LIMIT_EXCEEDED", metadata=metadata)
    return AlignerFiles(manifest=message.manifest, tensors=message.tensors)


def aligner_message(files: AlignerFiles) -> common_pb2.AlignerArtefact:
    """Return an artefact for the wire."""
    return common_pb2.AlignerArtefact(manifest=files.manifest, tensors=files.tensors)


def new_items(messages: Sequence[index_writer_service_pb2.StoredItem]) -> tuple[NewItem, ...]:
    """Return items to store.

    Raises:
        InvalidArgumentError: FIELD_REQUIRED, UNKNOWN_ENUM_VALUE, INVALID_ATTRIBUTES.
    """
    return tuple(
        NewItem(
            id=message.id,
            modality=modality_of(message.modality, field="items.modality"),
            attributes={name: _attribute_value(value) for name, value in message.attributes.items()},
            pair_key=message.pair_key,
            content_digest=message.content_digest,
            thumbnail=message.thumbnail,
            content_words=message.content_words,
            text=message.text,
        )
        for message in messages
    )


def given_vectors(
    request: index_writer_service_pb2.IndexWriterServiceUpsertItemsRequest,
) -> dict[Modality, SpacedVectors]:
    """Return the embeddings of an upsert.

    Raises:
        InvalidArgumentError: INVALID_VECTOR, UNKNOWN_ENUM_VALUE.
        ResourceExhaustedError: BATCH_TOO_LARGE.
    """
    vectors: dict[Modality, SpacedVectors] = {}
    for modality in Modality:
        field = f"{modality}_embeddings"
        if request.HasField(field):  # type: ignore[arg-type]
            batch: common_pb2.EmbeddingBatch = getattr(request, field)
            rows = decode_vectors(batch.vectors, field=f"{field}.vectors", max_rows=UPSERT_MAX_COUNT)
            vectors[modality] = SpacedVectors(batch.space, rows)
    return vectors


def _attribute_value(message: common_pb2.AttributeValue) -> AttributeScalar:
    try:
        return attribute_value(message)
    except ValueError as error:
        msg = f"attributes holds a value that is {error}"
        raise InvalidArgumentError(msg, reason="INVALID_ATTRIBUTES", metadata={"field": "items.attributes"}) from None


def digest_message(stored: StoredDigest | None) -> index_writer_service_pb2.StoredDigest:
    """Return what is stored under an id for the wire."""
    if stored is None:
        return index_writer_service_pb2.StoredDigest()
    return index_writer_service_pb2.StoredDigest(
        found=True,
        content_digest=stored.content_digest,
        space=stored.space,
        metadata_digest=stored.metadata_digest,
    )


def item_message(item: ItemView) -> common_pb2.Item:
    """Return an item for the wire."""
    return common_pb2.Item(
        id=item.id,
        modality=modality_message(item.modality),
        attributes={name: attribute_message(value) for name, value in item.attributes.items()},
        pair_key=item.pair_key,
        space=item.space,
        embedding=None if item.embedding is None else encode_vectors(item.embedding[None, :], half=True),
        thumbnail=item.thumbnail,
        content_digest=item.content_digest,
        revision=item.revision,
        content_words=item.content_words,
    )


def _neighbor_message(neighbor: Neighbor) -> common_pb2.Neighbor:
    return common_pb2.Neighbor(
        item=item_message(neighbor.item),
        score=neighbor.score,
        calibrated_score=neighbor.calibrated_score,
        probability=neighbor.probability,
        keyword_score=neighbor.keyword_score,
    )


def search_message(result: SearchResult) -> index_search_service_pb2.SearchResponse:
    """Return the answers to a batch for the wire, without the total time."""
    return index_search_service_pb2.SearchResponse(
        results=[
            index_search_service_pb2.NeighborList(neighbors=[_neighbor_message(neighbor) for neighbor in neighbors])
            for neighbors in result.neighbors
        ],
        revision=result.revision,
        space=result.space,
        calibration=source_message(result.calibration),
        order=result.order,
        timings=common_pb2.Timings(align_micros=micros(result.align_s), search_micros=micros(result.search_s)),
    )


def batch_message(batch: ItemBatch, *, row_ids: bool) -> index_search_service_pb2.ReadItemsResponse:
    """Return a batch of items for the wire, with where they lie in the store if that is wanted."""
    return index_search_service_pb2.ReadItemsResponse(
        modality=modality_message(batch.modality),
        ids=batch.ids,
        pair_keys=batch.pair_keys,
        embeddings=encode_vectors(batch.embeddings, half=True),
        attribute_values=batch.values,
        content_words=batch.words,
        row_ids=batch.row_ids if row_ids else (),
    )


def pair_vectors(
    request: index_search_service_pb2.IndexSearchServiceMatchPairsRequest,
) -> dict[Modality, list[PairVectors]]:
    """Return the vectors of both sides.

    Raises:
        InvalidArgumentError: INVALID_VECTOR, UNKNOWN_ENUM_VALUE.
        ResourceExhaustedError: BATCH_TOO_LARGE.
    """
    return {
        Modality.IMAGE: [_pair_vectors(batch, field="image_embeddings") for batch in request.image_embeddings],
        Modality.TEXT: [_pair_vectors(batch, field="text_embeddings") for batch in request.text_embeddings],
    }


def _pair_vectors(batch: common_pb2.EmbeddingBatch, *, field: str) -> PairVectors:
    rows = decode_vectors(batch.vectors, field=field, max_rows=EMBED_MAX_COUNT)
    if len(rows) != len(batch.input_indexes):
        msg = f"{field} holds {len(rows)} rows and {len(batch.input_indexes)} positions"
        raise InvalidArgumentError(msg, reason="INVALID_VECTOR", metadata={"field": field})
    return PairVectors(batch.space, rows, batch.input_indexes)


def example_vectors(batches: Sequence[index_search_service_pb2.ExampleVectors]) -> list[ExampleVectors]:
    """Return the examples of one query.

    Raises:
        InvalidArgumentError: INVALID_VECTOR, INVALID_FIELD, FIELD_REQUIRED, UNKNOWN_ENUM_VALUE.
        ResourceExhaustedError: BATCH_TOO_LARGE.
    """
    check_count(batches, field="examples", limit=EXAMPLES_MAX_COUNT)
    return [_example_vectors(batch) for batch in batches]


def _example_vectors(batch: index_search_service_pb2.ExampleVectors) -> ExampleVectors:
    rows = decode_vectors(batch.vectors, field="examples.vectors", max_rows=EXAMPLES_MAX_COUNT)
    weights = np.array(batch.weights, dtype=np.float64)
    if len(weights) != len(rows) or not np.isfinite(weights).all() or not weights.all():
        msg = f"examples hold {len(rows)} rows and {len(weights)} weights; each needs one, finite and not 0"
        raise InvalidArgumentError(msg, reason="INVALID_FIELD", metadata={"field": "examples.weights"})
    return ExampleVectors(modality_of(batch.modality, field="examples.modality"), batch.space, rows, weights)


def pairs_message(
    result: PairsResult, *, total_s: float
) -> index_search_service_pb2.IndexSearchServiceMatchPairsResponse:
    """Return what was found of pairs for the wire."""
    return index_search_service_pb2.IndexSearchServiceMatchPairsResponse(
        matches=[
            matching_pb2.PairMatch(
                index=pair.index,
                score=pair.score,
                probability=pair.probability,
                decision=decision_message(pair.decision),
            )
            for pair in result.pairs
        ],
        errors=[item_error(failure.index, failure.error) for failure in result.failures],
        accept_above=result.accept_above,
        refuse_below=result.refuse_below,
        aligner=result.aligner,
        calibration=source_message(result.calibration),
        space=result.space,
        revision=result.revision,
        timings=common_pb2.Timings(align_micros=micros(result.align_s), total_micros=micros(total_s)),
    )
