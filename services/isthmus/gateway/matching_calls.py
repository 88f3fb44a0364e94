"""The calls that ask whether a picture belongs to a text: given pairs, and a collection's own."""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncGenerator
from functools import partial
from typing import Any, Final, cast

import grpc

from isthmus.core.modality import Modality
from isthmus.gateway.assembly import Gateway
from isthmus.gateway.given_vectors import given_vector
from isthmus.gateway.pair_matching import MatchAnswer, MatchCommand, PairSource, SideSource
from isthmus.gateway.search import ItemQuery
from isthmus.gateway.validation import image_content, text_content
from isthmus.gateway.wire import each, item_errors, refuses_long, timings_message
from isthmus.runtime.base.errors import InvalidArgumentError, IsthmusError, ResourceExhaustedError
from isthmus.runtime.base.limits import AUDIT_DEFAULT_COUNT, AUDIT_MAX_COUNT, MATCH_MAX_COUNT
from isthmus.runtime.base.names import check_count, check_item_id, check_name
from isthmus.runtime.rpc.channel import stream
from isthmus.runtime.rpc.matching import match_terms
from isthmus.v1 import alignment_service_pb2, common_pb2, gateway_service_pb2, matching_pb2
from isthmus.v1.gateway_service_pb2_grpc import GatewayServiceServicer

__all__ = ["MatchingCalls"]

_Context = grpc.aio.ServicerContext[Any, Any]

_SIDES: Final = {Modality.IMAGE: "image_side", Modality.TEXT: "text_side"}


class MatchingCalls(GatewayServiceServicer):
    """Matching and auditing, a part of `GatewayService`.

    Args:
        gateway: The engine and what it stands on.
    """

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def MatchPairs(
        self, request: gateway_service_pb2.MatchPairsRequest, _context: _Context
    ) -> gateway_service_pb2.MatchPairsResponse:
        """Judge given pairs."""
        started_s = time.monotonic()
        check_count(request.pairs, field="pairs", limit=MATCH_MAX_COUNT)
        command = await self._gateway.offload.run(
            partial(_command, request), size_bytes=request.ByteSize(), count=len(request.pairs)
        )
        answer = await self._gateway.engine.matcher.match(command)
        return _response(answer, total_micros=int((time.monotonic() - started_s) * 1e6))

    async def AuditPairs(
        self, request: gateway_service_pb2.AuditPairsRequest, _context: _Context
    ) -> AsyncGenerator[gateway_service_pb2.AuditPairsResponse, None]:
        """List the pairs of a collection that belong together least."""
        count = request.top_count if request.HasField("top_count") else AUDIT_DEFAULT_COUNT
        if count > AUDIT_MAX_COUNT:
            msg = f"top_count is {count}; the limit is {AUDIT_MAX_COUNT}"
            metadata = {"field": "top_count", "limit": str(AUDIT_MAX_COUNT), "value": str(count)}
            raise ResourceExhaustedError(msg, reason="LIMIT_EXCEEDED", metadata=metadata)
        parts = stream(
            self._gateway.alignment.stub.AuditPairs,
            alignment_service_pb2.AlignmentServiceAuditPairsRequest(
                collection=check_name(request.collection, field="collection"),
                top_count=count,
                min_revision=request.min_revision,
                seed=request.seed,
                terms=request.terms if request.HasField("terms") else None,
            ),
            backend="alignment",
        )
        async with contextlib.aclosing(parts):
            async for part in parts:
                yield gateway_service_pb2.AuditPairsResponse(
                    summary=part.summary if part.HasField("summary") else None, pairs=part.pairs
                )


def _command(request: gateway_service_pb2.MatchPairsRequest) -> MatchCommand:
    """Return what is asked.

    Raises:
        InvalidArgumentError: a field is missing or wrong.
    """
    return MatchCommand(
        collection=check_name(request.collection, field="collection"),
        pairs=each(request.pairs, _pair),
        terms=match_terms(request.terms),
        refuse_long=refuses_long(request.truncation),
        min_revision=request.min_revision,
    )


def _pair(message: gateway_service_pb2.PairToMatch) -> PairSource:
    return {modality: _side(message, modality) for modality in Modality}


def _side(message: gateway_service_pb2.PairToMatch, modality: Modality) -> SideSource:
    side = _SIDES[modality]
    kind = message.WhichOneof(cast("Any", side))
    if kind is None:
        msg = f"the pair has no {modality.value}"
        raise InvalidArgumentError(msg, reason="EMPTY_INPUT", metadata={"field": side})
    if kind == "image":
        return image_content(message.image)
    if kind == "text":
        return text_content(message.text)
    if kind.endswith("_id"):
        return ItemQuery(check_item_id(getattr(message, kind)))
    vector = given_vector(getattr(message, kind), field=kind)
    if vector.modality is not modality:
        msg = f"{kind}.modality must be {modality.value}"
        raise InvalidArgumentError(msg, reason="INVALID_FIELD", metadata={"field": f"{kind}.modality"})
    return vector


def _response(answer: MatchAnswer, *, total_micros: int) -> gateway_service_pb2.MatchPairsResponse:
    judged = answer.judged
    errors: dict[int, IsthmusError] = dict(answer.errors)
    return gateway_service_pb2.MatchPairsResponse(
        matches=[cast("matching_pb2.PairMatch", record) for record in judged.records],
        errors=item_errors(errors),
        accept_above=judged.accept_above,
        refuse_below=judged.refuse_below,
        aligner=judged.aligner,
        calibration=cast("common_pb2.CalibrationSource.ValueType", judged.calibration),
        space=judged.space,
        revision=judged.revision,
        truncated_indexes=answer.truncated,
        timings=timings_message(answer.stages, total_micros),
    )
