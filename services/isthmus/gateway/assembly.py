"""Put a gateway together from its configuration, and bring it up and down."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping

from isthmus.core.modality import Modality
from isthmus.gateway.backends import AlignmentBackend, EncoderBackend, WriterBackend
from isthmus.gateway.cache import EmbeddingCache
from isthmus.gateway.config import GatewayConfig
from isthmus.gateway.encode_lane import EncodeLimits, Lane
from isthmus.gateway.engine import GatewayEngine, UpsertLimits
from isthmus.gateway.evaluate import EvaluateLimits
from isthmus.gateway.gather import gather_all
from isthmus.gateway.health import BackendHealth
from isthmus.gateway.lru import RowCache
from isthmus.gateway.mesh_state import MeshState
from isthmus.gateway.offload import Offload
from isthmus.gateway.redis_backend import RedisBackend
from isthmus.gateway.search_backend import SearchBackend
from isthmus.gateway.secret import cache_secret
from isthmus.gateway.warmup import dummy_content
from isthmus.gateway.watch_gauges import WatchGauges
from isthmus.runtime.base.errors import IsthmusError
from isthmus.runtime.base.limits import INTERNAL_RECEIVE_MAX_BYTES
from isthmus.runtime.base.logging import fields
from isthmus.runtime.rpc.channel import open_channel
from isthmus.runtime.rpc.sharded import split_addresses
from isthmus.runtime.rpc.tls_channel import ChannelTls

__all__ = ["Gateway"]

log = logging.getLogger("isthmus.gateway")

_MILLI = 1e-3
_WARM_RETRY_S = 0.2
"""Between two tries to embed a dummy at start."""
_MESSAGE_SPARE_BYTES = 64 * 1024
"""What an Encode request takes besides its contents: a few bytes an input."""


class Gateway:
    """A gateway's engine with everything it stands on.

    Args:
        config: Its settings.

    Attributes:
        config: Its settings.
        engine: Its engine.
        state: Answers GetStatus.
        writer: The index writer, for calls that only pass through.
        searcher: The index searcher.
        alignment: The alignment service.
        offload: Threads for what is too heavy for the event loop.
    """

    def __init__(self, config: GatewayConfig) -> None:
        self.config = config
        addresses = {
            "image_encoder": (config.image_encoder_address, "isthmus.v1.EncoderService"),
            "text_encoder": (config.text_encoder_address, "isthmus.v1.EncoderService"),
            "alignment": (config.alignment_address, "isthmus.v1.AlignmentService"),
            "index_writer": (config.index_writer_address, "isthmus.v1.IndexWriterService"),
            "index_search": (config.index_search_address, "isthmus.v1.IndexSearchService"),
        }
        files = config.backend_tls()
        tls = None if files is None else ChannelTls(files)
        # Only searchers have several: a group for each part of the collections.
        groups = {
            name: [open_channel(each, tls=tls) for each in split_addresses(address)]
            for name, (address, _) in addresses.items()
        }
        self._channels = {name: channels[0] for name, channels in groups.items()}
        self._all_channels = [channel for channels in groups.values() for channel in channels]
        self._encoders: Mapping[Modality, EncoderBackend] = {
            modality: EncoderBackend(self._channels[f"{modality.value}_encoder"], modality) for modality in Modality
        }
        self.writer = WriterBackend(self._channels["index_writer"])
        self.offload = Offload()
        self.searcher = SearchBackend(groups["index_search"], self.offload)
        self.alignment = AlignmentBackend(self._channels["alignment"])
        self.engine = GatewayEngine(
            encoders=self._encoders,
            writer=self.writer,
            searcher=self.searcher,
            alignment=self.alignment,
            cache=_cache(config),
            encode_limits=_encode_limits(config),
            upsert_limits=UpsertLimits(window=config.upsert_window_count, slots=config.upsert_max_count),
            evaluate_limits=EvaluateLimits(
                max_pairs_count=config.evaluate_max_pairs_count, max_items_count=config.evaluate_max_items_count
            ),
            offload=self.offload,
            default_aligner=config.default_aligner,
        )
        self._health = BackendHealth(
            {name: (groups[name], service) for name, (_, service) in addresses.items()},
            timeout_s=config.status_timeout_s,
        )
        self.state = MeshState(
            self.engine,
            encoders=self._encoders,
            health=self._health,
            alignment=self.alignment,
            timeout_s=config.status_timeout_s,
        )
        self._gauges = WatchGauges(self.alignment, every_s=config.watch_refresh_s, timeout_s=config.watch_refresh_s)
        self._background: list[asyncio.Task[None]] = []

    async def warm(self) -> None:
        """Wait for the services behind, learn who the encoders are, embed one dummy of each modality.

        Raises:
            UnavailableError: a service does not serve in time.
            IsthmusError: an encoder cannot embed the dummy.
        """
        due_s = time.monotonic() + self.config.warm_timeout_s
        await self.engine.cache.start()
        await self._health.wait_for_all(self.config.warm_timeout_s)
        await gather_all([self._try_encoder(modality, due_s) for modality in self._encoders])
        self._background = [asyncio.create_task(self._keep_fresh()), asyncio.create_task(self._gauges.run())]

    async def close(self) -> None:
        """Stop everything."""
        for task in self._background:
            task.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)
        await self.engine.close()
        self.offload.close()
        for channel in self._all_channels:
            await channel.close()

    async def _try_encoder(self, modality: Modality, due_s: float) -> None:
        """Embed a dummy; who comes up may fail some calls between its first healthy answer and its last replica."""
        said = ""  # each reason once: whoever waits for a gateway that is not ready looks into its log
        while True:
            try:
                await self.engine.embedder.refresh(modality)
                batch = await self._encoders[modality].encode([dummy_content(modality)])
                break
            except IsthmusError as error:
                if time.monotonic() + _WARM_RETRY_S > due_s:
                    raise
                if error.reason != said:
                    said = error.reason
                    log.warning("encoder does not answer yet", extra=fields(modality=modality.value, reason=said))
                await asyncio.sleep(_WARM_RETRY_S)
        (row,) = batch.rows
        if isinstance(row, IsthmusError):
            raise row

    async def _keep_fresh(self) -> None:
        """Notice within seconds that an encoder was replaced, even while every answer comes from the cache."""
        while True:
            await asyncio.sleep(self.config.refresh_s)
            for modality in self._encoders:
                try:
                    async with asyncio.timeout(self.config.status_timeout_s):
                        await self.engine.embedder.refresh(modality)
                except (IsthmusError, TimeoutError) as error:
                    log.debug(
                        "encoder not refreshed", extra=fields(modality=modality.value, error=type(error).__name__)
                    )


def _cache(config: GatewayConfig) -> EmbeddingCache:
    backend = None
    if config.redis_url is not None:
        backend = RedisBackend(
            config.redis_url,
            op_timeout_s=config.redis_op_timeout_ms * _MILLI,
            connect_timeout_s=config.redis_connect_timeout_ms * _MILLI,
        )
    return EmbeddingCache(
        secret=cache_secret(config),
        local=RowCache(config.cache_local_max_bytes),
        backend=backend,
        ttl_s=config.cache_ttl_s,
    )


def _encode_limits(config: GatewayConfig) -> EncodeLimits:
    return EncodeLimits(
        batch_max_count=config.encode_batch_max_count,
        batch_max_bytes=INTERNAL_RECEIVE_MAX_BYTES - _MESSAGE_SPARE_BYTES,
        calls={Lane.INTERACTIVE: config.encode_calls_max_count, Lane.BULK: config.encode_bulk_calls_max_count},
        gather_count=config.encode_gather_count,
        coalesce_s=config.encode_coalesce_ms * _MILLI,
        timeout_s=config.encode_timeout_s,
        queue_max_count=config.queue_max_count,
        queue_max_bytes=config.queue_max_bytes,
    )
