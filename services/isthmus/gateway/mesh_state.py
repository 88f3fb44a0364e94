"""What the mesh is made of and how it is."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version

from isthmus.core.modality import Modality
from isthmus.gateway.backends import AlignmentBackend
from isthmus.gateway.domain import AlignerInfo
from isthmus.gateway.engine import GatewayEngine
from isthmus.gateway.gather import gather_all
from isthmus.gateway.health import BackendHealth
from isthmus.gateway.messages import modality_message
from isthmus.gateway.ports import EncoderPort
from isthmus.runtime.base.errors import IsthmusError
from isthmus.v1 import gateway_service_pb2

__all__ = ["MeshState", "gateway_version"]


def gateway_version() -> str:
    """Return the version of the installed distribution, or `unknown` when it runs from a bare source tree."""
    try:
        return version("isthmus")
    except PackageNotFoundError:
        return "unknown"


class MeshState:
    """Answers GetStatus.

    Args:
        engine: Of the gateway.
        encoders: By modality.
        health: Of the services behind the gateway.
        alignment: Counts open proposals.
        timeout_s: How long each of them may take to answer.
    """

    def __init__(
        self,
        engine: GatewayEngine,
        *,
        encoders: Mapping[Modality, EncoderPort],
        health: BackendHealth,
        alignment: AlignmentBackend,
        timeout_s: float,
    ) -> None:
        self._engine = engine
        self._encoders = encoders
        self._health = health
        self._alignment = alignment
        self._timeout_s = timeout_s

    async def status(self) -> gateway_service_pb2.GetStatusResponse:
        """Ask everybody at once; who does not answer in time is said not to serve."""
        encoders = await gather_all([self._encoder(modality) for modality in self._encoders])
        writer, searcher, alignment = await gather_all(
            [self._health.is_serving(name) for name in ("index_writer", "index_search", "alignment")]
        )
        aligner = await self._default_aligner()
        return gateway_service_pb2.GetStatusResponse(
            version=gateway_version(),
            encoders=encoders,
            cache=self._cache(),
            index_writer_serving=writer,
            index_search_serving=searcher,
            alignment_serving=alignment,
            default_aligner="" if aligner is None else aligner.aligner,
            open_proposals=await self._open_proposals() if alignment else None,
            notices=[f"aligner {aligner.aligner}: {aligner.notice}"] if aligner is not None and aligner.notice else [],
        )

    async def _encoder(self, modality: Modality) -> gateway_service_pb2.EncoderStatus:
        kind = modality_message(modality)
        try:
            async with asyncio.timeout(self._timeout_s):
                info = await self._engine.embedder.refresh(modality)
        except (IsthmusError, TimeoutError):
            return gateway_service_pb2.EncoderStatus(modality=kind, serving=False)
        return gateway_service_pb2.EncoderStatus(
            space=info.space,
            modality=kind,
            dimension=info.dimension,
            compute_type=info.compute_type,
            device=info.device,
            encoded_items=info.encoded_items,
            forward_calls=info.forward_calls,
            serving=True,
        )

    def _cache(self) -> gateway_service_pb2.CacheStatus:
        cache = self._engine.cache
        counts = cache.counts
        return gateway_service_pb2.CacheStatus(
            backend="none" if cache.backend is None else "redis",
            serving=cache.backend is not None and cache.backend.serving,
            local_hits=counts.local_hits,
            backend_hits=counts.backend_hits,
            misses=counts.misses,
            refused=counts.refused,
        )

    async def _open_proposals(self) -> int | None:
        try:
            async with asyncio.timeout(self._timeout_s):
                return await self._alignment.count_open_proposals()
        except (IsthmusError, TimeoutError):
            return None

    async def _default_aligner(self) -> AlignerInfo | None:
        try:
            async with asyncio.timeout(self._timeout_s):
                return await self._engine.keeper.default_aligner()
        except (IsthmusError, TimeoutError):
            return None
