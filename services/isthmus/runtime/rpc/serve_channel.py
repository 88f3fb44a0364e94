"""A channel to one application of Ray Serve, whose ingress many applications share."""

from __future__ import annotations

from typing import Any, Self

import grpc

from isthmus.runtime.rpc import metadata

__all__ = ["ServeChannel"]


class ServeChannel(grpc.aio.Channel):
    """Names the application in every call.

    An interceptor of gRPC could do the same, for a task of its own a call.

    Args:
        channel: To the ingress.
        application: The application.
    """

    def __init__(self, channel: grpc.aio.Channel, application: str) -> None:
        self._channel = channel
        self._pair = (metadata.APPLICATION, application)

    def _named(self, method: Any) -> Any:
        def invoke(request: Any, *, metadata: tuple[tuple[str, str], ...] = (), **options: Any) -> Any:
            return method(request, metadata=(*metadata, self._pair), **options)

        return invoke

    def unary_unary(self, *arguments: Any, **options: Any) -> Any:
        """Return a method of one request and one answer."""
        return self._named(self._channel.unary_unary(*arguments, **options))

    def unary_stream(self, *arguments: Any, **options: Any) -> Any:
        """Return a method of one request and many answers."""
        return self._named(self._channel.unary_stream(*arguments, **options))

    def stream_unary(self, *arguments: Any, **options: Any) -> Any:
        """Return a method of many requests and one answer."""
        return self._named(self._channel.stream_unary(*arguments, **options))

    def stream_stream(self, *arguments: Any, **options: Any) -> Any:
        """Return a method of many requests and many answers."""
        return self._named(self._channel.stream_stream(*arguments, **options))

    async def close(self, grace: float | None = None) -> None:
        """Close it."""
        await self._channel.close(grace)

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:  # noqa: FBT001, FBT002 - gRPC's
        """Return whether it is connected."""
        return self._channel.get_state(try_to_connect)

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        """Wait until its state is another."""
        await self._channel.wait_for_state_change(last_observed_state)

    async def channel_ready(self) -> None:
        """Wait until it is connected."""
        await self._channel.channel_ready()

    async def __aenter__(self) -> Self:
        """Return it."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close it."""
        await self._channel.close()
