"""The embedding cache: an in-process one in front of a shared one. It only ever makes things faster."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from isthmus.gateway.cache_value import Damage, open_values, seal_value
from isthmus.gateway.domain import Row
from isthmus.gateway.lru import RowCache
from isthmus.gateway.metrics import CACHE, CACHE_REFUSED
from isthmus.gateway.redis_backend import Entry, RedisBackend

__all__ = ["CacheCounts", "EmbeddingCache"]

_LOCAL: Final = CACHE.labels("local")
_BACKEND: Final = CACHE.labels("backend")
_MISS: Final = CACHE.labels("miss")
_JITTER: Final = 0.1
_MILLIS: Final = 1_000


@dataclass(slots=True)
class CacheCounts:
    """What was found where since this gateway started."""

    local_hits: int = 0
    backend_hits: int = 0
    misses: int = 0
    refused: int = 0


@dataclass(slots=True)
class EmbeddingCache:
    """Rows by key, in the process and in Redis.

    Attributes:
        secret: Key of the values' message authentication code.
        local: The in-process cache.
        backend: The shared one, or None.
        ttl_s: How long the shared one keeps a row, give or take a tenth.
        counts: What was found where.
    """

    secret: bytes
    local: RowCache
    backend: RedisBackend | None
    ttl_s: int
    counts: CacheCounts = field(default_factory=CacheCounts)

    @property
    def degraded(self) -> bool:
        """True while there should be a shared cache and it does not answer."""
        return self.backend is not None and not self.backend.serving

    async def start(self) -> None:
        """Connect to the shared cache."""
        if self.backend is not None:
            await self.backend.start()

    async def close(self) -> None:
        """Disconnect from the shared cache."""
        if self.backend is not None:
            await self.backend.close()

    def get_local(self, keys: Sequence[bytes]) -> list[Row | None]:
        """Return the rows that are in the process."""
        get = self.local.get
        rows = [get(key) for key in keys]
        hits = sum(row is not None for row in rows)
        if hits:
            self.counts.local_hits += hits
            _LOCAL.inc(hits)
        return rows

    async def fetch(self, keys: Sequence[bytes], dimension: int) -> list[Row | None]:
        """Return the rows that are in the shared cache and sound; damaged ones are removed and count as absent.

        Args:
            keys: Keys that are not in the process.
            dimension: Components of a row.
        """
        values = None if self.backend is None else await self.backend.fetch(keys)
        opened = [None] * len(keys) if values is None else open_values(self.secret, keys, values, dimension)
        rows: list[Row | None] = []
        damaged: list[Entry] = []
        for key, entry in zip(keys, opened, strict=True):
            if isinstance(entry, Damage):
                damaged.append(Entry(key, None))
                CACHE_REFUSED.labels(entry.value).inc()
                rows.append(None)
                continue
            if entry is not None:
                self.local.put(key, entry)
            rows.append(entry)
        if damaged and self.backend is not None:
            self.backend.put(damaged)
        misses = sum(row is None for row in rows)
        self.counts.refused += len(damaged)
        self.counts.misses += misses
        self.counts.backend_hits += len(rows) - misses
        _BACKEND.inc(len(rows) - misses)
        _MISS.inc(misses)
        return rows

    def keep(self, keys: Sequence[bytes], rows: Sequence[Row]) -> None:
        """Keep rows that were just made, here and in the shared cache."""
        for key, row in zip(keys, rows, strict=True):
            self.local.put(key, row)
        if self.backend is not None and self.backend.serving:
            self.backend.put(
                [
                    Entry(key, seal_value(self.secret, key, row), self._ttl_ms(key))
                    for key, row in zip(keys, rows, strict=True)
                ]
            )

    async def forget(self, keys: Sequence[bytes]) -> bool:
        """Drop rows, here and in the shared cache; return whether that one, if there is one, has done so.

        What other gateways hold in memory is not reached; they lose it when they need the room, or end.
        """
        for key in keys:
            self.local.drop(key)
        return self.backend is None or not keys or await self.backend.remove(keys)

    def _ttl_ms(self, key: bytes) -> int:
        """Spread expiry over a fifth of the time to live. The key is a digest, so its bytes are the dice."""
        dice = int.from_bytes(key[:4], "little") / 2**32
        return int(self.ttl_s * _MILLIS * (1 - _JITTER + 2 * _JITTER * dice))
