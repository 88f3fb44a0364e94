"""Ask some or all groups of searchers the same, and tell which did not answer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import grpc

from isthmus.runtime.base.errors import (
    DataLossError,
    DeadlineExceededError,
    InternalError,
    IsthmusError,
    NotFoundError,
    UnavailableError,
)
from isthmus.runtime.rpc import status
from isthmus.v1 import index_search_service_pb2
from isthmus.v1.index_search_service_pb2_grpc import IndexSearchServiceStub

__all__ = ["Hop", "Scatter", "disagreement"]

_BACKEND: Final = "index_search"
_PATIENCE_SHARE: Final = 0.8
"""Of the caller's time: what a group may take where the others' answers will do."""
_PATIENCE_S: Final = 10.0
"""Likewise of a caller without a deadline."""
_GONE: Final = frozenset({"BACKEND_UNAVAILABLE", "NOT_READY", "DRAINING"})
_RETRY_S: Final = 0.5


@dataclass(frozen=True, slots=True)
class Hop:
    """What every call on behalf of one caller carries.

    Attributes:
        metadata: Of the calls.
        due_s: When the caller gives up, on the clock of `time.monotonic`; None for never.
    """

    metadata: Sequence[tuple[str, str]]
    due_s: float | None

    @classmethod
    def of(cls, *, timeout: float | None = None, metadata: Sequence[tuple[str, str]] = ()) -> Hop:
        """Return what a call of gRPC says, of which these are the options."""
        return cls(tuple(metadata), None if timeout is None else time.monotonic() + timeout)

    def remaining_s(self) -> float | None:
        """Return the seconds left; None for any number."""
        return None if self.due_s is None else max(0.0, self.due_s - time.monotonic())

    def patience_s(self) -> float:
        """Return how long to wait for a group whose answer is not indispensable."""
        remaining_s = self.remaining_s()
        return _PATIENCE_S if remaining_s is None else _PATIENCE_SHARE * remaining_s


def disagreement(message: str) -> UnavailableError:
    """Return what to say when groups are at states that do not fit together; they soon will."""
    return UnavailableError(message, reason="SHARDS_DISAGREE", retry_after_s=_RETRY_S)


class Scatter:
    """The groups of a mesh.

    Args:
        channels: To each of them, in the order of their numbers.
    """

    def __init__(self, channels: Sequence[grpc.aio.Channel]) -> None:
        self.stubs = [IndexSearchServiceStub(channel) for channel in channels]

    @property
    def count(self) -> int:
        """Groups there are."""
        return len(self.stubs)

    @property
    def numbers(self) -> range:
        """Their numbers."""
        return range(self.count)

    def shard(self, number: int) -> index_search_service_pb2.Shard:
        """Return what a group must hold."""
        return index_search_service_pb2.Shard(number=number, count=self.count)

    def addressed(self, request: Any, numbers: Iterable[int]) -> dict[int, Any]:
        """Return copies of a request, each for one group."""
        requests = {}
        for number in numbers:
            requests[number] = type(request)()
            requests[number].CopyFrom(request)
            requests[number].shard.CopyFrom(self.shard(number))
        return requests

    async def one(self, number: int, method: str, request: Any, hop: Hop) -> Any:
        """Ask one group.

        Raises:
            IsthmusError: what it refused with; UNAVAILABLE, reason SHARD_UNAVAILABLE, where it is not there.
        """
        try:
            return await getattr(self.stubs[number], method)(
                request, timeout=hop.remaining_s(), metadata=tuple(hop.metadata)
            )
        except grpc.RpcError as error:
            raise self.failure(number, status.from_rpc_error(error, backend=_BACKEND)) from error

    def failure(self, number: int, error: IsthmusError) -> IsthmusError:
        """Return what a group's failure is called."""
        if not isinstance(error, UnavailableError) or error.reason not in _GONE:
            return error
        msg = f"shard {number} of {self.count} does not answer"
        metadata = {"shard": str(number), "shards_total": str(self.count), "cause": error.reason}
        return UnavailableError(msg, reason="SHARD_UNAVAILABLE", metadata=metadata, retry_after_s=_RETRY_S)

    async def all(self, method: str, requests: Mapping[int, Any], hop: Hop) -> dict[int, Any]:
        """Ask groups side by side; the first failure calls off the rest.

        Raises:
            IsthmusError: that failure.
        """
        try:
            async with asyncio.TaskGroup() as group:
                tasks = {
                    number: group.create_task(self.one(number, method, request, hop))
                    for number, request in requests.items()
                }
        except BaseExceptionGroup as failures:
            raise failures.exceptions[0] from failures
        return {number: task.result() for number, task in tasks.items()}

    async def some(
        self, method: str, requests: Mapping[int, Any], hop: Hop, *, patience_s: float
    ) -> tuple[dict[int, Any], dict[int, IsthmusError]]:
        """Ask groups side by side; who is not there, or has not answered in time, is told apart.

        Raises:
            IsthmusError: what a group refused the request itself with.
        """
        tasks = {
            number: asyncio.create_task(self.one(number, method, request, hop)) for number, request in requests.items()
        }
        try:
            await asyncio.wait(tasks.values(), timeout=patience_s)
        finally:
            late = [task for task in tasks.values() if not task.done()]
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late)
        answers: dict[int, Any] = {}
        missing: dict[int, IsthmusError] = {}
        for number, task in tasks.items():
            error = self._late(number) if task.cancelled() else task.exception()
            if error is None:
                answers[number] = task.result()
            elif isinstance(error, IsthmusError) and _is_absence(error):
                missing[number] = error
            else:
                raise error
        return answers, missing

    def _late(self, number: int) -> IsthmusError:
        msg = f"shard {number} of {self.count} has not answered in time"
        metadata = {"shard": str(number), "shards_total": str(self.count)}
        return DeadlineExceededError(msg, reason="DEADLINE_EXCEEDED", metadata=metadata)


def _is_absence(error: IsthmusError) -> bool:
    """Return whether an error is about the group rather than about the request.

    A group that does not know the collection yet, or no more, is behind or ahead of the others.
    """
    absent = (UnavailableError, DeadlineExceededError, DataLossError, InternalError)
    return isinstance(error, absent) or error.reason in {"OVERLOADED", "QUEUE_FULL"} or isinstance(error, NotFoundError)
