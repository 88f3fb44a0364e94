"""A relay between two unix sockets, whose connections a test can cut."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

__all__ = ["Relay", "running_relay"]

_CHUNK_BYTES = 1 << 16


class Relay:
    """Passes bytes on until it is cut.

    Args:
        target: Socket of the server.
    """

    def __init__(self, target: Path) -> None:
        self._target = target
        self._open: set[asyncio.StreamWriter] = set()
        self.is_cut = False
        self.connected = asyncio.Event()
        """Set once a connection was passed on since it was last cut."""

    def cut(self) -> None:
        """End all connections, and every one that comes."""
        self.is_cut = True
        self.connected.clear()
        for writer in self._open:
            writer.transport.abort()

    def mend(self) -> None:
        """Pass connections on again."""
        self.is_cut = False

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass one connection on."""
        if self.is_cut:
            writer.transport.abort()
            return
        self.connected.set()
        far_reader, far_writer = await asyncio.open_unix_connection(self._target)
        self._open |= {writer, far_writer}
        await asyncio.gather(self._pump(reader, far_writer), self._pump(far_reader, writer))
        self._open -= {writer, far_writer}

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(_CHUNK_BYTES):
                writer.write(data)
                await writer.drain()
        writer.transport.abort()


@contextlib.asynccontextmanager
async def running_relay(listen: Path, target: Path) -> AsyncIterator[Relay]:
    """Run a relay from one socket to another."""
    relay = Relay(target)
    server = await asyncio.start_unix_server(relay.accept, listen)
    try:
        yield relay
    finally:
        server.close()
        relay.cut()
        await server.wait_closed()
