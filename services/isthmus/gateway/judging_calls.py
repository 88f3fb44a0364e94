"""The calls that judge aligners and measure the gap: to the alignment service and back."""

from __future__ import annotations

from typing import Any

import grpc

from isthmus.gateway.assembly import Gateway
from isthmus.gateway.domain import ROW_COMPONENT_BYTES
from isthmus.gateway.labels import PLACE, LabelTexts
from isthmus.gateway.messages import rows_message
from isthmus.runtime.base.errors import InvalidArgumentError, ResourceExhaustedError
from isthmus.runtime.base.limits import (
    ATTRIBUTE_NAME_MAX_BYTES,
    GAIN_ROWS_MAX_COUNT,
    SLICE_QUERIES_MAX_COUNT,
    TOP_K_MAX_COUNT,
)
from isthmus.runtime.base.names import check_count, check_name
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
        _check_details(request)
        answer = await call(
            self._gateway.alignment.stub.VerifyAligner,
            alignment_service_pb2.AlignmentServiceVerifyAlignerRequest(
                collection=check_name(request.collection, field="collection"),
                aligner=request.aligner,
                min_revision=request.min_revision,
                seed=request.seed,
                render_page=request.render_page,
                slices=request.slices if request.HasField("slices") else None,
                gains=request.gains if request.HasField("gains") else None,
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
        name = check_name(request.collection, field="collection")
        labels = LabelTexts(names=())
        if request.label_attribute:
            _check_size(request.label_attribute, field="label_attribute")
            labels = await self._gateway.engine.labeller.label(
                name,
                request.label_attribute,
                template=_template(request.label_template),
                min_revision=request.min_revision,
            )
        answer = await call(
            self._gateway.alignment.stub.MeasureGap,
            alignment_service_pb2.AlignmentServiceMeasureGapRequest(
                collection=name,
                min_revision=request.min_revision,
                seed=request.seed,
                sample_count=request.sample_count,
                aligner=request.aligner,
                compare_distances=request.compare_distances,
                render_page=request.render_page,
                label_attribute=request.label_attribute,
                label_names=labels.names if labels.rows else (),
                label_vectors=rows_message(labels.rows, len(labels.rows[0].data) // ROW_COMPONENT_BYTES)
                if labels.rows
                else None,
                label_problem=labels.problem,
            ),
            backend="alignment",
        )
        return gateway_service_pb2.MeasureGapResponse(report=answer.report, page=answer.page)


def _check_details(request: gateway_service_pb2.VerifyAlignerRequest) -> None:
    """Check the size of what is asked beside the whole.

    Raises:
        InvalidArgumentError: EMPTY_INPUT; a table of gains without a row.
        ResourceExhaustedError: BATCH_TOO_LARGE or LIMIT_EXCEEDED.
    """
    _check_size(request.slices.attribute, field="slices.attribute")
    if request.slices.query_ids:
        check_count(request.slices.query_ids, field="slices.query_ids", limit=SLICE_QUERIES_MAX_COUNT)
    if request.HasField("gains"):
        check_count(request.gains.rows, field="gains.rows", limit=GAIN_ROWS_MAX_COUNT)
        if request.gains.top_k > TOP_K_MAX_COUNT:
            msg = f"gains.top_k is {request.gains.top_k}; the limit is {TOP_K_MAX_COUNT}"
            metadata = {"field": "gains.top_k", "limit": str(TOP_K_MAX_COUNT)}
            raise ResourceExhaustedError(msg, reason="LIMIT_EXCEEDED", metadata=metadata)


def _template(template: str) -> str:
    """Return the text that stands for a label.

    Raises:
        InvalidArgumentError: INVALID_FIELD; it has no place for the label.
        ResourceExhaustedError: LIMIT_EXCEEDED.
    """
    field = "label_template"
    _check_size(template, field=field)
    if template and PLACE not in template:
        msg = f"{field} must hold {PLACE} in the label's place"
        raise InvalidArgumentError(msg, reason="INVALID_FIELD", metadata={"field": field})
    return template or PLACE


def _check_size(text: str, *, field: str) -> None:
    size = len(text.encode())
    if size > ATTRIBUTE_NAME_MAX_BYTES:
        msg = f"{field} has {size} bytes; the limit is {ATTRIBUTE_NAME_MAX_BYTES}"
        metadata = {"field": field, "limit": str(ATTRIBUTE_NAME_MAX_BYTES), "bytes": str(size)}
        raise ResourceExhaustedError(msg, reason="LIMIT_EXCEEDED", metadata=metadata)
