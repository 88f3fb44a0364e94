"""Embed contents: in-process cache, shared cache, one encoding for all who ask, in this order."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from isthmus.core.modality import Modality
from isthmus.gateway.cache import EmbeddingCache
from isthmus.gateway.cache_key import CacheKeys
from isthmus.gateway.cache_value import unit_rows
from isthmus.gateway.domain import Content, EncodedBatch, EncoderInfo, Row, Stages
from isthmus.gateway.encode_lane import EncodeLimits, Lane
from isthmus.gateway.encode_queue import EncodeQueue
from isthmus.gateway.metrics import CACHE
from isthmus.gateway.ports import EncoderPort
from isthmus.gateway.single_flight import Flight, FlightTable, Waiter
from isthmus.runtime.base import context
from isthmus.runtime.base.errors import (
    DeadlineExceededError,
    InternalError,
    InvalidArgumentError,
    IsthmusError,
    UnavailableError,
)
from isthmus.runtime.base.logging import fields

__all__ = ["Embedded", "Embedder"]

log = logging.getLogger("isthmus.gateway")

_SHARED: Final = CACHE.labels("shared")
_ATTEMPTS: Final = 3
"""How often a batch is begun anew because the encoder was replaced by another revision meanwhile."""


class _SpaceChangedError(UnavailableError):
    """The encoder is another one than a moment ago: keys and rows of the old one must not mix with the new."""

    def __init__(self) -> None:
        msg = "the encoder is being replaced"
        super().__init__(msg, reason="BACKEND_UNAVAILABLE")


@dataclass(frozen=True, slots=True)
class Embedded:
    """The embeddings of contents of one modality.

    Attributes:
        encoder: Who made them.
        rows: A row or an error of its own for each content, in the order asked.
        stages: Where the time went.
    """

    encoder: EncoderInfo
    rows: Sequence[Row | IsthmusError]
    stages: Stages = field(default_factory=Stages)


class Embedder:
    """Embeds contents of both modalities.

    Args:
        encoders: By modality.
        cache: Where rows are looked for first.
        limits: Bounds of the queue in front of each encoder.
    """

    def __init__(
        self, encoders: Mapping[Modality, EncoderPort], *, cache: EmbeddingCache, limits: EncodeLimits
    ) -> None:
        self._encoders = encoders
        self._cache = cache
        self._infos: dict[Modality, EncoderInfo] = {}
        self._keys: dict[tuple[Modality, str], CacheKeys] = {}
        self._table = FlightTable()
        self._queues = {
            modality: EncodeQueue(
                encoder,
                modality=modality,
                limits=limits,
                table=self._table,
                on_encoded=partial(self._landed, modality),
            )
            for modality, encoder in encoders.items()
        }

    async def close(self) -> None:
        """Call off whatever is being encoded."""
        for queue in self._queues.values():
            await queue.close()

    def known(self, modality: Modality) -> EncoderInfo | None:
        """Return the encoder as it was last seen, or None before it was."""
        return self._infos.get(modality)

    async def info(self, modality: Modality) -> EncoderInfo:
        """Return the encoder of `modality`, asking it when it is not known.

        Raises:
            IsthmusError: it does not answer.
        """
        return self._infos.get(modality) or await self.refresh(modality)

    async def refresh(self, modality: Modality) -> EncoderInfo:
        """Ask the encoder who it is; from now on its answer holds.

        Raises:
            IsthmusError: it does not answer.
            InternalError: it encodes another modality.
        """
        info = await self._encoders[modality].describe()
        if info.modality is not modality:
            msg = "the encoder is configured for the wrong modality"
            raise InternalError(msg)
        known = self._infos.get(modality)
        if known is None or (known.space, known.dimension) != (info.space, info.dimension):
            log.info("encoder known", extra=fields(modality=modality.value, space=info.space, dimension=info.dimension))
            self._keys = {key: made for key, made in self._keys.items() if key[0] is not modality}
        self._infos[modality] = info
        return info

    async def embed(
        self,
        modality: Modality,
        contents: Sequence[Content],
        *,
        lane: Lane = Lane.INTERACTIVE,
        refuse_long: bool = False,
    ) -> Embedded:
        """Embed contents of one modality.

        A content that cannot be embedded has its error in its place. A failure of the encoder as a whole (it is away,
        full, too late) is raised: it says nothing about any content, and the caller may retry all of them.

        Args:
            modality: What all contents are.
            contents: Checked already.
            lane: Who waits.
            refuse_long: Answer TEXT_TOO_LONG for a text that does not fit the encoder's context.

        Raises:
            IsthmusError: of the encoder.
        """
        for _ in range(_ATTEMPTS):
            info = await self.info(modality)
            try:
                rows, stages = await self._rows(info, contents, lane)
            except _SpaceChangedError:
                await self.refresh(modality)
                continue
            if refuse_long:
                rows = [_refuse_if_cut(row, info) for row in rows]
            return Embedded(info, rows, stages)
        raise _SpaceChangedError

    async def _rows(
        self, info: EncoderInfo, contents: Sequence[Content], lane: Lane
    ) -> tuple[list[Row | IsthmusError], Stages]:
        call = context.current()
        keys = self._make_keys(call.tenant, info, [content.digest for content in contents])
        found = self._cache.get_local(keys)
        missing = [position for position, row in enumerate(found) if row is None]
        stages = Stages(cache_hits=len(found) - len(missing))
        if not missing:
            return list(found), stages  # type: ignore[arg-type]  # no None is left

        waiter = Waiter(deadline_s=call.deadline_s)
        flights: dict[bytes, Flight] = {}
        opened: list[Flight] = []
        for position in missing:
            key = keys[position]
            if key not in flights:
                flight, is_new = self._table.join(key, contents[position], waiter, origin=call)
                flights[key] = flight
                if is_new:
                    opened.append(flight)
        try:
            if len(opened) < len(flights):
                _SHARED.inc(len(flights) - len(opened))
                if lane is Lane.INTERACTIVE:
                    self._queues[info.modality].hurry(list(flights.values()))
            await self._launch(info, opened, lane)
            await _landing(waiter)
        finally:
            self._table.leave(flights.values(), waiter)
        outcomes = {key: _outcome(flight) for key, flight in flights.items()}
        stages.cache_misses = sum(flights[keys[position]].encoded for position in missing)
        stages.cache_hits = len(contents) - stages.cache_misses
        stages.queue_micros = max(flight.queue_micros for flight in flights.values())
        stages.encode_micros = max(flight.encode_micros for flight in flights.values())
        return [row if row is not None else outcomes[key] for key, row in zip(keys, found, strict=True)], stages

    def known_keys(self, tenant: str, digests: Sequence[bytes]) -> list[bytes]:
        """Return the keys that embeddings of contents are cached under, by the encoders as they are now."""
        return [key for info in self._infos.values() for key in self._make_keys(tenant, info, digests)]

    def _make_keys(self, tenant: str, info: EncoderInfo, digests: Sequence[bytes]) -> list[bytes]:
        maker = self._keys.get((info.modality, tenant))
        if maker is None:
            maker = self._keys[info.modality, tenant] = CacheKeys(tenant, info)
        return [maker.key(digest) for digest in digests]

    async def _launch(self, info: EncoderInfo, opened: Sequence[Flight], lane: Lane) -> None:
        """Get flights going: land those that the shared cache knows, queue the others for the encoder."""
        if not opened:
            return
        queue = self._queues[info.modality]
        try:
            rows = await self._cache.fetch([flight.key for flight in opened], info.dimension)
        except BaseException:
            # Whoever opened them is called off. Others who joined meanwhile must not be left to wait for nobody.
            self._take_over(queue, [flight for flight in opened if len(flight.waiters) > 1], lane)
            for flight in opened:
                if len(flight.waiters) <= 1:
                    self._table.forget(flight)
            raise
        rest = []
        for flight, row in zip(opened, rows, strict=True):
            if row is None:
                rest.append(flight)
            else:
                self._table.land(flight, row)
        if rest:
            self._take_over(queue, rest, lane)

    def _take_over(self, queue: EncodeQueue, flights: Sequence[Flight], lane: Lane) -> None:
        try:
            queue.submit(flights, lane)
        except IsthmusError as error:
            for flight in flights:
                self._table.fail(flight, error)

    def _landed(self, modality: Modality, flights: Sequence[Flight], batch: EncodedBatch) -> None:
        """Keep what an encoder answered and tell whoever waits."""
        info = self._infos[modality]
        rows = [(flight, row) for flight, row in zip(flights, batch.rows, strict=True) if isinstance(row, Row)]
        if rows and (batch.space, batch.dimension) != (info.space, info.dimension):
            for flight in flights:
                self._table.fail(flight, _SpaceChangedError())
            return
        sound = unit_rows([row.data for _, row in rows], info.dimension) if rows else []
        kept = [pair for pair, good in zip(rows, sound, strict=True) if good]
        self._cache.keep([flight.key for flight, _ in kept], [row for _, row in kept])
        for flight, row in kept:
            self._table.land(flight, row)
        for flight, outcome in zip(flights, batch.rows, strict=True):
            if isinstance(outcome, IsthmusError):
                self._table.land(flight, outcome)
        if len(kept) < len(rows):
            log.error("encoder answered with rows that are no unit vectors", extra=fields(count=len(rows) - len(kept)))
            msg = "an encoder's row is no unit vector"
            for flight, _ in rows:
                self._table.land(flight, InternalError(msg))


async def _landing(waiter: Waiter) -> None:
    """Wait until every flight has landed, as long as the caller does.

    Raises:
        DeadlineExceededError: the caller's time ran out first.
    """
    if waiter.landed.done() or not waiter.remaining:
        return
    timer = None
    if waiter.deadline_s is not None:
        left_s = max(0.0, waiter.deadline_s - time.monotonic())
        timer = asyncio.get_running_loop().call_later(left_s, _give_up, waiter)
    try:
        await waiter.landed
    finally:
        if timer is not None:
            timer.cancel()
    if waiter.remaining:
        msg = "the deadline passed before the work was done"
        raise DeadlineExceededError(msg, reason="DEADLINE_EXCEEDED")


def _give_up(waiter: Waiter) -> None:
    if not waiter.landed.done():
        waiter.landed.set_result(None)


def _outcome(flight: Flight) -> Row | IsthmusError:
    """Return what became of the content.

    Raises:
        IsthmusError: the work was not done at all.
        InternalError: the flight was woken before it landed, which is a bug.
    """
    if flight.failure is not None:
        raise flight.failure
    if flight.outcome is None:
        msg = "a flight ended without an outcome"
        raise InternalError(msg)
    return flight.outcome


def _refuse_if_cut(row: Row | IsthmusError, info: EncoderInfo) -> Row | IsthmusError:
    if isinstance(row, IsthmusError) or not row.truncated:
        return row
    msg = f"text does not fit the encoder's context; the limit is {info.context_tokens} tokens"
    return InvalidArgumentError(
        msg, reason="TEXT_TOO_LONG", metadata={"field": "text", "limit": str(info.context_tokens), "unit": "tokens"}
    )
