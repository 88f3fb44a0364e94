"""Calls for the mesh itself, for asyncio."""

from __future__ import annotations

from isthmus.client.async_calls import AsyncCalls
from isthmus.client.mesh import plan
from isthmus.client.mesh.results import Status

__all__ = ["AsyncMeshCalls"]


class AsyncMeshCalls(AsyncCalls):
    """Calls of `AsyncClient` for the mesh itself."""

    async def status(self, *, timeout_s: float | None = None) -> Status:
        """Return what the mesh is made of and how it is. As `Client.status`."""
        return await self._run(plan.status(self._planner), timeout_s)
