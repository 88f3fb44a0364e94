"""What the configuration of every encoder service holds."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from isthmus.encoders.spec import EMBEDDED, Device, EncoderSpec, Precision
from isthmus.runtime.base.batching import BatchLimits
from isthmus.runtime.base.server_config import ServerConfig

__all__ = ["EncoderConfig"]


class EncoderConfig(ServerConfig):
    """Settings that the image and the text encoder share; each subclass sets `env_prefix` and its own defaults."""

    encoder: str = EMBEDDED
    """`embedded`, a local folder, or a hub id that `isthmus models pull` has fetched."""
    encoder_id: str | None = Field(default=None, pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")
    """Name in the space; unset makes it from the model's name."""
    device: Device = "auto"
    """auto, cpu or cuda."""
    precision: Precision = "auto"
    """auto, fp32, bf16 or fp16."""
    allow_download: bool = False
    """Fetch a hub id that is not in the local cache."""
    cache_dir: Path | None = None
    """Folder for converted weights; unset means `~/.cache/isthmus`."""
    torch_threads_count: int | None = Field(default=None, ge=1, le=1024)
    """Threads of one forward pass, for the whole process; unset leaves it to torch, which takes one a core."""
    max_batch_count: int = Field(default=32, ge=1, le=1024)
    """Items in one forward pass."""
    max_wait_ms: float = Field(default=4.0, ge=0, le=1000)
    """Longest wait for items that are expected to join a batch."""
    max_queue_count: int = Field(default=1024, ge=1, le=1_000_000)
    """Items waiting; a call that would exceed it is refused with QUEUE_FULL."""
    prepare_threads_count: int = Field(default=2, ge=1, le=256)
    """Threads that decode, resize or tokenize."""

    def spec(self) -> EncoderSpec:
        """Return what to load."""
        return EncoderSpec(
            model=self.encoder,
            encoder_id=self.encoder_id,
            device=self.device,
            precision=self.precision,
            allow_download=self.allow_download,
            cache_dir=self.cache_dir,
        )

    def limits(self, *, prepare_chunk_count: int) -> BatchLimits:
        """Return the sizes and times of the batcher.

        Args:
            prepare_chunk_count: Items that a preparing thread takes at a time.
        """
        return BatchLimits(
            max_batch_count=self.max_batch_count,
            max_wait_ms=self.max_wait_ms,
            max_queue_count=self.max_queue_count,
            prepare_threads_count=self.prepare_threads_count,
            prepare_chunk_count=prepare_chunk_count,
        )
