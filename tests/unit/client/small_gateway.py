"""A small gateway that keeps everything in memory: real sockets and the real wire around answers a test can foresee.

An image or a text "embeds" to a vector drawn from the SHA-256 of its bytes, so equal content is at cosine 1 and other
content further off. It runs on the runtime's own server, so errors, request ids and limits are those of a mesh.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from typing import Any

import grpc

from isthmus.runtime.base.limits import GATEWAY_RECEIVE_MAX_BYTES
from isthmus.runtime.rpc.server import Hosted, Registration, RpcServer
from isthmus.v1 import gateway_service_pb2_grpc
from tests.unit.client.gateway.aligners import Aligners
from tests.unit.client.gateway.collections import Collections
from tests.unit.client.gateway.content import ALIGNER, BROKEN_IMAGE, DIMENSION, IMAGE_SPACE, TEXT_SPACE, embedding
from tests.unit.client.gateway.elsewhere import Elsewhere
from tests.unit.client.gateway.items import Items
from tests.unit.client.gateway.judging import Judging
from tests.unit.client.gateway.linking import Linking
from tests.unit.client.gateway.matching import Matching
from tests.unit.client.gateway.mesh import Mesh
from tests.unit.client.gateway.watching import Watching

__all__ = [
    "ALIGNER",
    "BROKEN_IMAGE",
    "DIMENSION",
    "IMAGE_SPACE",
    "TEXT_SPACE",
    "Running",
    "SmallGateway",
    "embedding",
    "running",
]


class SmallGateway(
    Items,
    Collections,
    Judging,
    Matching,
    Linking,
    Aligners,
    Watching,
    Mesh,
    Elsewhere,
    gateway_service_pb2_grpc.GatewayServiceServicer,
):
    """All answers of the small gateway; its state and its script of failures are those of `Script`."""


class Running:
    """A gateway on a port of loopback, in a thread with an event loop of its own.

    Args:
        gateway: What answers.
    """

    def __init__(self, gateway: SmallGateway) -> None:
        self.gateway = gateway
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._server: RpcServer | None = None
        self.address = "127.0.0.1:0"

    def start(self) -> None:
        """Listen: on a free port at first, on the same one after a `stop`."""
        self._run(self._start())

    def stop(self) -> None:
        """Break every call off and close the port."""
        self._run(self._stop())

    def close(self) -> None:
        """Stop, and end the thread."""
        self.stop()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _run(self, work: Any) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(20)

    async def _start(self) -> None:
        async def nothing() -> None:
            pass

        def register(server: grpc.aio.Server) -> None:
            gateway_service_pb2_grpc.add_GatewayServiceServicer_to_server(self.gateway, server)

        hosted = Hosted(
            name="gateway",
            registrations=[Registration("isthmus.v1.GatewayService", register)],
            warm=nothing,
            close=nothing,
            public=True,
            receive_max_bytes=GATEWAY_RECEIVE_MAX_BYTES,
        )
        server = RpcServer(hosted, self.address)
        await server.start()
        await server.warm()
        self.address, self._server = server.address, server

    async def _stop(self) -> None:
        if self._server is not None:
            await self._server.drain(grace_s=0)
            self._server = None


@contextlib.contextmanager
def running(gateway: SmallGateway) -> Iterator[Running]:
    """Run `gateway` for the length of a block."""
    server = Running(gateway)
    server.start()
    try:
        yield server
    finally:
        server.close()
