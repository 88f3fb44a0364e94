"""The shared cache: a Redis that may be slow, wrong or dead at any time without a caller noticing.

Look-ups of concurrent callers are gathered: while one MGET is on its way the next one fills up, so a crowd costs one
round trip and one connection. Writes go out behind the callers' backs from a bounded buffer. Every failure counts for
a breaker; while it is open nothing is sent but a PING twice a second.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar, cast

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from isthmus.gateway.breaker import Breaker
from isthmus.gateway.metrics import REDIS_FAILURES
from isthmus.runtime.base.logging import fields

__all__ = ["Entry", "RedisBackend"]

log = logging.getLogger("isthmus.gateway")

_PREFIX: Final = b"isthmus:e:"
_MGET_MAX_COUNT: Final = 256
_UNWRITTEN_MAX_BYTES: Final = 16 * 1024 * 1024
_WRITE_PATIENCE: Final = 5  # a pipeline of writes carries more than a look-up, and nobody waits for it
_FAILURES_TO_OPEN: Final = 5
_PROBE_INTERVAL_S: Final = 0.5
_START_TIMEOUT_S: Final = 1.0

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Entry:
    """A value to store.

    Attributes:
        key: Under which key.
        value: What; None removes the key.
        ttl_ms: How long Redis keeps it.
    """

    key: bytes
    value: bytes | None
    ttl_ms: int = 0


@dataclass(frozen=True, slots=True)
class _LookUp:
    keys: Sequence[bytes]
    answer: asyncio.Future[Sequence[bytes | None] | None]


class RedisBackend:
    """A client of one Redis.

    Args:
        url: `redis://`, `rediss://` or `unix://`.
        op_timeout_s: How long a caller waits for a look-up.
        connect_timeout_s: How long connecting may take.

    Raises:
        ValueError: the URL is none of these.
    """

    def __init__(self, url: str, *, op_timeout_s: float, connect_timeout_s: float) -> None:
        self._client: Redis = Redis.from_url(
            url,
            socket_connect_timeout=connect_timeout_s,
            # Time is kept here, by operation, so that a stall of our own loop is not blamed on Redis.
            socket_timeout=None,
            retry=Retry(NoBackoff(), 0),
            driver_info=None,
        )
        self._op_timeout_s = op_timeout_s
        self._connect_timeout_s = connect_timeout_s
        self._breaker = Breaker(threshold=_FAILURES_TO_OPEN)
        self._look_ups: deque[_LookUp] = deque()
        self._writes: deque[Sequence[Entry]] = deque()
        self._unwritten_bytes = 0
        self._look_up_wanted = asyncio.Event()
        self._write_wanted = asyncio.Event()
        self._opened = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._workers: list[asyncio.Task[None]] = []

    @property
    def serving(self) -> bool:
        """True while Redis answers."""
        return bool(self._workers) and not self._breaker.is_open

    async def start(self) -> None:
        """Connect, and begin to serve; a Redis that is not there yet is looked for until it is."""
        self._workers = [
            asyncio.create_task(work(), name=f"redis-{name}")
            for name, work in (("look-up", self._look_up), ("write", self._write), ("probe", self._probe))
        ]
        # Patiently: nobody waits yet, and a process that is starting is slow itself.
        if not await self._ping(_START_TIMEOUT_S):
            self._trip()

    async def close(self) -> None:
        """Stop; whatever was not written is forgotten."""
        workers, self._workers = self._workers, []
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
        for look_up in self._look_ups:
            _answer(look_up, None)
        self._look_ups.clear()
        await self._client.aclose()

    async def fetch(self, keys: Sequence[bytes]) -> list[bytes | None] | None:
        """Return what is stored under `keys`, None where nothing is; None altogether when Redis does not answer."""
        if not self.serving:
            return None
        loop = asyncio.get_running_loop()
        parts = [
            _LookUp(keys[start : start + _MGET_MAX_COUNT], loop.create_future())
            for start in range(0, len(keys), _MGET_MAX_COUNT)
        ]
        self._look_ups.extend(parts)
        self._look_up_wanted.set()
        # A look-up may have to wait for the one before it; the caller's patience covers both.
        timers = [loop.call_later(self._op_timeout_s, _answer, part, None) for part in parts]
        try:
            values: list[bytes | None] = []
            for part in parts:
                found = await part.answer
                if found is None:
                    return None
                values.extend(found)
            return values
        finally:
            for timer in timers:
                timer.cancel()

    def put(self, entries: Sequence[Entry]) -> None:
        """Store (or remove) entries soon. They are forgotten when Redis is away or far behind."""
        size = _size(entries)
        if not self.serving or self._unwritten_bytes + size > _UNWRITTEN_MAX_BYTES:
            return
        self._unwritten_bytes += size
        self._idle.clear()
        self._writes.append(entries)
        self._write_wanted.set()

    async def remove(self, keys: Sequence[bytes]) -> bool:
        """Remove keys, after everything that was put before; return whether Redis has done so."""
        if not self.serving:
            return False
        await self.flush()
        return await self._attempt(self._unlink(keys), self._op_timeout_s * _WRITE_PATIENCE) is not None

    async def flush(self) -> None:
        """Wait until everything that was put has been sent or forgotten."""
        await self._idle.wait()

    async def _look_up(self) -> None:
        while True:
            await self._look_up_wanted.wait()
            self._look_up_wanted.clear()
            while self._look_ups:
                batch = self._take_look_ups()
                if not batch:
                    continue
                names = [_PREFIX + key for look_up in batch for key in look_up.keys]
                values = await self._attempt(self._read(names), self._op_timeout_s)
                start = 0
                for look_up in batch:
                    end = start + len(look_up.keys)
                    _answer(look_up, None if values is None else values[start:end])
                    start = end

    def _take_look_ups(self) -> list[_LookUp]:
        """Take look-ups for one MGET, leaving out those whose caller has gone."""
        batch: list[_LookUp] = []
        count = 0
        while self._look_ups and (not batch or count + len(self._look_ups[0].keys) <= _MGET_MAX_COUNT):
            look_up = self._look_ups.popleft()
            if not look_up.answer.done():
                batch.append(look_up)
                count += len(look_up.keys)
        return batch

    async def _write(self) -> None:
        while True:
            await self._write_wanted.wait()
            self._write_wanted.clear()
            while self._writes:
                entries = self._writes.popleft()
                await self._attempt(self._send(entries), self._op_timeout_s * _WRITE_PATIENCE)
                self._unwritten_bytes -= _size(entries)
            self._idle.set()

    async def _read(self, names: Sequence[bytes]) -> Sequence[bytes | None]:
        # redis-py allows for clients that decode to str; this one does not.
        return cast("Sequence[bytes | None]", await self._client.mget(names))

    async def _send(self, entries: Sequence[Entry]) -> None:
        async with self._client.pipeline(transaction=False) as pipeline:
            for entry in entries:
                if entry.value is None:
                    pipeline.delete(_PREFIX + entry.key)
                else:
                    pipeline.set(_PREFIX + entry.key, entry.value, px=entry.ttl_ms)
            await pipeline.execute()

    async def _unlink(self, keys: Sequence[bytes]) -> bool:
        await self._send([Entry(key, None) for key in keys])
        return True

    async def _probe(self) -> None:
        while True:
            await self._opened.wait()
            await asyncio.sleep(_PROBE_INTERVAL_S)
            if await self._ping(self._connect_timeout_s + self._op_timeout_s):
                self._opened.clear()
                log.info("redis answers again")

    async def _ping(self, timeout_s: float) -> bool:
        return await self._attempt(self._pong(), timeout_s, probe=True) is not None

    async def _pong(self) -> bool:
        answer: bool = await self._client.ping()
        return answer

    async def _attempt(self, operation: Coroutine[Any, Any, T], timeout_s: float, *, probe: bool = False) -> T | None:
        """Return what `operation` answers within `timeout_s`, else None; the breaker hears of it either way."""
        if self._breaker.is_open and not probe:
            operation.close()
            return None
        task = asyncio.create_task(operation)
        try:
            if await _in_time(task, timeout_s):
                result = task.result()
                self._breaker.succeeded()
                return result
            self._failed("TimeoutError")
        except (RedisError, OSError) as error:
            self._failed(type(error).__name__)
        finally:
            if not task.done():
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
        return None

    def _failed(self, error: str) -> None:
        REDIS_FAILURES.inc()
        if self._breaker.failed():
            self._opened.set()
            log.warning("redis does not answer; going on without", extra=fields(error=error))

    def _trip(self) -> None:
        while not self._breaker.is_open:
            self._breaker.failed()
        self._opened.set()


async def _in_time(task: asyncio.Task[Any], timeout_s: float) -> bool:
    await asyncio.wait((task,), timeout=timeout_s)
    for _ in range(2):
        # The timer and the answer may have become due in the same turn of a loop that was stalled.
        if not task.done():
            await asyncio.sleep(0)
    return task.done()


def _answer(look_up: _LookUp, values: Sequence[bytes | None] | None) -> None:
    if not look_up.answer.done():
        look_up.answer.set_result(values)


def _size(entries: Sequence[Entry]) -> int:
    return sum(len(entry.key) + len(entry.value or b"") for entry in entries)
