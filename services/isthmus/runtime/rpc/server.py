"""Host one service: bind, answer health, warm, serve, drain."""

from __future__ import annotations

import asyncio
import logging
import signal
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from isthmus.runtime.base.limits import INTERNAL_RECEIVE_MAX_BYTES, METADATA_MAX_BYTES
from isthmus.runtime.base.logging import fields
from isthmus.runtime.base.metrics import UP
from isthmus.runtime.base.reload import UnusableFileError
from isthmus.runtime.base.transport import Transport
from isthmus.runtime.rpc.interceptor import Door, ServiceInterceptor
from isthmus.runtime.rpc.tls import ServerTls

__all__ = ["Hosted", "Registration", "RpcServer", "run_until_signal"]

log = logging.getLogger("isthmus.rpc")

GRACE_S: Final = 8.0
"""How long running calls may take to finish once the server stops taking new ones: a process must end within ten
seconds of SIGTERM. An upsert stream that is cut off then is resumed by the client from its last acknowledgement."""

_PROBES_COUNT: Final = 16
"""Health checks answered at once on a port of their own."""


@dataclass(frozen=True, slots=True)
class Registration:
    """One gRPC service: its full name and the generated function that adds it to a server."""

    service: str
    register: Callable[[grpc.aio.Server], None]


async def _nothing() -> None:
    """Prove nothing."""


def _end_nothing() -> None:
    """Let everything that runs end by itself."""


@dataclass(frozen=True, slots=True)
class Hosted:
    """A service that can be hosted: alone in a process, or with others in one.

    Attributes:
        name: Its short name, for logs.
        registrations: What it serves.
        warm: Load whatever it needs and answer a dummy batch; it is ready when this returns.
        close: Let go of everything; called once after the last call has ended.
        probe: Prove that it still works, by a dummy item; raises when it does not.
        leave: Called when it is about to be stopped: end what would not end by itself.
        public: True for the gateway: metadata of callers is not trusted.
        door: Decides who may call what; None lets everybody in.
        receive_max_bytes: Largest message it accepts.
        max_concurrent_calls: Calls served at once; further ones are refused with RESOURCE_EXHAUSTED.
    """

    name: str
    registrations: Sequence[Registration]
    warm: Callable[[], Awaitable[None]]
    close: Callable[[], Awaitable[None]]
    probe: Callable[[], Awaitable[object]] = field(default=_nothing)
    leave: Callable[[], None] = field(default=_end_nothing)
    public: bool = False
    door: Door | None = None
    receive_max_bytes: int = INTERNAL_RECEIVE_MAX_BYTES
    max_concurrent_calls: int = 1024


