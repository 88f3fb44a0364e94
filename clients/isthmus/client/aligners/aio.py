"""Calls for aligners, for asyncio."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable

import grpc

from isthmus.client.aligners import plan
from isthmus.client.aligners.fit import FitReader
from isthmus.client.aligners.folder import read_aligner_folder, write_aligner_folder
from isthmus.client.aligners.results import Aligner, FitProgress, PromotionHistory, ShadowReport
from isthmus.client.async_calls import AsyncCalls
from isthmus.client.channel import new_request_id
from isthmus.client.collections.results import Collection
from isthmus.client.inputs import FitOptions
from isthmus.client.status import from_rpc_error

__all__ = ["AsyncAlignerCalls"]


class AsyncAlignerCalls(AsyncCalls):
    """Calls of `AsyncClient` for aligners."""

    async def list_aligners(self, *, timeout_s: float | None = None) -> tuple[Aligner, ...]:
        """List the aligners by name. As `Client.list_aligners`."""
        return await self._run(plan.list_aligners(self._planner), timeout_s)

    async def get_aligner(self, aligner: str, *, timeout_s: float | None = None) -> Aligner:
        """Get one aligner. As `Client.get_aligner`."""
        return await self._run(plan.get_aligner(self._planner, aligner), timeout_s)

    async def export_aligner(
        self, aligner: str, folder: str | os.PathLike[str], *, timeout_s: float | None = None
    ) -> Aligner:
        """Write an aligner's artefact to a folder. As `Client.export_aligner`."""
        found, manifest, tensors = await self._run(plan.export_aligner(self._planner, aligner), timeout_s)
        await asyncio.to_thread(write_aligner_folder, folder, manifest, tensors)
        return found

    async def fit_aligner(
        self,
        collection: str,
        *,
        aligner_id: str,
        method: str,
        options: FitOptions | None = None,
        seed: int = 0,
        min_revision: int | None = None,
        request_id: str | None = None,
        progress: Callable[[FitProgress], None] | None = None,
        timeout_s: float | None = None,
    ) -> Aligner:
        """Fit an aligner to a collection's pairs. As `Client.fit_aligner`."""
        request = plan.fit_request(
            self._planner,
            collection,
            aligner_id=aligner_id,
            method=method,
            options=options,
            seed=seed,
            min_revision=min_revision,
            request_id=request_id,
        )
        reader, call_id = FitReader(progress), new_request_id()
        limit_s = self._planner.config.timeouts.stream_s if timeout_s is None else timeout_s
        try:
            async for message in self._stub.FitAligner(
                request, timeout=limit_s, metadata=self._endpoint.metadata(call_id)
            ):
                reader.read(message)
        except grpc.RpcError as error:
            raise from_rpc_error(error, address=self.address, request_id=call_id) from error
        return reader.result()

    async def import_aligner(
        self, folder: str | os.PathLike[str], *, request_id: str | None = None, timeout_s: float | None = None
    ) -> Aligner:
        """Keep an aligner that was trained elsewhere. As `Client.import_aligner`."""
        manifest, tensors = await asyncio.to_thread(read_aligner_folder, folder)
        return await self._run(plan.import_aligner(self._planner, manifest, tensors, request_id=request_id), timeout_s)

    async def promote_aligner(
        self,
        collection: str,
        aligner: str,
        *,
        allow_unverified: bool = False,
        override_reason: str = "",
        request_id: str | None = None,
        timeout_s: float | None = None,
    ) -> Collection:
        """Make an aligner the active one of a collection. As `Client.promote_aligner`."""
        return await self._run(
            plan.promote_aligner(
                self._planner,
                collection,
                aligner,
                allow_unverified=allow_unverified,
                override_reason=override_reason,
                request_id=request_id,
            ),
            timeout_s,
        )

    async def rollback_aligner(
        self, collection: str, *, request_id: str | None = None, timeout_s: float | None = None
    ) -> Collection:
        """Make the aligner before the active one active again. As `Client.rollback_aligner`."""
        return await self._run(plan.rollback_aligner(self._planner, collection, request_id=request_id), timeout_s)

    async def list_promotions(self, collection: str, *, timeout_s: float | None = None) -> PromotionHistory:
        """List what was the active aligner of a collection. As `Client.list_promotions`."""
        return await self._run(plan.list_promotions(self._planner, collection), timeout_s)

    async def set_shadow_aligner(
        self,
        collection: str,
        aligner: str | None,
        *,
        request_id: str | None = None,
        timeout_s: float | None = None,
    ) -> Collection:
        """Compare an aligner with the active one on real searches, or stop. As `Client.set_shadow_aligner`."""
        return await self._run(
            plan.set_shadow_aligner(self._planner, collection, aligner, request_id=request_id), timeout_s
        )

    async def shadow_report(
        self, collection: str, *, min_revision: int | None = None, timeout_s: float | None = None
    ) -> ShadowReport:
        """Say what a shadow aligner would have changed. As `Client.shadow_report`."""
        return await self._run(plan.shadow_report(self._planner, collection, min_revision=min_revision), timeout_s)
