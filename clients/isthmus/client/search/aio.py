"""Calls for searching, for asyncio."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from isthmus.client.async_calls import AsyncCalls
from isthmus.client.inputs import AnyModality, GroupBy, ImageLike, SpacedVector
from isthmus.client.search import plan
from isthmus.client.search.examples import Example
from isthmus.client.search.queries import Query
from isthmus.client.search.results import BatchSearchResult, SearchResult
from isthmus.client.search.where import Filter

__all__ = ["AsyncSearchCalls"]


class AsyncSearchCalls(AsyncCalls):
    """Calls of `AsyncClient` for searching."""

    async def search(
        self,
        collection: str,
        *,
        text: str | None = None,
        image: ImageLike | None = None,
        vector: SpacedVector | None = None,
        item_id: str | None = None,
        examples: Sequence[Example] | None = None,
        keywords: str | None = None,
        modality: AnyModality = "any",
        where: Filter | None = None,
        group_by: GroupBy | None = None,
        collapse_above: float | None = None,
        mmr_lambda: float | None = None,
        exact: bool = False,
        allow_partial: bool = False,
        top_k: int = 10,
        page_token: str | None = None,
        min_revision: int | None = None,
        timeout_s: float | None = None,
    ) -> SearchResult:
        """Find the items nearest to one query. As `Client.search`."""
        return await self._run(
            plan.search(
                self._planner,
                collection,
                text=text,
                image=image,
                vector=vector,
                item_id=item_id,
                examples=examples,
                keywords=keywords,
                modality=modality,
                where=where,
                group_by=group_by,
                collapse_above=collapse_above,
                mmr_lambda=mmr_lambda,
                exact=exact,
                allow_partial=allow_partial,
                top_k=top_k,
                page_token=page_token,
                min_revision=min_revision,
            ),
            timeout_s,
        )

    async def batch_search(
        self,
        collection: str,
        queries: Iterable[Query | str],
        *,
        modality: AnyModality = "any",
        where: Filter | None = None,
        group_by: GroupBy | None = None,
        collapse_above: float | None = None,
        mmr_lambda: float | None = None,
        exact: bool = False,
        allow_partial: bool = False,
        top_k: int = 10,
        basic: bool = False,
        min_revision: int | None = None,
        timeout_s: float | None = None,
    ) -> BatchSearchResult:
        """Find the items nearest to each of many queries. As `Client.batch_search`."""
        return await self._run(
            plan.batch_search(
                self._planner,
                collection,
                queries,
                modality=modality,
                where=where,
                group_by=group_by,
                collapse_above=collapse_above,
                mmr_lambda=mmr_lambda,
                exact=exact,
                allow_partial=allow_partial,
                top_k=top_k,
                basic=basic,
                min_revision=min_revision,
            ),
            timeout_s,
        )
