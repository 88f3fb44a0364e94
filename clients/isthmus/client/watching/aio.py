"""Calls for watched collections, for asyncio."""

from __future__ import annotations

from isthmus.client.async_calls import AsyncCalls
from isthmus.client.watching import plan
from isthmus.client.watching.results import RefitProposal, WatchReport

__all__ = ["AsyncWatchCalls"]


class AsyncWatchCalls(AsyncCalls):
    """Calls of `AsyncClient` for watched collections."""

    async def get_watch(self, collection: str, *, timeout_s: float | None = None) -> WatchReport:
        """Say how a collection has moved away from the active aligner's fit. As `Client.get_watch`."""
        return await self._run(plan.get_watch(self._planner, collection), timeout_s)

    async def list_proposals(
        self, collection: str = "", *, include_closed: bool = False, timeout_s: float | None = None
    ) -> tuple[RefitProposal, ...]:
        """List proposals to fit an aligner again, newest first. As `Client.list_proposals`."""
        return await self._run(plan.list_proposals(self._planner, collection, include_closed=include_closed), timeout_s)

    async def dismiss_proposal(
        self,
        collection: str,
        proposal: str,
        *,
        reason: str = "",
        request_id: str | None = None,
        timeout_s: float | None = None,
    ) -> RefitProposal:
        """Dismiss a proposal. As `Client.dismiss_proposal`."""
        return await self._run(
            plan.dismiss_proposal(self._planner, collection, proposal, reason=reason, request_id=request_id), timeout_s
        )
