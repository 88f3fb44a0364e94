"""Calls for collections, for asyncio."""

from __future__ import annotations

from isthmus.client.async_calls import AsyncCalls
from isthmus.client.collections import plan
from isthmus.client.collections.results import Collection, IndexKind
from isthmus.client.inputs import GuardLimits

__all__ = ["AsyncCollectionCalls"]


class AsyncCollectionCalls(AsyncCalls):
    """Calls of `AsyncClient` for collections."""

    async def create_collection(
        self,
        name: str,
        *,
        image_space: str = "",
        text_space: str = "",
        image_dimension: int = 0,
        text_dimension: int = 0,
        aligner: str = "",
        store_thumbnails: bool = False,
        index: IndexKind | None = None,
        guard: GuardLimits | None = None,
        keyword_search: bool = False,
        request_id: str | None = None,
        timeout_s: float | None = None,
    ) -> Collection:
        """Create a collection. As `Client.create_collection`."""
        return await self._run(
            plan.create_collection(
                self._planner,
                name,
                image_space=image_space,
                text_space=text_space,
                image_dimension=image_dimension,
                text_dimension=text_dimension,
                aligner=aligner,
                store_thumbnails=store_thumbnails,
                index=index,
                guard=guard,
                keyword_search=keyword_search,
                request_id=request_id,
            ),
            timeout_s,
        )

    async def get_collection(self, name: str, *, timeout_s: float | None = None) -> Collection:
        """Get a collection. As `Client.get_collection`."""
        return await self._run(plan.get_collection(self._planner, name), timeout_s)

    async def list_collections(self, *, timeout_s: float | None = None) -> tuple[Collection, ...]:
        """List the collections by name. As `Client.list_collections`."""
        return await self._run(plan.list_collections(self._planner), timeout_s)

    async def delete_collection(
        self, name: str, *, request_id: str | None = None, timeout_s: float | None = None
    ) -> None:
        """Delete a collection and its items. As `Client.delete_collection`."""
        await self._run(plan.delete_collection(self._planner, name, request_id=request_id), timeout_s)
