"""The calls that keep, fit and promote aligners: to the alignment service and the index writer, and back."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator
from typing import Any

import grpc

from isthmus.gateway.assembly import Gateway
from isthmus.gateway.messages import artefact_message, collection_message
from isthmus.runtime.base.errors import InvalidArgumentError, ResourceExhaustedError
from isthmus.runtime.base.limits import ALIGNER_MAX_BYTES, MANIFEST_MAX_BYTES
from isthmus.runtime.base.names import check_name, check_request_id
from isthmus.runtime.rpc.channel import call, stream
from isthmus.v1 import alignment_service_pb2, gateway_service_pb2, index_search_service_pb2, index_writer_service_pb2
from isthmus.v1.gateway_service_pb2_grpc import GatewayServiceServicer

__all__ = ["AlignerCalls"]

_Context = grpc.aio.ServicerContext[Any, Any]


class AlignerCalls(GatewayServiceServicer):
    """The life cycle of aligners, a part of `GatewayService`.

    Args:
        gateway: The engine and what it stands on.
    """

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def ListAligners(
        self, _request: gateway_service_pb2.ListAlignersRequest, _context: _Context
    ) -> gateway_service_pb2.ListAlignersResponse:
        """List the aligners."""
        answer = await call(
            self._gateway.alignment.stub.ListAligners,
            alignment_service_pb2.AlignmentServiceListAlignersRequest(),
            backend="alignment",
        )
        return gateway_service_pb2.ListAlignersResponse(aligners=answer.aligners)

    async def GetAligner(
        self, request: gateway_service_pb2.GetAlignerRequest, _context: _Context
    ) -> gateway_service_pb2.GetAlignerResponse:
        """Get one aligner."""
        answer = await call(
            self._gateway.alignment.stub.GetAligner,
            alignment_service_pb2.AlignmentServiceGetAlignerRequest(aligner=request.aligner),
            backend="alignment",
        )
        artefact = answer.artefact if request.include_artefact else None
        return gateway_service_pb2.GetAlignerResponse(aligner=answer.aligner, artefact=artefact)

    async def FitAligner(
        self, request: gateway_service_pb2.FitAlignerRequest, _context: _Context
    ) -> AsyncGenerator[gateway_service_pb2.FitAlignerResponse, None]:
        """Fit an aligner to a collection, with progress."""
        steps = stream(
            self._gateway.alignment.stub.FitAligner,
            alignment_service_pb2.AlignmentServiceFitAlignerRequest(
                collection=check_name(request.collection, field="collection"),
                aligner_id=check_name(request.aligner_id, field="aligner_id"),
                method=request.method,
                min_revision=request.min_revision,
                seed=request.seed,
                request_id=check_request_id(request.request_id),
                options=request.options,
            ),
            backend="alignment",
        )
        async with contextlib.aclosing(steps):
            async for step in steps:
                aligner = step.aligner if step.HasField("aligner") else None
                yield gateway_service_pb2.FitAlignerResponse(progress=step.progress, stage=step.stage, aligner=aligner)

    async def ImportAligner(
        self, request: gateway_service_pb2.ImportAlignerRequest, _context: _Context
    ) -> gateway_service_pb2.ImportAlignerResponse:
        """Keep an aligner that was trained elsewhere."""
        artefact = request.artefact
        _check_size("artefact.manifest", len(artefact.manifest), MANIFEST_MAX_BYTES)
        _check_size("artefact.tensors", len(artefact.tensors), ALIGNER_MAX_BYTES)
        answer = await call(
            self._gateway.alignment.stub.ImportAligner,
            alignment_service_pb2.AlignmentServiceImportAlignerRequest(
                artefact=artefact, request_id=check_request_id(request.request_id)
            ),
            backend="alignment",
        )
        return gateway_service_pb2.ImportAlignerResponse(aligner=answer.aligner)

    async def PromoteAligner(
        self, request: gateway_service_pb2.PromoteAlignerRequest, _context: _Context
    ) -> gateway_service_pb2.PromoteAlignerResponse:
        """Make an aligner the active one of a collection."""
        if not request.aligner:
            msg = "aligner is required"
            raise InvalidArgumentError(msg, reason="FIELD_REQUIRED", metadata={"field": "aligner"})
        collection = await self._gateway.engine.keeper.promote(
            check_name(request.collection, field="collection"),
            request.aligner,
            allow_unverified=request.allow_unverified,
            override_reason=request.override_reason,
            request_id=check_request_id(request.request_id),
        )
        return gateway_service_pb2.PromoteAlignerResponse(collection=collection_message(collection))

    async def RollbackAligner(
        self, request: gateway_service_pb2.RollbackAlignerRequest, _context: _Context
    ) -> gateway_service_pb2.RollbackAlignerResponse:
        """Make the aligner before the active one active again."""
        answer = await call(
            self._gateway.writer.stub.RollbackAligner,
            index_writer_service_pb2.IndexWriterServiceRollbackAlignerRequest(
                collection=check_name(request.collection, field="collection"),
                request_id=check_request_id(request.request_id),
            ),
            backend="index_writer",
        )
        return gateway_service_pb2.RollbackAlignerResponse(collection=answer.collection)

    async def SetShadowAligner(
        self, request: gateway_service_pb2.SetShadowAlignerRequest, _context: _Context
    ) -> gateway_service_pb2.SetShadowAlignerResponse:
        """Compare an aligner with the active one on real searches, or stop that."""
        collection = check_name(request.collection, field="collection")
        request_id = check_request_id(request.request_id)
        artefact = None
        if request.aligner:
            _, files = await self._gateway.alignment.get_aligner(request.aligner)
            artefact = artefact_message(files)
        answer = await call(
            self._gateway.writer.stub.SetShadowAligner,
            index_writer_service_pb2.IndexWriterServiceSetShadowAlignerRequest(
                collection=collection, aligner=artefact, request_id=request_id
            ),
            backend="index_writer",
        )
        return gateway_service_pb2.SetShadowAlignerResponse(collection=answer.collection)

    async def GetShadowReport(
        self, request: gateway_service_pb2.GetShadowReportRequest, _context: _Context
    ) -> gateway_service_pb2.GetShadowReportResponse:
        """Say what a collection's shadow aligner would have changed."""
        answer = await call(
            self._gateway.searcher.stub.GetShadowReport,
            index_search_service_pb2.IndexSearchServiceGetShadowReportRequest(
                collection=check_name(request.collection, field="collection"), min_revision=request.min_revision
            ),
            backend="index_search",
        )
        return gateway_service_pb2.GetShadowReportResponse(report=answer.report)

    async def ListPromotions(
        self, request: gateway_service_pb2.ListPromotionsRequest, _context: _Context
    ) -> gateway_service_pb2.ListPromotionsResponse:
        """List what was the active aligner of a collection."""
        answer = await call(
            self._gateway.writer.stub.ListPromotions,
            index_writer_service_pb2.IndexWriterServiceListPromotionsRequest(
                collection=check_name(request.collection, field="collection")
            ),
            backend="index_writer",
        )
        return gateway_service_pb2.ListPromotionsResponse(promotions=answer.promotions, total_count=answer.total_count)


def _check_size(field: str, size: int, limit: int) -> None:
    if size > limit:
        msg = f"{field} has {size} bytes; the limit is {limit}"
        raise ResourceExhaustedError(
            msg, reason="LIMIT_EXCEEDED", metadata={"field": field, "size": str(size), "limit": str(limit)}
        )
