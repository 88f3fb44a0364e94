"""Answers to calls for searching, from the wire."""

from __future__ import annotations

from isthmus.client.decode import calibration, timings_sum
from isthmus.client.items.decode import stored_item
from isthmus.client.search.results import Neighbor, SearchResult
from isthmus.v1 import gateway_service_pb2

__all__ = ["search_result"]


def search_result(response: gateway_service_pb2.SearchItemsResponse) -> SearchResult:
    """Return the answers to a query."""
    return SearchResult(
        neighbors=tuple(
            Neighbor(
                item=stored_item(neighbor.item),
                score=neighbor.score,
                calibrated_score=neighbor.calibrated_score,
                probability=neighbor.probability if neighbor.HasField("probability") else None,
            )
            for neighbor in response.neighbors
        ),
        revision=response.revision,
        space=response.space,
        calibration=calibration(response.calibration),
        truncated=response.truncated,
        degraded=tuple(response.degraded),
        timings=timings_sum([response.timings]),
        next_page_token=response.next_page_token,
    )
