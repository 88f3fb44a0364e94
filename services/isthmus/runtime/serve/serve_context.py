"""Ray Serve's context of a call, as handlers know gRPC's. Knows no Ray."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Final, NoReturn, Protocol, TypeAlias

import grpc

from isthmus.runtime.rpc import metadata

__all__ = ["CallEndedError", "RayContext", "ServeContext"]

_Metadata: TypeAlias = Sequence[tuple[str, str | bytes]]

_DEADLINE_DIGITS_MAX_COUNT: Final = 16


class CallEndedError(Exception):
    """The call's status is set; nothing is left to be done."""


class RayContext(Protocol):
    """What is used of `RayServegRPCContext`."""

    def invocation_metadata(self) -> _Metadata:
        """Return what the caller sent."""

    def set_code(self, code: grpc.StatusCode) -> None:
        """Set the status."""

    def set_details(self, details: str) -> None:
        """Set its message."""

    def set_trailing_metadata(self, trailing_metadata: list[tuple[str, str | bytes]]) -> None:
        """Set the trailers."""


class ServeContext:
    """The part of `grpc.aio.ServicerContext` that services use.

    Ray's own has neither a deadline nor an `abort` that works: the deadline is read from our own metadata, and `abort`
    sets the status and leaves the handler by an exception of ours.

    Args:
        context: Ray's.
    """

    __slots__ = ("_context",)

    def __init__(self, context: RayContext) -> None:
        self._context = context

    def invocation_metadata(self) -> _Metadata:
        """Return what the caller sent."""
        return self._context.invocation_metadata()

    def time_remaining(self) -> float | None:
        """Return the seconds that are left to the caller, None when it waits for ever."""
        for key, value in self._context.invocation_metadata():
            if key == metadata.DEADLINE and isinstance(value, str) and _is_number(value):
                return int(value) / 1000 - time.time()
        return None

    async def abort(self, code: grpc.StatusCode, details: str = "", trailing_metadata: _Metadata = ()) -> NoReturn:
        """End the call.

        Raises:
            CallEndedError: always.
        """
        self._context.set_code(code)
        self._context.set_details(details)
        self._context.set_trailing_metadata(list(trailing_metadata))
        raise CallEndedError


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= _DEADLINE_DIGITS_MAX_COUNT
