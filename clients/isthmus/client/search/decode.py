"""Answers to calls for searching, from the wire."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from isthmus.client.chunking import Chunk
from isthmus.client.decode import calibration, timings_sum
from isthmus.client.items.decode import stored_item
from isthmus.client.results import ItemError
from isthmus.client.search.results import BatchSearchResult, Neighbor, QueryResult, SearchResult
from isthmus.client.status import from_item_error
from isthmus.v1 import common_pb2, gateway_service_pb2

__all__ = ["batch_result", "search_result"]


def search_result(response: gateway_service_pb2.SearchItemsResponse) -> SearchResult:
    """Return the answers to a query."""
    return SearchResult(
        neighbors=_neighbors(response.neighbors),
        revision=response.revision,
        space=response.space,
        calibration=calibration(response.calibration),
        truncated=response.truncated,
        degraded=tuple(response.degraded),
        timings=timings_sum([response.timings]),
        next_page_token=response.next_page_token,
        collection=response.collection,
        shards_answered=response.shards_answered,
        shards_total=response.shards_total,
    )


def batch_result(
    answers: Sequence[
        tuple[Chunk[gateway_service_pb2.SearchQuery], gateway_service_pb2.BatchSearchItemsResponse | None]
    ],
) -> BatchSearchResult:
    """Join the answers to the messages of one batch, in order; a chunk that was not sent has none."""
    results: list[QueryResult] = []
    errors: list[ItemError] = []
    received = [response for _, response in answers if response is not None]
    for chunk, response in answers:
        errors.extend(chunk.refused)
        if response is None:
            continue
        results.extend(
            QueryResult(
                index=chunk.indexes[found.index],
                neighbors=_neighbors(found.neighbors),
                space=found.space,
                truncated=found.truncated,
            )
            for found in response.results
        )
        errors.extend(from_item_error(error, index=chunk.indexes[error.index]) for error in response.errors)
    return BatchSearchResult(
        results=tuple(results),
        errors=tuple(sorted(errors, key=lambda error: error.index)),
        revision=min((response.revision for response in received if response.results), default=0),
        calibration=calibration(max((response.calibration for response in received), default=0)),
        degraded=tuple(dict.fromkeys(part for response in received for part in response.degraded)),
        timings=timings_sum(response.timings for response in received),
        shards_answered=min((response.shards_answered for response in received if response.results), default=0),
        shards_total=max((response.shards_total for response in received), default=0),
    )


def _neighbors(messages: Iterable[common_pb2.Neighbor]) -> tuple[Neighbor, ...]:
    return tuple(
        Neighbor(
            item=stored_item(neighbor.item),
            score=neighbor.score,
            calibrated_score=neighbor.calibrated_score,
            probability=neighbor.probability if neighbor.HasField("probability") else None,
            keyword_score=neighbor.keyword_score if neighbor.HasField("keyword_score") else None,
        )
        for neighbor in messages
    )
