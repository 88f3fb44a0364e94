"""A channel over TLS whose certificate may be replaced while it is in use."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final, Self

import grpc

from isthmus.runtime.base.transport import Tls
from isthmus.runtime.rpc.tls import Pem, reloaded_pem

__all__ = ["ChannelTls", "TlsChannel"]

_CLOSE_GRACE_S: Final = 600.0
"""How long calls on their way may go on over the connection with the old certificate: as long as the longest call."""


class ChannelTls:
    """A caller's side of TLS, for all the channels of a process.

    Args:
        files: The CAs of the services that are called, and where they ask for one, its own certificate and key.

    Raises:
        UnusableFileError: the files cannot be used as they are now.
    """

    def __init__(self, files: Tls) -> None:
        self._pem = reloaded_pem("backend_tls", files, prefix="backend_", ca_setting="backend_tls_ca_file")

    def newest(self) -> Pem:
        """Return the newest good files, looking for newer ones once a second at most."""
        return self._pem.newest()


class TlsChannel(grpc.aio.Channel):
    """A channel that connects anew when the certificate was replaced; calls on their way end on the old connection.

    gRPC takes the credentials of a channel once and for all, so there is a channel for each version of the files.

    Args:
        tls: The caller's side of TLS.
        connect: Opens a channel with credentials.
    """

    def __init__(self, tls: ChannelTls, connect: Callable[[grpc.ChannelCredentials], grpc.aio.Channel]) -> None:
        self._tls = tls
        self._connect = connect
        self._pem = tls.newest()
        self._channel = connect(_credentials(self._pem))
        self._closing: set[asyncio.Task[None]] = set()

    def current(self) -> grpc.aio.Channel:
        """Return the channel with the newest certificate."""
        newest = self._tls.newest()
        if newest is not self._pem:
            old, self._pem = self._channel, newest
            self._channel = self._connect(_credentials(newest))
            closing = asyncio.ensure_future(old.close(_CLOSE_GRACE_S))
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)
        return self._channel

    def _method(self, kind: str, arguments: tuple[Any, ...], options: dict[str, Any]) -> Callable[..., Any]:
        made: dict[grpc.aio.Channel, Any] = {}

        def invoke(*call_arguments: Any, **call_options: Any) -> Any:
            channel = self.current()
            if channel not in made:
                made.clear()
                made[channel] = getattr(channel, kind)(*arguments, **options)
            return made[channel](*call_arguments, **call_options)

        return invoke

    def unary_unary(self, *arguments: Any, **options: Any) -> Any:
        """Return a method of one request and one answer."""
        return self._method("unary_unary", arguments, options)

    def unary_stream(self, *arguments: Any, **options: Any) -> Any:
        """Return a method of one request and many answers."""
        return self._method("unary_stream", arguments, options)

    def stream_unary(self, *arguments: Any, **options: Any) -> Any:
        """Return a method of many requests and one answer."""
        return self._method("stream_unary", arguments, options)

    def stream_stream(self, *arguments: Any, **options: Any) -> Any:
        """Return a method of many requests and many answers."""
        return self._method("stream_stream", arguments, options)

    async def close(self, grace: float | None = None) -> None:
        """Close it, and what is left of its forerunners."""
        for closing in self._closing:
            closing.cancel()
        await self._channel.close(grace)

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:  # noqa: FBT001, FBT002 - gRPC's
        """Return whether it is connected."""
        return self.current().get_state(try_to_connect)

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        """Wait until its state is another."""
        await self.current().wait_for_state_change(last_observed_state)

    async def channel_ready(self) -> None:
        """Wait until it is connected."""
        await self.current().channel_ready()

    async def __aenter__(self) -> Self:
        """Return it."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close it."""
        await self.close()


def _credentials(pem: Pem) -> grpc.ChannelCredentials:
    return grpc.ssl_channel_credentials(root_certificates=pem.ca, private_key=pem.key, certificate_chain=pem.cert)
