"""The calls that judge aligners and measure the gap: to the alignment service and back."""

from __future__ import annotations

from typing import Any

import grpc

from isthmus.gateway.assembly import Gateway
from isthmus.runtime.base.names import check_name
from isthmus.runtime.rpc.channel import call
from isthmus.v1 import alignment_service_pb2, gateway_service_pb2
from isthmus.v1.gateway_service_pb2_grpc import GatewayServiceServicer

__all__ = ["JudgingCalls"]

_Context = grpc.aio.ServicerContext[Any, Any]


class JudgingCalls(GatewayServiceServicer):
    """Judging and measuring, a part of `GatewayService`.

    Args:
        gateway: The engine and what it stands on.
    """

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def VerifyAligner(
        self, request: gateway_service_pb2.VerifyAlignerRequest, _context: _Context
    ) -> gateway_service_pb2.VerifyAlignerResponse:
        """Judge an aligner on a collection's held-out pairs."""
        answer = await call(
            self._gateway.alignment.stub.VerifyAligner,
            alignment_service_pb2.AlignmentServiceVerifyAlignerRequest(
                collection=check_name(request.collection, field="collection"),
                aligner=request.aligner,
                min_revision=request.min_revision,
                seed=request.seed,
                render_page=request.render_page,
            ),
            backend="alignment",
        )
        return gateway_service_pb2.VerifyAlignerResponse(
            report=answer.report, revision=answer.revision, page=answer.page
        )

    async def CompareAligners(
        self, request: gateway_service_pb2.CompareAlignersRequest, _context: _Context
    ) -> gateway_service_pb2.CompareAlignersResponse:
        """Fit methods to a collection's pairs and judge all on the same held-out ones."""
        answer = await call(
            self._gateway.alignment.stub.CompareAligners,
            alignment_service_pb2.AlignmentServiceCompareAlignersRequest(
                collection=check_name(request.collection, field="collection"),
                methods=request.methods,
                min_revision=request.min_revision,
                seed=request.seed,
                hubness=request.hubness,
                render_page=request.render_page,
            ),
            backend="alignment",
        )
        return gateway_service_pb2.CompareAlignersResponse(
            reports=answer.reports,
            refused=answer.refused,
            best=answer.best,
            revision=answer.revision,
            page=answer.page,
        )

    async def MeasureGap(
        self, request: gateway_service_pb2.MeasureGapRequest, _context: _Context
    ) -> gateway_service_pb2.MeasureGapResponse:
        """Measure the gap between the modalities on a collection's pairs."""
        answer = await call(
            self._gateway.alignment.stub.MeasureGap,
            alignment_service_pb2.AlignmentServiceMeasureGapRequest(
                collection=check_name(request.collection, field="collection"),
                min_revision=request.min_revision,
                seed=request.seed,
                sample_count=request.sample_count,
                aligner=request.aligner,
                compare_distances=request.compare_distances,
                render_page=request.render_page,
            ),
            backend="alignment",
        )
        return gateway_service_pb2.MeasureGapResponse(report=answer.report, page=answer.page)
