"""Answers from the wire as the values of `results`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from isthmus.client.chunking import Chunk
from isthmus.client.convert import modality_name, vector_rows
from isthmus.client.inputs import AttributeValue, GuardLimits
from isthmus.client.results import (
    Aligner,
    CacheStatus,
    Calibration,
    Collection,
    Comparison,
    DeleteResult,
    Embeddings,
    EmbedResult,
    EncoderStatus,
    EvaluationReport,
    GapReport,
    GetResult,
    ItemError,
    MixedRetrieval,
    Neighbor,
    RecallAt,
    SearchResult,
    Status,
    StoredItem,
    Timings,
    UpsertAck,
    UpsertSummary,
    VerificationReport,
)
from isthmus.client.status import from_item_error
from isthmus.v1 import common_pb2, gateway_service_pb2

__all__ = [
    "aligner",
    "collection",
    "comparison",
    "delete_result",
    "embed_result",
    "evaluation_report",
    "gap_report",
    "get_result",
    "search_result",
    "status",
    "upsert_ack",
    "upsert_summary",
    "verification_report",
]

_CALIBRATIONS: Final[Mapping[int, Calibration]] = {
    common_pb2.CALIBRATION_SOURCE_UNSPECIFIED: "none",
    common_pb2.CALIBRATION_SOURCE_FITTED: "fitted",
    common_pb2.CALIBRATION_SOURCE_ESTIMATED: "estimated",
    common_pb2.CALIBRATION_SOURCE_DEFAULT: "default",
}


def _timings(messages: Iterable[common_pb2.Timings]) -> Timings:
    """Return the sum of the timings of a call's messages."""
    total = dict.fromkeys(Timings.__dataclass_fields__, 0)
    for message in messages:
        for name in total:
            total[name] += getattr(message, name)
    return Timings(**total)


def _embeddings(batches: Sequence[tuple[common_pb2.EmbeddingBatch, NDArray[np.int64]]]) -> Embeddings:
    """Join the rows of several messages.

    Args:
        batches: Each with the positions of its message's inputs among all inputs of the call.

    Raises:
        ValueError: the messages came from different spaces (the mesh changed its encoder in between), or rows and
            indexes differ in number.
    """
    filled = [(batch, positions) for batch, positions in batches if batch.input_indexes]
    spaces = {batch.space for batch, _ in filled}
    if len(spaces) > 1:
        msg = f"the answer holds {len(spaces)} spaces; the mesh changed its encoder during the call: embed again"
        raise ValueError(msg)
    if not filled:
        return Embeddings(space="", vectors=np.empty((0, 0), np.float32), indexes=np.empty(0, np.int64))
    vectors = np.concatenate([vector_rows(batch.vectors) for batch, _ in filled])
    indexes = np.concatenate([positions[np.asarray(batch.input_indexes)] for batch, positions in filled])
    if len(vectors) != len(indexes):
        msg = f"the server answered with {len(vectors)} rows for {len(indexes)} inputs"
        raise ValueError(msg)
    return Embeddings(space=spaces.pop(), vectors=vectors, indexes=indexes)


def embed_result(
    answers: Sequence[tuple[Chunk[common_pb2.Input], gateway_service_pb2.EmbedResponse | None]],
) -> EmbedResult:
    """Join the answers to the messages of one embed, in order; a chunk that was not sent has none."""
    images, texts, timings = [], [], []
    errors: list[ItemError] = []
    truncated: list[int] = []
    for chunk, response in answers:
        errors.extend(chunk.refused)
        if response is None:
            continue
        positions = np.asarray(chunk.indexes, np.int64)
        images.append((response.image_embeddings, positions))
        texts.append((response.text_embeddings, positions))
        errors.extend(from_item_error(error, index=chunk.indexes[error.index]) for error in response.errors)
        truncated.extend(chunk.indexes[index] for index in response.truncated_indexes)
        timings.append(response.timings)
    return EmbedResult(
        images=_embeddings(images),
        texts=_embeddings(texts),
        errors=tuple(sorted(errors, key=lambda error: error.index)),
        truncated=tuple(truncated),
        timings=_timings(timings),
    )


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
        timings=_timings([response.timings]),
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
    )


def _attribute(value: common_pb2.AttributeValue) -> AttributeValue:
    kind = value.WhichOneof("kind")
    if kind is None:
        return ""
    found: AttributeValue = getattr(value, kind)
    return found


def _item(message: common_pb2.Item) -> StoredItem:
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
    )


def get_result(responses: Sequence[gateway_service_pb2.GetItemsResponse]) -> GetResult:
    """Join the answers to the messages of one get."""
    return GetResult(
        items=tuple(_item(item) for response in responses for item in response.items),
        revision=min((response.revision for response in responses), default=0),
    )


