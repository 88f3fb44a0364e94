"""Calls for embedding without storing, for asyncio."""

from __future__ import annotations

from collections.abc import Iterable

from isthmus.client.async_calls import AsyncCalls
from isthmus.client.embed import plan
from isthmus.client.embed.results import EmbedResult
from isthmus.client.inputs import ImageLike, Input, Truncation

__all__ = ["AsyncEmbedCalls"]


class AsyncEmbedCalls(AsyncCalls):
    """Calls of `AsyncClient` for embedding without storing."""

    async def embed(
        self,
        *,
        images: Iterable[ImageLike] = (),
        texts: Iterable[str] = (),
        inputs: Iterable[Input] = (),
        truncation: Truncation = "flag",
        aligner: str = "",
        timeout_s: float | None = None,
    ) -> EmbedResult:
        """Embed images and texts. As `Client.embed`."""
        return await self._run(
            plan.embed(
                self._planner, images=images, texts=texts, inputs=inputs, truncation=truncation, aligner=aligner
            ),
            timeout_s,
        )
