"""Calls for watched collections, for threads and scripts."""

from __future__ import annotations

from isthmus.client.calls import Calls
from isthmus.client.watching import plan
from isthmus.client.watching.results import RefitProposal, WatchReport

__all__ = ["WatchCalls"]


class WatchCalls(Calls):
    """Calls of `Client` for watched collections."""

    def get_watch(self, collection: str, *, timeout_s: float | None = None) -> WatchReport:
        """Say how a collection's pairs have moved away from the active aligner's fit, and whether a re-fit is proposed.

        The mesh looks by itself, in the background; this is the latest look.

        Args:
            collection: The collection.
            timeout_s: Deadline.

        Raises:
            NotFoundError: COLLECTION_NOT_FOUND.
            IsthmusError: the call failed otherwise.
        """
        return self._run(plan.get_watch(self._planner, collection), timeout_s)

    def list_proposals(
        self, collection: str = "", *, include_closed: bool = False, timeout_s: float | None = None
    ) -> tuple[RefitProposal, ...]:
        """List proposals to fit an aligner again, newest first.

        Args:
            collection: Of this collection only; empty means all.
            include_closed: List those too that were dismissed, or that a promotion has closed.
            timeout_s: Deadline.

        Raises:
            NotFoundError: COLLECTION_NOT_FOUND.
            IsthmusError: the call failed otherwise.
        """
        return self._run(plan.list_proposals(self._planner, collection, include_closed=include_closed), timeout_s)

    def dismiss_proposal(
        self,
        collection: str,
        proposal: str,
        *,
        reason: str = "",
        request_id: str | None = None,
        timeout_s: float | None = None,
    ) -> RefitProposal:
        """Dismiss a proposal: it is not made again for this aligner and cause until the figure has doubled.

        Args:
            collection: The collection.
            proposal: Id of the proposal.
            reason: Why, for whoever looks later; at most 1,024 bytes.
            request_id: Names this mutation.
            timeout_s: Deadline.

        Raises:
            NotFoundError: COLLECTION_NOT_FOUND, PROPOSAL_NOT_FOUND.
            IsthmusError: the call failed otherwise.
        """
        return self._run(
            plan.dismiss_proposal(self._planner, collection, proposal, reason=reason, request_id=request_id), timeout_s
        )