def search_result(response: gateway_service_pb2.SearchItemsResponse) -> SearchResult:
    """Return the answers to a query."""
    return SearchResult(
        neighbors=tuple(
            Neighbor(
                item=_item(neighbor.item),
                score=neighbor.score,
                calibrated_score=neighbor.calibrated_score,
                probability=neighbor.probability if neighbor.HasField("probability") else None,
            )
            for neighbor in response.neighbors
        ),
        revision=response.revision,
        space=response.space,
        calibration=_CALIBRATIONS.get(response.calibration, "none"),
        truncated=response.truncated,
        degraded=tuple(response.degraded),
        timings=_timings([response.timings]),
    )


def collection(message: common_pb2.Collection) -> Collection:
    """Return a collection."""
    return Collection(
        name=message.name,
        image_space=message.image_space,
        text_space=message.text_space,
        image_dimension=message.image_dimension,
        text_dimension=message.text_dimension,
        aligner=message.aligner,
        store_thumbnails=message.store_thumbnails,
        revision=message.revision,
        image_count=message.image_count,
        text_count=message.text_count,
        guard=GuardLimits(**{field.name: value for field, value in message.guard.ListFields()}),
    )


def aligner(message: common_pb2.Aligner) -> Aligner:
    """Return an aligner."""
    return Aligner(
        aligner=message.aligner,
        method=message.method,
        image_space=message.image_space,
        text_space=message.text_space,
        dimension=message.dimension,
        manifest_json=message.manifest_json,
        notice=message.notice,
    )


def _recall(message: common_pb2.RecallAt) -> RecallAt:
    return RecallAt(r1=message.r1, r5=message.r5, r10=message.r10)


def _mixed(message: common_pb2.MixedRetrieval) -> MixedRetrieval:
    return MixedRetrieval(
        r1=message.r1,
        r10=message.r10,
        r20=message.r20,
        ndcg10=message.ndcg10,
        own_share=message.own_share,
    )


def evaluation_report(message: common_pb2.EvaluationReport) -> EvaluationReport:
    """Return an evaluation."""
    return EvaluationReport(
        pairs=message.pairs,
        image_queries=message.image_queries,
        text_queries=message.text_queries,
        t2i=_recall(message.t2i),
        i2t=_recall(message.i2t),
        mixed_image_query=_mixed(message.mixed_image_query),
        mixed_text_query=_mixed(message.mixed_text_query),
        aligner=message.aligner,
        revision=message.revision,
        through_search=message.through_search,
        calibration=_CALIBRATIONS.get(message.calibration, "none"),
    )


def gap_report(message: common_pb2.GapReport) -> GapReport:
    """Return a measurement of the gap."""
    taken = {field.name: value for field, value in message.gap.ListFields()}
    return GapReport(
        pairs=message.pairs,
        image_count=message.image_count,
        text_count=message.text_count,
        sample_count=message.sample_count,
        seed=message.seed,
        share=message.share,
        gap={field.name: taken.get(field.name) for field in message.gap.DESCRIPTOR.fields},
        report_json=message.report_json,
        aligner=message.aligner,
        revision=message.revision,
    )


def verification_report(message: common_pb2.VerificationReport, *, revision: int) -> VerificationReport:
    """Return what held-out pairs say of an aligner."""
    return VerificationReport(
        method=message.method,
        aligner=message.aligner,
        pairs=message.pairs,
        guard_ok=message.guard_ok,
        guard_reasons=tuple(message.guard_reasons),
        ece=message.ece if message.HasField("ece") else None,
        report_json=message.report_json,
        revision=revision,
    )


def comparison(message: gateway_service_pb2.CompareAlignersResponse) -> Comparison:
    """Return a comparison of methods."""
    return Comparison(
        reports=tuple(verification_report(report, revision=message.revision) for report in message.reports),
        refused=dict(sorted(message.refused.items())),
        best=message.best,
        revision=message.revision,
    )


def status(message: gateway_service_pb2.GetStatusResponse) -> Status:
    """Return what the mesh says of itself."""
    return Status(
        version=message.version,
        encoders=tuple(
            EncoderStatus(
                space=encoder.space,
                modality=modality_name(encoder.modality),
                dimension=encoder.dimension,
                compute_type=encoder.compute_type,
                device=encoder.device,
                encoded_items=encoder.encoded_items,
                forward_calls=encoder.forward_calls,
                serving=encoder.serving,
            )
            for encoder in message.encoders
        ),
        cache=CacheStatus(
            backend=message.cache.backend,
            serving=message.cache.serving,
            local_hits=message.cache.local_hits,
            backend_hits=message.cache.backend_hits,
            misses=message.cache.misses,
            refused=message.cache.refused,
        ),
        index_writer_serving=message.index_writer_serving,
        index_search_serving=message.index_search_serving,
        alignment_serving=message.alignment_serving,
        default_aligner=message.default_aligner,
        notices=tuple(message.notices),
    )
