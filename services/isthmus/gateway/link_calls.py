"""The call that proposes links: to the alignment service and back."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator
from typing import Any

import grpc

from isthmus.gateway.assembly import Gateway
from isthmus.runtime.base.names import check_name
from isthmus.runtime.rpc.channel import stream
from isthmus.v1 import alignment_service_pb2, gateway_service_pb2
from isthmus.v1.gateway_service_pb2_grpc import GatewayServiceServicer

__all__ = ["LinkCalls"]


class LinkCalls(GatewayServiceServicer):
    """Linking, a part of `GatewayService`.

    Args:
        gateway: The engine and what it stands on.
    """

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def ProposeLinks(
        self, request: gateway_service_pb2.ProposeLinksRequest, _context: grpc.aio.ServicerContext[Any, Any]
    ) -> AsyncGenerator[gateway_service_pb2.ProposeLinksResponse, None]:
        """Propose links between a collection's items that have no pair key."""
        answers = stream(
            self._gateway.alignment.stub.ProposeLinks,
            alignment_service_pb2.AlignmentServiceProposeLinksRequest(
                collection=check_name(request.collection, field="collection"),
                min_revision=request.min_revision,
                aligner=request.aligner,
                terms=request.terms,
            ),
            backend="alignment",
        )
        async with contextlib.aclosing(answers):
            async for answer in answers:
                summary = answer.summary if answer.HasField("summary") else None
                yield gateway_service_pb2.ProposeLinksResponse(summary=summary, links=answer.links)
