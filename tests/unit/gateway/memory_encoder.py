"""An encoder in memory, for tests of what happens in front of it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

from isthmus.core.modality import Modality
from isthmus.gateway.cache import EmbeddingCache
from isthmus.gateway.domain import Content, EncodedBatch, EncoderInfo, Row
from isthmus.gateway.embedder import Embedder
from isthmus.gateway.encode_lane import EncodeLimits, Lane
from isthmus.gateway.lru import RowCache
from isthmus.gateway.validation import text_content
from isthmus.runtime.base import context
from isthmus.runtime.base.context import CallContext
from isthmus.runtime.base.errors import DeadlineExceededError, InvalidArgumentError, IsthmusError
from tests.unit.gateway.dummy_encoder import expected_row

__all__ = ["DIMENSION", "MemoryEncoder", "embedder", "limits", "local_cache", "texts", "until"]

DIMENSION = 8


class MemoryEncoder:
    """Answers with known rows, when it is let.

    Args:
        modality: What it encodes.
        space: Its raw space.
    """

    def __init__(self, modality: Modality = Modality.TEXT, *, space: str = "memory@0000000000000001") -> None:
        self.modality = modality
        self.space = space
        self.gate = asyncio.Event()
        self.gate.set()
        """Cleared, calls wait."""
        self.failures: list[Exception] = []
        self.calls: list[list[bytes]] = []
        self.deadlines: list[float | None] = []
        self.running = 0
        self.cancelled = 0

    async def describe(self) -> EncoderInfo:
        """Say which encoder this is."""
        return EncoderInfo(self.space, self.modality, DIMENSION, context_tokens=4)

    async def encode(self, contents: Sequence[Content]) -> EncodedBatch:
        """Encode; a text of more than four words is cut, one with `POISON` fails."""
        self.calls.append([content.data for content in contents])
        self.deadlines.append(context.current().deadline_s)
        space = self.space
        self.running += 1
        try:
            if self.failures:
                raise self.failures.pop(0)
            remaining = context.current().remaining_s()
            try:
                async with asyncio.timeout(remaining):
                    await self.gate.wait()
            except TimeoutError as error:
                msg = "too late"
                raise DeadlineExceededError(msg, reason="DEADLINE_EXCEEDED") from error
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.running -= 1
        rows = [self._row(content, space) for content in contents]
        return EncodedBatch(space, DIMENSION, rows, queue_micros=1, encode_micros=2)

    def _row(self, content: Content, space: str) -> Row | IsthmusError:
        if b"POISON" in content.data:
            msg = "the encoder fails on this item"
            return InvalidArgumentError(msg, reason="ENCODE_FAILED")
        return Row(expected_row(space, content.data, DIMENSION), len(content.data.split()) > 4)

    @property
    def seen(self) -> list[bytes]:
        """Every content it was asked to encode."""
        return [data for call in self.calls for data in call]


def limits(
    *,
    batch_max_count: int = 64,
    batch_max_bytes: int = 1 << 20,
    interactive: int = 8,
    bulk: int = 2,
    coalesce_s: float = 0.006,
    gather_count: int = 32,
    timeout_s: float = 10.0,
    queue_max_count: int = 4_096,
    queue_max_bytes: int = 1 << 28,
) -> EncodeLimits:
    """Return limits with the defaults of the configuration."""
    return EncodeLimits(
        batch_max_count=batch_max_count,
        batch_max_bytes=batch_max_bytes,
        calls={Lane.INTERACTIVE: interactive, Lane.BULK: bulk},
        coalesce_s=coalesce_s,
        gather_count=gather_count,
        timeout_s=timeout_s,
        queue_max_count=queue_max_count,
        queue_max_bytes=queue_max_bytes,
    )


def local_cache(max_bytes: int = 1 << 20) -> EmbeddingCache:
    """Return a cache without Redis."""
    return EmbeddingCache(secret=bytes(32), local=RowCache(max_bytes), backend=None, ttl_s=60)


def embedder(
    encoder: MemoryEncoder, *, cache: EmbeddingCache | None = None, bounds: EncodeLimits | None = None
) -> Embedder:
    """Return an embedder of one modality."""
    return Embedder({encoder.modality: encoder}, cache=cache or local_cache(), limits=bounds or limits())


def texts(*values: str) -> list[Content]:
    """Return texts as contents."""
    return [text_content(value) for value in values]


def until(seconds: float) -> None:
    """Give the current task a deadline."""
    context.enter(CallContext(request_id="test", deadline_s=time.monotonic() + seconds))
