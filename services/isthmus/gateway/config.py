"""Configuration of the gateway."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from pydantic import Field, SecretStr, model_validator
from pydantic_settings import SettingsConfigDict

from isthmus.runtime.base.limits import EMBED_MAX_COUNT
from isthmus.runtime.base.server_config import CallerConfig
from isthmus.runtime.base.transport import is_local

__all__ = ["GatewayConfig"]


class GatewayConfig(CallerConfig):
    """Settings of one gateway process, from arguments and `ISTHMUS_GATEWAY_…`."""

    model_config = SettingsConfigDict(env_prefix="ISTHMUS_GATEWAY_", frozen=True, extra="forbid", env_ignore_empty=True)

    listen: str = "127.0.0.1:7480"
    """Where it listens: `HOST:PORT` (port 0 picks a free one) or `unix:PATH`."""
    max_connection_age_s: float | None = Field(default=300.0, gt=0)
    """Clients are asked to connect anew after so long, so that they find new gateways."""
    keys_file: Path | None = None
    """API keys, one a line, as `isthmus keys new` prints them; a changed file is used within five seconds. Unset asks
    for none, and everybody is an admin of the tenant `default`: on loopback and unix sockets only, unless forced."""
    allow_plaintext: bool = False
    """Serve beyond loopback without TLS, or without keys, all the same: somebody else sees to both."""
    image_encoder_address: str = "127.0.0.1:7481"
    """The image encoder: `HOST:PORT` or `unix:PATH`."""
    text_encoder_address: str = "127.0.0.1:7482"
    """The text encoder."""
    alignment_address: str = "127.0.0.1:7483"
    """The alignment service."""
    index_writer_address: str = "127.0.0.1:7484"
    """The index writer."""
    index_search_address: str = "127.0.0.1:7485"
    """The index searcher; of groups of searchers that collections are split over, all addresses in the order of their
    shard numbers, separated by commas."""
    default_aligner: str = "embedded-heads"
    """Aligner that new collections of two raw spaces start with, where it accepts them; empty means none."""

    redis_url: str | None = None
    """`redis://`, `rediss://` or `unix://` URL of the shared cache; unset means the in-process cache alone."""
    redis_op_timeout_ms: int = Field(default=20, ge=1, le=1_000)
    """How long a look-up may take before the gateway goes on without."""
    redis_connect_timeout_ms: int = Field(default=50, ge=1, le=5_000)
    """How long connecting may take."""
    cache_local_max_bytes: int = Field(default=64 * 1024 * 1024, ge=0)
    """Bytes of the in-process cache; 0 switches it off."""
    cache_ttl_s: int = Field(default=30 * 24 * 3600, ge=1)
    """How long Redis keeps an embedding, give or take a tenth."""
    cache_secret: SecretStr | None = Field(default=None, min_length=16)
    """Key of the cache's message authentication code; gateways that share a Redis share it."""
    secret_file: Path | None = None
    """Where that key is kept when `cache_secret` is unset; made with mode 0600 when absent. Without either, the key
    lives as long as the process."""

    encode_batch_max_count: int = Field(default=64, ge=1, le=EMBED_MAX_COUNT)
    """Inputs of one call to an encoder."""
    encode_calls_max_count: int = Field(default=8, ge=1, le=256)
    """Calls for waiting callers that one encoder gets at once."""
    encode_bulk_calls_max_count: int = Field(default=2, ge=1, le=256)
    """Calls for upserts that one encoder gets at once: what is left over serves waiting callers."""
    encode_gather_count: int = Field(default=32, ge=1, le=EMBED_MAX_COUNT)
    """Texts of different callers are gathered into one call up to so many; 1 switches gathering off."""
    encode_coalesce_ms: float = Field(default=6.0, ge=0, le=100)
    """Once a call is answered, texts are gathered as long as the next one comes within this time."""
    encode_timeout_s: float = Field(default=60.0, gt=0)
    """Upper bound of one call to an encoder."""
    queue_max_count: int = Field(default=4_096, ge=1)
    """Inputs that may wait for an encoder; further callers are refused with QUEUE_FULL."""
    queue_max_bytes: int = Field(default=256 * 1024 * 1024, ge=1)
    """Bytes of inputs that may wait for an encoder."""
    upsert_window_count: int = Field(default=4, ge=1, le=64)
    """Requests of one upsert stream in work at once."""
    upsert_max_count: int = Field(default=16, ge=1)
    """Requests of all upsert streams in work at once; further ones wait."""

    evaluate_max_pairs_count: int = Field(default=10_000, ge=1)
    """Pair keys that one evaluation through search judges, chosen by their hash; every item stays an answer."""
    evaluate_max_items_count: int = Field(default=200_000, ge=1)
    """Paired items that an evaluation through search holds in memory; larger collections are refused."""

    warm_timeout_s: float = Field(default=120.0, gt=0)
    """How long to wait at start for the services behind the gateway."""
    refresh_s: float = Field(default=5.0, gt=0)
    """How often the encoders are asked which revision they are."""
    watch_refresh_s: float = Field(default=15.0, gt=0)
    """How often the figures of watched collections are asked for, to be exported as metrics."""
    status_timeout_s: float = Field(default=1.0, gt=0)
    """How long GetStatus waits for a service before it says that it does not answer."""

    @model_validator(mode="after")
    def _check_keys(self) -> Self:
        if self.keys_file is None and not (self.allow_plaintext or is_local(self.listen)):
            msg = (
                "listen is open to other machines, without keys: set keys_file, "
                "or allow_plaintext to let everybody be an admin all the same"
            )
            raise ValueError(msg)
        return self
