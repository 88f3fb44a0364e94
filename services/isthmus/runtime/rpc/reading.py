"""Messages that cannot be read: an error of ours in place of gRPC's, which tells of the parser and has no reason."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable
from typing import Any, Final, NoReturn

from google.protobuf.message import DecodeError

from isthmus.runtime.base.errors import InvalidArgumentError

__all__ = ["closing", "readable", "readable_stream", "tolerant"]

_UNREADABLE: Final = object()
"""Stands for a message from where it is parsed, where gRPC gives every error its own status, to the handler."""


def tolerant(deserialize: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
    """Return a deserializer that never fails; what it makes of a damaged message goes through `readable`."""

    def read(data: bytes) -> Any:
        try:
            return deserialize(data)
        except DecodeError:
            return _UNREADABLE

    return read


def readable(request: Any) -> Any:
    """Return a message.

    Raises:
        InvalidArgumentError: MESSAGE_UNREADABLE.
    """
    if request is _UNREADABLE:
        _refuse()
    return request


def readable_stream(requests: AsyncIterable[Any]) -> AsyncIterator[Any]:
    """Return the messages of a stream; it raises as `readable` does."""
    return _Readable(requests)


@contextlib.asynccontextmanager
async def closing(requests: Any) -> AsyncIterator[None]:
    """Close a stream of messages at the end, which its handler may have left halfway; a single message is let be."""
    try:
        yield
    finally:
        if isinstance(requests, _Readable):
            await requests.aclose()


class _Readable:
    """Not a generator: whoever leaves it halfway has nothing to clean up in it, only gRPC's own below it."""

    def __init__(self, requests: AsyncIterable[Any]) -> None:
        self._requests = requests
        self._reading: AsyncIterator[Any] | None = None

    async def aclose(self) -> None:
        """Close gRPC's generator; the garbage collector may come by when its loop is gone."""
        if isinstance(self._reading, AsyncGenerator) and not getattr(self._reading, "ag_running", False):
            await self._reading.aclose()

    def __aiter__(self) -> AsyncIterator[Any]:
        return self

    async def __anext__(self) -> Any:
        if self._reading is None:
            self._reading = aiter(self._requests)
        return readable(await anext(self._reading))


def _refuse() -> NoReturn:
    msg = "the message cannot be read: it is damaged, or nested deeper than protobuf allows"
    raise InvalidArgumentError(msg, reason="MESSAGE_UNREADABLE")
