"""Requests of `GatewayService` to what the engine takes, and back. Everything from the wire is checked here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final, TypeVar, cast

from isthmus.core.metrics import MixedRetrieval, RecallAt
from isthmus.core.modality import Modality
from isthmus.core.notes import word_count
from isthmus.gateway.domain import Content, Stages
from isthmus.gateway.engine import EmbedAnswer, SpacedRows
from isthmus.gateway.evaluate import SearchReport
from isthmus.gateway.given_vectors import given_vector, given_vectors
from isthmus.gateway.messages import attribute_values, modality_of
from isthmus.gateway.search import (
    Example,
    ExamplesQuery,
    ItemQuery,
    KeywordsQuery,
    QuerySource,
    SearchAnswer,
    SearchCommand,
    of_example,
)
from isthmus.gateway.upsert import UpsertAck
from isthmus.gateway.upsert_plan import CheckedItem, refuse_duplicates
from isthmus.gateway.validation import (
    GivenVector,
    check_thumbnail,
    check_words,
    image_content,
    text_content,
)
from isthmus.runtime.base.answer_terms import AnswerTerms
from isthmus.runtime.base.digests import metadata_digest
from isthmus.runtime.base.errors import InvalidArgumentError, IsthmusError, ResourceExhaustedError
from isthmus.runtime.base.limits import EXAMPLE_WEIGHT_MAX, EXAMPLES_MAX_COUNT, TOP_K_DEFAULT_COUNT, TOP_K_MAX_COUNT
from isthmus.runtime.base.names import check_count, check_item_id, check_name, check_pair_key
from isthmus.runtime.rpc.answer_terms import asked_terms_of
from isthmus.runtime.rpc.codec import check_modality, unknown_enum
from isthmus.runtime.rpc.filters import filter_of
from isthmus.runtime.rpc.status import item_error
from isthmus.v1 import common_pb2, gateway_service_pb2

__all__ = [
    "checked_contents",
    "checked_items",
    "each",
    "embed_response",
    "item_errors",
    "query_source",
    "refuses_long",
    "report_message",
    "search_command",
    "search_response",
    "timings_message",
    "upsert_response",
]

Message = TypeVar("Message")
Checked = TypeVar("Checked")

_CONTENT: Final = "content"
_QUERY: Final = "query"
_REFUSES: Final[Mapping[int, bool]] = {
    common_pb2.TRUNCATION_UNSPECIFIED: False,
    common_pb2.TRUNCATION_FLAG: False,
    common_pb2.TRUNCATION_REFUSE: True,
}


def refuses_long(truncation: int) -> bool:
    """Return whether texts that do not fit the context are refused.

    Raises:
        InvalidArgumentError: UNKNOWN_ENUM_VALUE.
    """
    refuses = _REFUSES.get(truncation)
    if refuses is None:
        field = "truncation"
        raise unknown_enum(field)
    return refuses


def each(messages: Sequence[Message], check: Callable[[Message], Checked]) -> list[Checked | IsthmusError]:
    """Return what `check` makes of each message, or the error it raises."""
    checked: list[Checked | IsthmusError] = []
    for message in messages:
        try:
            checked.append(check(message))
        except IsthmusError as error:
            checked.append(error)
    return checked


def checked_contents(inputs: Sequence[common_pb2.Input]) -> list[Content | IsthmusError]:
    """Return each input as content, or what is wrong with it."""
    return each(inputs, _content)


def _content(message: common_pb2.Input) -> Content:
    kind = message.WhichOneof("content")
    if kind == "text":
        return text_content(message.text)
    if kind == "image":
        return image_content(message.image)
    raise _nothing_in(_CONTENT)


def _nothing_in(field: str) -> IsthmusError:
    msg = f"{field} is required"
    return InvalidArgumentError(msg, reason="EMPTY_INPUT", metadata={"field": field})


def checked_items(items: Sequence[gateway_service_pb2.UpsertItem]) -> list[CheckedItem | IsthmusError]:
    """Return each item checked, or what is wrong with it; the second of two with one id is refused."""
    with_vector = [number for number, item in enumerate(items) if item.WhichOneof("content") == "vector"]
    vectors = dict(zip(with_vector, given_vectors([items[number].vector for number in with_vector]), strict=True))
    numbered = [(item, vectors.get(number)) for number, item in enumerate(items)]
    return refuse_duplicates(each(numbered, lambda pair: _item(*pair)))


def _item(message: gateway_service_pb2.UpsertItem, vector: GivenVector | IsthmusError | None) -> CheckedItem:
    item_id = check_item_id(message.id)
    pair_key = check_pair_key(message.pair_key)
    thumbnail = check_thumbnail(message.thumbnail)
    attributes = attribute_values(message.attributes)
    kind = message.WhichOneof("content")
    source: Content | GivenVector
    words = message.content_words
    if kind == "text":
        source = text_content(message.text)
    elif kind == "image":
        source = image_content(message.image)
    elif isinstance(vector, IsthmusError):
        raise vector
    elif vector is not None:
        source = vector
    else:
        raise _nothing_in(_CONTENT)
    if words:
        check_words(words, source)
    elif kind == "text":
        words = word_count(message.text)
    return CheckedItem(
        item_id=item_id,
        source=source,
        attributes=attributes,
        pair_key=pair_key,
        thumbnail=thumbnail,
        metadata_digest=metadata_digest(
            source.modality.value,
            attributes=attributes,
            pair_key=pair_key,
            thumbnail=thumbnail,
            content_words=words,
        ),
        content_words=words,
    )


def search_command(request: gateway_service_pb2.SearchItemsRequest) -> SearchCommand:
    """Return a search.

    Raises:
        InvalidArgumentError: a field is missing or wrong.
        ResourceExhaustedError: LIMIT_EXCEEDED for `top_k` and `filter`; an image or a text over its limit.
    """
    name = check_name(request.collection, field="collection")
    if request.top_k > TOP_K_MAX_COUNT:
        msg = f"top_k is {request.top_k}; the limit is {TOP_K_MAX_COUNT}"
        raise ResourceExhaustedError(
            msg,
            reason="LIMIT_EXCEEDED",
            metadata={"field": "top_k", "limit": str(TOP_K_MAX_COUNT), "value": str(request.top_k)},
        )
    wanted = check_modality(request.modality, field="modality", allow_any=True)
    return SearchCommand(
        collection=name,
        query=_query(request),
        top_k=request.top_k or TOP_K_DEFAULT_COUNT,
        item_modality=modality_of(wanted) if wanted else None,
        min_revision=request.min_revision,
        where=filter_of(request.filter) if request.HasField("filter") else None,
        terms=_paged(asked_terms_of(request), request.page_token),
        page_token=request.page_token,
    )


def _paged(terms: AnswerTerms, page_token: str) -> AnswerTerms:
    if page_token and not terms.is_paged:
        msg = "page_token does not go with collapse_above and mmr_lambda; ask for more answers in place of pages"
        raise InvalidArgumentError(msg, reason="INVALID_FIELD", metadata={"field": "page_token"})
    return terms


def _query(request: gateway_service_pb2.SearchItemsRequest) -> QuerySource | ExamplesQuery | KeywordsQuery:
    if request.keywords and request.WhichOneof("query") is None:
        return KeywordsQuery()
    if request.WhichOneof("query") == "examples":
        return _examples(request.examples)
    return _source(request, request.WhichOneof("query"), missing=_QUERY)


def query_source(message: gateway_service_pb2.SearchQuery) -> QuerySource:
    """Return one query of a batch.

    Raises:
        InvalidArgumentError: it is missing or wrong.
        ResourceExhaustedError: an image or a text over its limit.
    """
    return _source(message, message.WhichOneof("query"), missing=_QUERY)


def _source(
    message: gateway_service_pb2.SearchItemsRequest | gateway_service_pb2.Example | gateway_service_pb2.SearchQuery,
    kind: str | None,
    *,
    missing: str,
) -> QuerySource:
    if kind == "text":
        return text_content(message.text)
    if kind == "image":
        return image_content(message.image)
    if kind == "vector":
        return given_vector(message.vector)
    if kind == "item_id":
        return ItemQuery(check_item_id(message.item_id))
    raise _nothing_in(missing)


def _examples(message: gateway_service_pb2.Examples) -> ExamplesQuery:
    check_count(message.examples, field="examples.examples", limit=EXAMPLES_MAX_COUNT)
    found = []
    for place, example in enumerate(message.examples):
        try:
            source = _source(example, example.WhichOneof("content"), missing=_CONTENT)
            found.append(Example(source, _weight(example)))
        except IsthmusError as error:
            raise of_example(error, place) from None
    return ExamplesQuery(tuple(found))


def _weight(example: gateway_service_pb2.Example) -> float:
    if not example.HasField("weight"):
        return 1.0
    # Not a number is not in any range.
    if not 0.0 < abs(example.weight) <= EXAMPLE_WEIGHT_MAX:
        msg = f"weight must be -{EXAMPLE_WEIGHT_MAX:.0f} to {EXAMPLE_WEIGHT_MAX:.0f} and not 0"
        metadata = {"field": "weight", "limit": f"{EXAMPLE_WEIGHT_MAX:.0f}"}
        raise InvalidArgumentError(msg, reason="INVALID_FIELD", metadata=metadata)
    return example.weight


def timings_message(stages: Stages, total_micros: int) -> common_pb2.Timings:
    """Return where the time of a call went."""
    return common_pb2.Timings(
        total_micros=total_micros,
        queue_micros=stages.queue_micros,
        encode_micros=stages.encode_micros,
        align_micros=stages.align_micros,
        search_micros=stages.search_micros,
        cache_hits=stages.cache_hits,
        cache_misses=stages.cache_misses,
    )


def item_errors(errors: Mapping[int, IsthmusError]) -> list[common_pb2.ItemError]:
    """Return the errors of a batch, by position."""
    return [item_error(position, errors[position]) for position in sorted(errors)]


def _batch(rows: SpacedRows | None) -> common_pb2.EmbeddingBatch | None:
    if rows is None:
        return None
    kind = common_pb2.VECTOR_TYPE_FLOAT32 if rows.aligned else common_pb2.VECTOR_TYPE_FLOAT16
    return common_pb2.EmbeddingBatch(
        space=rows.space,
        vectors=common_pb2.Vectors(data=rows.data, dimension=rows.dimension, type=kind),
        input_indexes=rows.positions,
    )


def embed_response(answer: EmbedAnswer, *, total_micros: int) -> gateway_service_pb2.EmbedResponse:
    """Return the answer to Embed."""
    return gateway_service_pb2.EmbedResponse(
        image_embeddings=_batch(answer.batches.get(Modality.IMAGE)),
        text_embeddings=_batch(answer.batches.get(Modality.TEXT)),
        errors=item_errors(answer.errors),
        truncated_indexes=answer.truncated,
        timings=timings_message(answer.stages, total_micros),
    )


def upsert_response(ack: UpsertAck) -> gateway_service_pb2.UpsertItemsResponse:
    """Return the acknowledgement of one upsert."""
    return gateway_service_pb2.UpsertItemsResponse(
        request_id=ack.request_id,
        revision=ack.revision,
        created_count=ack.created_count,
        updated_count=ack.updated_count,
        unchanged_count=ack.unchanged_count,
        errors=item_errors(ack.errors),
        truncated_indexes=ack.truncated,
        timings=timings_message(ack.stages, ack.total_micros),
        collection=ack.collection,
    )


def search_response(answer: SearchAnswer, *, total_micros: int) -> gateway_service_pb2.SearchItemsResponse:
    """Return the answer to SearchItems."""
    return gateway_service_pb2.SearchItemsResponse(
        neighbors=[cast("common_pb2.Neighbor", neighbor.record) for neighbor in answer.neighbors],
        revision=answer.revision,
        space=answer.space,
        calibration=cast("common_pb2.CalibrationSource.ValueType", answer.calibration),
        truncated=answer.truncated,
        degraded=answer.degraded,
        shards_answered=answer.shards_answered,
        shards_total=answer.shards_total,
        next_page_token=answer.next_page_token,
        collection=answer.collection,
        timings=timings_message(answer.stages, total_micros),
    )


def report_message(found: SearchReport) -> common_pb2.EvaluationReport:
    """Return the report of an evaluation through search."""
    report = found.report
    return common_pb2.EvaluationReport(
        pairs=report.pair_count,
        image_queries=report.image_query_count,
        text_queries=report.text_query_count,
        t2i=_recall(report.t2i),
        i2t=_recall(report.i2t),
        mixed_image_query=_mixed(report.mixed_image_query),
        mixed_text_query=_mixed(report.mixed_text_query),
        aligner=found.collection.aligner,
        revision=found.collection.revision,
        through_search=True,
        calibration=cast("common_pb2.CalibrationSource.ValueType", found.calibration),
    )


def _recall(recall: RecallAt) -> common_pb2.RecallAt:
    return common_pb2.RecallAt(r1=recall.r1, r5=recall.r5, r10=recall.r10)


def _mixed(mixed: MixedRetrieval) -> common_pb2.MixedRetrieval:
    return common_pb2.MixedRetrieval(
        r1=mixed.r1, r10=mixed.r10, r20=mixed.r20, ndcg10=mixed.ndcg10, own_share=mixed.own_share
    )
