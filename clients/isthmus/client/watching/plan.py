"""What calls for watched collections send, and how their answers are read."""

from __future__ import annotations

from isthmus.client.channel import new_request_id
from isthmus.client.plan import Plan, Planner
from isthmus.client.watching import decode
from isthmus.client.watching.results import RefitProposal, WatchReport
from isthmus.v1 import gateway_service_pb2

__all__ = ["dismiss_proposal", "get_watch", "list_proposals"]


def get_watch(planner: Planner, collection: str) -> Plan[WatchReport]:
    """Plan the look at a watched collection."""
    return planner.plan(
        "GetWatch",
        [gateway_service_pb2.GetWatchRequest(collection=collection)],
        lambda answers: decode.report(answers[0].report),
    )


def list_proposals(planner: Planner, collection: str, *, include_closed: bool) -> Plan[tuple[RefitProposal, ...]]:
    """Plan the list of proposals."""
    return planner.plan(
        "ListProposals",
        [gateway_service_pb2.ListProposalsRequest(collection=collection, include_closed=include_closed)],
        lambda answers: tuple(decode.proposal(one) for one in answers[0].proposals),
    )


def dismiss_proposal(
    planner: Planner, collection: str, proposal: str, *, reason: str, request_id: str | None
) -> Plan[RefitProposal]:
    """Plan the dismissal of a proposal."""
    request = gateway_service_pb2.DismissProposalRequest(
        collection=collection, proposal=proposal, reason=reason, request_id=request_id or new_request_id()
    )
    return planner.plan("DismissProposal", [request], lambda answers: decode.proposal(answers[0].proposal))
