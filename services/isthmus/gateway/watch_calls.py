"""The calls about watched collections: to the alignment service and back."""

from __future__ import annotations

from typing import Any

import grpc

from isthmus.gateway.assembly import Gateway
from isthmus.runtime.base.names import check_name, check_request_id
from isthmus.runtime.rpc.channel import call
from isthmus.v1 import alignment_service_pb2, gateway_service_pb2
from isthmus.v1.gateway_service_pb2_grpc import GatewayServiceServicer

__all__ = ["WatchCalls"]

_Context = grpc.aio.ServicerContext[Any, Any]


class WatchCalls(GatewayServiceServicer):
    """Watching, a part of `GatewayService`.

    Args:
        gateway: The engine and what it stands on.
    """

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def GetWatch(
        self, request: gateway_service_pb2.GetWatchRequest, _context: _Context
    ) -> gateway_service_pb2.GetWatchResponse:
        """Say how a collection's pairs have moved away from the active aligner's fit."""
        name = await self._existing(request.collection)
        answer = await call(
            self._gateway.alignment.stub.ListWatches,
            alignment_service_pb2.AlignmentServiceListWatchesRequest(collection=name),
            backend="alignment",
        )
        (watch,) = answer.watches
        return gateway_service_pb2.GetWatchResponse(report=watch.report)

    async def ListProposals(
        self, request: gateway_service_pb2.ListProposalsRequest, _context: _Context
    ) -> gateway_service_pb2.ListProposalsResponse:
        """List proposals to fit an aligner again."""
        name = await self._existing(request.collection) if request.collection else ""
        answer = await call(
            self._gateway.alignment.stub.ListProposals,
            alignment_service_pb2.AlignmentServiceListProposalsRequest(
                collection=name, include_closed=request.include_closed
            ),
            backend="alignment",
        )
        return gateway_service_pb2.ListProposalsResponse(proposals=answer.proposals)

    async def DismissProposal(
        self, request: gateway_service_pb2.DismissProposalRequest, _context: _Context
    ) -> gateway_service_pb2.DismissProposalResponse:
        """Dismiss a proposal."""
        request_id = check_request_id(request.request_id)
        answer = await call(
            self._gateway.alignment.stub.DismissProposal,
            alignment_service_pb2.AlignmentServiceDismissProposalRequest(
                collection=await self._existing(request.collection),
                proposal=request.proposal,
                reason=request.reason,
                request_id=request_id,
            ),
            backend="alignment",
        )
        return gateway_service_pb2.DismissProposalResponse(proposal=answer.proposal)

    async def _existing(self, collection: str) -> str:
        """Return the name of a collection that the tenant has: the alignment service knows those it has looked at only.

        Raises:
            NotFoundError: COLLECTION_NOT_FOUND.
        """
        return (await self._gateway.writer.get_collection(check_name(collection, field="collection"))).name
