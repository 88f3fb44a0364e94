"""The calls about watched collections, and what the watcher reads of the index searcher: the wire to both and back."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Protocol

import grpc

from isthmus.alignment.ports import CollectionHead, FollowedCollection, ItemBatch
from isthmus.alignment.watch_messages import proposal_message, watch_message
from isthmus.alignment.watching.proposals import Proposal
from isthmus.alignment.watching.watcher import Watcher
from isthmus.core.watch import WatchLimits
from isthmus.runtime.base import context
from isthmus.runtime.base.errors import InvalidArgumentError, ResourceExhaustedError
from isthmus.runtime.base.limits import DISMISSAL_REASON_MAX_BYTES, PROPOSALS_MAX_COUNT, WATCHES_MAX_COUNT
from isthmus.runtime.base.names import check_name, check_request_id
from isthmus.runtime.rpc.channel import call
from isthmus.v1 import alignment_service_pb2, index_search_service_pb2
from isthmus.v1.alignment_service_pb2_grpc import AlignmentServiceServicer

if TYPE_CHECKING:
    from isthmus.v1.index_search_service_pb2_grpc import IndexSearchServiceAsyncStub

__all__ = ["GrpcFollowedCollections", "WatchCalls"]

_Context = grpc.aio.ServicerContext[Any, Any]

_LIST_TIMEOUT_S: Final = 10.0
_READ_TIMEOUT_S: Final = 120.0


class _Reader(Protocol):
    def read(
        self, collection: str, *, min_revision: int, paired_only: bool, sample: tuple[int, int] | None = None
    ) -> AsyncIterator[CollectionHead | ItemBatch]: ...


class GrpcFollowedCollections:
    """What the index searcher follows.

    Args:
        stub: Of the searcher.
        reader: Reads items from it.
    """

    def __init__(self, stub: IndexSearchServiceAsyncStub, reader: _Reader) -> None:
        self._stub = stub
        self._reader = reader

    async def followed(self, known: Mapping[tuple[str, str], int]) -> Sequence[FollowedCollection]:
        """Return the collections of every tenant.

        Raises:
            IsthmusError: What the searcher refused with, UNAVAILABLE when it cannot be reached.
        """
        _enter(context.DEFAULT_TENANT, timeout_s=_LIST_TIMEOUT_S)
        request = index_search_service_pb2.ListFollowedRequest(
            known=[
                index_search_service_pb2.KnownCollection(tenant=tenant, name=name, revision=revision)
                for (tenant, name), revision in known.items()
            ]
        )
        answer = await call(self._stub.ListFollowed, request, backend="index_search")
        return [
            FollowedCollection(
                tenant=check_name(one.tenant, field="tenant"),
                name=check_name(one.name, field="name"),
                uid=one.uid,
                revision=one.revision,
                aligner=one.aligner,
                item_count=one.item_count,
                changed_count=one.changed_count,
            )
            for one in answer.collections
        ]

    async def read_sample(
        self, tenant: str, collection: str, *, count: int, seed: int
    ) -> AsyncIterator[CollectionHead | ItemBatch]:
        """Yield the head once, then batches of a sample.

        Raises:
            IsthmusError: As `followed`.
        """
        _enter(tenant, timeout_s=_READ_TIMEOUT_S)
        async for message in self._reader.read(collection, min_revision=0, paired_only=True, sample=(count, seed)):
            yield message


class WatchCalls(AlignmentServiceServicer):
    """Watching, a part of `AlignmentService`.

    Args:
        watcher: Watches.
        limits: From where it proposes a re-fit.
    """

    def __init__(self, watcher: Watcher, limits: WatchLimits) -> None:
        self._watcher = watcher
        self._limits = limits

    async def ListWatches(
        self, request: alignment_service_pb2.AlignmentServiceListWatchesRequest, _context: _Context
    ) -> alignment_service_pb2.AlignmentServiceListWatchesResponse:
        """Say what the latest look at collections found."""
        if request.collection:
            tenant, name = _tenant(), check_name(request.collection, field="collection")
            found = [(tenant, self._watcher.watch(tenant, name))]
        else:
            found = self._watcher.watches()
        return alignment_service_pb2.AlignmentServiceListWatchesResponse(
            watches=[
                alignment_service_pb2.TenantWatch(tenant=tenant, report=watch_message(one, self._limits))
                for tenant, one in found[:WATCHES_MAX_COUNT]
            ],
            left_out_count=max(0, len(found) - WATCHES_MAX_COUNT),
        )

    async def ListProposals(
        self, request: alignment_service_pb2.AlignmentServiceListProposalsRequest, _context: _Context
    ) -> alignment_service_pb2.AlignmentServiceListProposalsResponse:
        """List a tenant's proposals."""
        name = check_name(request.collection, field="collection") if request.collection else ""
        found: Sequence[Proposal] = await self._watcher.proposals(_tenant(), name)
        wanted = [one for one in found if one.is_open or request.include_closed]
        return alignment_service_pb2.AlignmentServiceListProposalsResponse(
            proposals=[proposal_message(one) for one in wanted[:PROPOSALS_MAX_COUNT]]
        )

    async def DismissProposal(
        self, request: alignment_service_pb2.AlignmentServiceDismissProposalRequest, _context: _Context
    ) -> alignment_service_pb2.AlignmentServiceDismissProposalResponse:
        """Dismiss a proposal; doing it again changes nothing."""
        check_request_id(request.request_id)
        if not request.proposal:
            msg = "proposal is required"
            raise InvalidArgumentError(msg, reason="FIELD_REQUIRED", metadata={"field": "proposal"})
        size = len(request.reason.encode())
        if size > DISMISSAL_REASON_MAX_BYTES:
            msg = f"reason has {size} bytes; the limit is {DISMISSAL_REASON_MAX_BYTES}"
            metadata = {"field": "reason", "size": str(size), "limit": str(DISMISSAL_REASON_MAX_BYTES)}
            raise ResourceExhaustedError(msg, reason="LIMIT_EXCEEDED", metadata=metadata)
        closed = await self._watcher.dismiss(
            _tenant(), check_name(request.collection, field="collection"), request.proposal, reason=request.reason
        )
        return alignment_service_pb2.AlignmentServiceDismissProposalResponse(proposal=proposal_message(closed))


def _tenant() -> str:
    return check_name(context.current().tenant, field="tenant")


def _enter(tenant: str, *, timeout_s: float) -> None:
    """Make this task call on behalf of a tenant: nobody's call is being served."""
    context.enter(
        context.CallContext(
            request_id=context.new_request_id(),
            caller=context.Caller(tenant=tenant, role="reader"),
            deadline_s=time.monotonic() + timeout_s,
        )
    )
