"""Calls for aliases, for asyncio."""

from __future__ import annotations

from isthmus.client.aliases import plan
from isthmus.client.aliases.results import Alias
from isthmus.client.async_calls import AsyncCalls

__all__ = ["AsyncAliasCalls"]


class AsyncAliasCalls(AsyncCalls):
    """Calls of `AsyncClient` for aliases."""

    async def set_alias(
        self,
        alias: str,
        collection: str,
        *,
        recall_margin: float | None = None,
        override_reason: str = "",
        seed: int = 0,
        request_id: str | None = None,
        timeout_s: float | None = None,
    ) -> Alias:
        """Point a name at a collection, or at another one. As `Client.set_alias`."""
        return await self._run(
            plan.set_alias(
                self._planner,
                alias,
                collection,
                recall_margin=recall_margin,
                override_reason=override_reason,
                seed=seed,
                request_id=request_id,
            ),
            timeout_s,
        )

    async def delete_alias(self, alias: str, *, request_id: str | None = None, timeout_s: float | None = None) -> None:
        """Delete an alias; the collection it points at stays. As `Client.delete_alias`."""
        await self._run(plan.delete_alias(self._planner, alias, request_id=request_id), timeout_s)

    async def list_aliases(self, *, timeout_s: float | None = None) -> tuple[Alias, ...]:
        """List the aliases by name. As `Client.list_aliases`."""
        return await self._run(plan.list_aliases(self._planner), timeout_s)
