"""The call that searches many queries at once: the wire to the engine and back."""

from __future__ import annotations

import time
from functools import partial
from typing import Any, Final, cast

import grpc

from isthmus.gateway.assembly import Gateway
from isthmus.gateway.batch_search import BatchAnswer, BatchCommand
from isthmus.gateway.messages import modality_of
from isthmus.gateway.wire import each, item_errors, query_source, timings_message
from isthmus.runtime.base.errors import ResourceExhaustedError
from isthmus.runtime.base.limits import (
    BATCH_NEIGHBORS_MAX_COUNT,
    BATCH_QUERIES_MAX_COUNT,
    TOP_K_DEFAULT_COUNT,
    TOP_K_MAX_COUNT,
)
from isthmus.runtime.base.names import check_count, check_name
from isthmus.runtime.rpc.answer_terms import asked_terms_of, is_basic
from isthmus.runtime.rpc.codec import check_modality
from isthmus.runtime.rpc.filters import filter_of
from isthmus.v1 import common_pb2, gateway_service_pb2
from isthmus.v1.gateway_service_pb2_grpc import GatewayServiceServicer

__all__ = ["BatchCalls"]

_Context = grpc.aio.ServicerContext[Any, Any]

_NEIGHBORS_AN_ENTRY: Final = 16
"""Packing so many neighbours takes as long as checking one entry of a request."""


class BatchCalls(GatewayServiceServicer):
    """Batch search, a part of `GatewayService`.

    Args:
        gateway: The engine and what it stands on.
    """

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def BatchSearchItems(
        self, request: gateway_service_pb2.BatchSearchItemsRequest, _context: _Context
    ) -> gateway_service_pb2.BatchSearchItemsResponse:
        """Find the items nearest to each of many queries."""
        started_s = time.monotonic()
        check_count(request.queries, field="queries", limit=BATCH_QUERIES_MAX_COUNT)
        offload = self._gateway.offload
        command = await offload.run(
            partial(_command, request), size_bytes=request.ByteSize(), count=len(request.queries)
        )
        answer = await self._gateway.engine.batch_seeker.search(command)
        response = await offload.run(
            partial(_response, answer), count=sum(len(one.neighbors) for one in answer.results) // _NEIGHBORS_AN_ENTRY
        )
        response.timings.total_micros = int((time.monotonic() - started_s) * 1e6)
        return response


def _command(request: gateway_service_pb2.BatchSearchItemsRequest) -> BatchCommand:
    """Return what is asked.

    Raises:
        InvalidArgumentError: a field that all queries share is missing or wrong.
        ResourceExhaustedError: LIMIT_EXCEEDED for `top_k` and `filter`.
    """
    name = check_name(request.collection, field="collection")
    top_k = request.top_k or TOP_K_DEFAULT_COUNT
    # However few the queries, `top_k` has a limit of its own.
    limit = min(TOP_K_MAX_COUNT, BATCH_NEIGHBORS_MAX_COUNT // len(request.queries))
    if top_k > limit:
        msg = f"top_k is {top_k} for {len(request.queries)} queries; the limit is {limit}"
        metadata = {"field": "top_k", "limit": str(limit), "value": str(top_k)}
        raise ResourceExhaustedError(msg, reason="LIMIT_EXCEEDED", metadata=metadata)
    wanted = check_modality(request.modality, field="modality", allow_any=True)
    return BatchCommand(
        collection=name,
        queries=each(request.queries, query_source),
        top_k=top_k,
        item_modality=modality_of(wanted) if wanted else None,
        min_revision=request.min_revision,
        where=filter_of(request.filter) if request.HasField("filter") else None,
        terms=asked_terms_of(request),
        basic=is_basic(request.view),
    )


def _response(answer: BatchAnswer) -> gateway_service_pb2.BatchSearchItemsResponse:
    return gateway_service_pb2.BatchSearchItemsResponse(
        results=[
            gateway_service_pb2.QueryResult(
                index=one.index,
                neighbors=[cast("common_pb2.Neighbor", neighbor.record) for neighbor in one.neighbors],
                space=one.space,
                truncated=one.truncated,
            )
            for one in answer.results
        ],
        errors=item_errors(answer.errors),
        revision=answer.revision,
        calibration=cast("common_pb2.CalibrationSource.ValueType", answer.calibration),
        degraded=answer.degraded,
        shards_answered=answer.shards_answered,
        shards_total=answer.shards_total,
        timings=timings_message(answer.stages, 0),
    )