@dataclass(slots=True)
class RpcServer:
    """A `grpc.aio` server around one hosted service.

    Args:
        hosted: The service.
        listen: `HOST:PORT` (port 0 picks a free one) or `unix:PATH`.
        transport: How it is reached: in the clear unless told otherwise.
    """

    hosted: Hosted
    listen: str
    transport: Transport = field(default_factory=Transport)
    address: str = field(init=False, default="")
    health_address: str = field(init=False, default="")
    _server: grpc.aio.Server = field(init=False)
    _health_server: grpc.aio.Server | None = field(init=False, default=None)
    _health: health.aio.HealthServicer = field(init=False)
    _watching: list[asyncio.Task[None]] = field(init=False, default_factory=list)

    async def start(self) -> None:
        """Bind and answer health with NOT_SERVING; `address` and `health_address` then say where.

        Raises:
            OSError: the address cannot be bound.
            UnusableFileError: the certificate or its key cannot be used.
        """
        try:
            await self._start()
        except (OSError, UnusableFileError):
            await self.hosted.close()
            raise

    async def _start(self) -> None:
        tls = None if self.transport.tls is None else ServerTls(self.transport.tls)
        self._server = grpc.aio.server(
            interceptors=(ServiceInterceptor(trust_tenant=not self.hosted.public, door=self.hosted.door),),
            maximum_concurrent_rpcs=self.hosted.max_concurrent_calls,
            options=(
                ("grpc.max_receive_message_length", self.hosted.receive_max_bytes),
                ("grpc.max_send_message_length", self.hosted.receive_max_bytes),
                ("grpc.max_metadata_size", METADATA_MAX_BYTES),
                ("grpc.max_concurrent_streams", 256),
                ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
                ("grpc.keepalive_permit_without_calls", 1),
                ("grpc.so_reuseport", 0),
                *_age_options(self.transport),
            ),
        )
        self._health = health.aio.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        await self._set_health(serving=False)
        for registration in self.hosted.registrations:
            registration.register(self._server)
        _remove_stale_socket(self.listen)
        try:
            if tls is None:
                port = self._server.add_insecure_port(self.listen)
            else:
                port = self._server.add_secure_port(self.listen, tls.credentials())
        except RuntimeError as error:
            msg = f"cannot listen on {self.listen}"
            raise OSError(msg) from error
        if self.transport.health_listen is not None:
            await self._start_health(self.transport.health_listen)
        await self._server.start()
        self._watching = [asyncio.create_task(files.watch()) for files in (tls, self.hosted.door) if files is not None]
        self.address = self.listen if self.listen.startswith("unix:") else f"{self.listen.rpartition(':')[0]}:{port}"

    async def _start_health(self, listen: str) -> None:
        """Answer health on a port of its own: in the clear, because probes speak no TLS, and nothing else there."""
        self._health_server = grpc.aio.server(
            maximum_concurrent_rpcs=_PROBES_COUNT,
            options=(("grpc.max_receive_message_length", METADATA_MAX_BYTES), ("grpc.so_reuseport", 0)),
        )
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._health_server)
        try:
            port = self._health_server.add_insecure_port(listen)
        except RuntimeError as error:
            msg = f"cannot listen on {listen}"
            raise OSError(msg) from error
        await self._health_server.start()
        self.health_address = f"{listen.rpartition(':')[0]}:{port}"

    async def warm(self) -> None:
        """Warm the service, then answer health with SERVING."""
        started_s = time.monotonic()
        await self.hosted.warm()
        await self._set_health(serving=True)
        seconds = round(time.monotonic() - started_s, 3)
        log.info("service ready", extra=fields(service=self.hosted.name, address=self.address, seconds=seconds))

    async def drain(self, *, wait_s: float = 0.0, grace_s: float = GRACE_S) -> None:
        """Answer health with NOT_SERVING, let running calls end, then close the service.

        Args:
            wait_s: How long new calls are still served after health has changed, for load balancers to notice.
            grace_s: How long running calls may take after that.
        """
        await self._health.enter_graceful_shutdown()
        UP.labels(self.hosted.name).set(0)
        await asyncio.sleep(wait_s)
        self.hosted.leave()
        await self._server.stop(grace_s)
        if self._health_server is not None:
            await self._health_server.stop(None)
        for task in self._watching:
            task.cancel()
        await self.hosted.close()
        log.info("service stopped", extra=fields(service=self.hosted.name))

    async def _set_health(self, *, serving: bool) -> None:
        state = health_pb2.HealthCheckResponse
        value = state.SERVING if serving else state.NOT_SERVING
        for name in ("", *(registration.service for registration in self.hosted.registrations)):
            await self._health.set(name, value)
        UP.labels(self.hosted.name).set(int(serving))


def _age_options(transport: Transport) -> tuple[tuple[str, int], ...]:
    if transport.max_connection_age_s is None:
        return ()
    return (
        ("grpc.max_connection_age_ms", int(transport.max_connection_age_s * 1000)),
        ("grpc.max_connection_age_grace_ms", int(transport.max_connection_age_grace_s * 1000)),
    )


def _remove_stale_socket(listen: str) -> None:
    if listen.startswith("unix:"):
        Path(listen.removeprefix("unix:")).unlink(missing_ok=True)


async def run_until_signal(server: RpcServer, *, on_ready: Callable[[str], None], drain_wait_s: float = 0.0) -> None:
    """Run one server until SIGTERM or SIGINT, then drain it.

    Args:
        server: Not started yet.
        on_ready: Called with the address once warm.
        drain_wait_s: How long to answer NOT_SERVING before new calls are refused, for load balancers to notice.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await server.start()
    warming = asyncio.ensure_future(server.warm())
    stopping = asyncio.ensure_future(stop.wait())
    await asyncio.wait((warming, stopping), return_when=asyncio.FIRST_COMPLETED)
    ready = False
    try:
        if warming.done():
            await warming
            on_ready(server.address)
            ready = True
            await stopping
    finally:
        for task in (warming, stopping):
            task.cancel()
        await asyncio.gather(warming, stopping, return_exceptions=True)
        # A service that never was ready is in no load balancer.
        await server.drain(wait_s=drain_wait_s if ready else 0.0)
