"""Messages that cannot be read: an error of ours in place of gRPC's, which tells of the parser and has no reason."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Callable
from typing import Any, Final, NoReturn

from google.protobuf.message import DecodeError

from isthmus.runtime.base.errors import InvalidArgumentError

__all__ = ["readable", "readable_stream", "tolerant"]

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


class _Readable:
    """Not a generator: there is nothing to clean up when a handler leaves it halfway."""

    def __init__(self, requests: AsyncIterable[Any]) -> None:
        self._requests = aiter(requests)

    def __aiter__(self) -> AsyncIterator[Any]:
        return self

    async def __anext__(self) -> Any:
        return readable(await anext(self._requests))


def _refuse() -> NoReturn:
    msg = "the message cannot be read: it is damaged, or nested deeper than protobuf allows"
    raise InvalidArgumentError(msg, reason="MESSAGE_UNREADABLE")
