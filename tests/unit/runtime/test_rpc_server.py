"""Hosting: bound, not ready, ready, draining, gone; and nobody is lost on the way."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from isthmus.runtime.base.errors import UnavailableError
from isthmus.runtime.rpc.server import RpcServer, run_until_signal
from isthmus.v1 import common_pb2, encoder_service_pb2
from isthmus.v1.encoder_service_pb2_grpc import EncoderServiceStub
from tests.unit.runtime.scripted import Scripted, serving

ENCODE = encoder_service_pb2.EncodeRequest()
NAMES = ("", "isthmus.v1.EncoderService", "isthmus.v1.IndexSearchService")
STATES = health_pb2.HealthCheckResponse.ServingStatus


async def _health(channel: grpc.aio.Channel) -> dict[str, str]:
    stub: Any = health_pb2_grpc.HealthStub(channel)
    return {
        name: STATES.Name((await stub.Check(health_pb2.HealthCheckRequest(service=name), timeout=5)).status)
        for name in NAMES
    }


async def test_health_follows_the_life_of_the_service() -> None:
    """Every name, the empty one too, is NOT_SERVING until warm, SERVING after, NOT_SERVING again in the drain."""
    service = Scripted()
    server = RpcServer(service.hosted(), "127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(server.address) as channel:
        assert await _health(channel) == dict.fromkeys(NAMES, "NOT_SERVING")
        await server.warm()
        assert await _health(channel) == dict.fromkeys(NAMES, "SERVING")
        draining = asyncio.create_task(server.drain(wait_s=0.5))
        await asyncio.sleep(0.1)
        assert await _health(channel) == dict.fromkeys(NAMES, "NOT_SERVING")
        await draining
    assert service.closed == 1


async def test_calls_are_served_while_load_balancers_notice() -> None:
    """After health has changed, new calls are still answered for the waiting time, and only then refused."""
    service = Scripted()
    server = RpcServer(service.hosted(), "127.0.0.1:0")
    await server.start()
    await server.warm()
    async with grpc.aio.insecure_channel(server.address) as channel:
        encode = EncoderServiceStub(channel).Encode
        await encode(ENCODE)
        draining = asyncio.create_task(server.drain(wait_s=0.4))
        await asyncio.sleep(0.1)
        await encode(ENCODE)
        await draining
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await encode(ENCODE, timeout=1)
        assert caught.value.code() == grpc.StatusCode.UNAVAILABLE


async def test_a_running_call_ends_before_the_service_is_closed() -> None:
    """A drain lets a call of 300 ms finish, then closes, once."""
    service = Scripted()
    closed_when_done = []

    async def _slow() -> None:
        await asyncio.sleep(0.3)
        closed_when_done.append(service.closed)

    service.unary = _slow
    server = RpcServer(service.hosted(), "127.0.0.1:0")
    await server.start()
    await server.warm()
    async with grpc.aio.insecure_channel(server.address) as channel:
        call = asyncio.ensure_future(EncoderServiceStub(channel).Encode(ENCODE))
        await asyncio.sleep(0.1)
        await server.drain(grace_s=5)
        await call
    assert (closed_when_done, service.closed) == ([0], 1)


async def test_a_call_that_never_ends_is_cut_after_the_grace() -> None:
    """A drain does not wait for ever."""
    service = Scripted()

    async def _endless() -> None:
        await asyncio.sleep(60)

    service.unary = _endless
    server = RpcServer(service.hosted(), "127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(server.address) as channel:
        call = asyncio.ensure_future(EncoderServiceStub(channel).Encode(ENCODE))
        await asyncio.sleep(0.1)
        started_s = time.monotonic()
        await server.drain(grace_s=0.2)
        assert time.monotonic() - started_s < 2  # measured: 0.21
        with pytest.raises(grpc.aio.AioRpcError):
            await call


async def test_a_port_that_is_taken_is_an_error() -> None:
    """Two servers never share an address; the one that cannot bind lets go of what it holds."""
    first, second = Scripted(), Scripted()
    async with serving(first) as (server, _):
        with pytest.raises(OSError, match="cannot listen"):
            await RpcServer(second.hosted(), server.address).start()
    assert second.closed == 1


async def test_a_stale_socket_is_replaced(tmp_path: Path) -> None:
    """A socket that a killed process left behind does not stop the next one."""
    path = tmp_path / "s.sock"
    path.touch()
    server = RpcServer(Scripted().hosted(), f"unix:{path}")
    await server.start()
    async with grpc.aio.insecure_channel(server.address) as channel:
        await EncoderServiceStub(channel).Encode(ENCODE)
    await server.drain(grace_s=0)


async def test_a_message_over_the_limit_is_refused() -> None:
    """The limit accepts, the limit and a bit does not; a compressed bomb does not either."""
    service = Scripted()
    async with serving(service, receive_max_bytes=64 * 1024) as (_, channel):
        encode = EncoderServiceStub(channel).Encode

        def _of_size(size: int) -> encoder_service_pb2.EncodeRequest:
            empty = encoder_service_pb2.EncodeRequest(inputs=[common_pb2.Input(image=bytes(size))])
            return encoder_service_pb2.EncodeRequest(
                inputs=[common_pb2.Input(image=bytes(2 * size - empty.ByteSize()))]
            )

        assert _of_size(64 * 1024).ByteSize() == 64 * 1024
        await encode(_of_size(64 * 1024))
        for request, compression in (
            (_of_size(64 * 1024 + 1), grpc.Compression.NoCompression),
            (_of_size(8 * 1024 * 1024), grpc.Compression.Gzip),
        ):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await encode(request, compression=compression)
            assert caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_more_calls_than_allowed_are_refused() -> None:
    """Two calls at once are allowed here; of ten, eight are refused, and both others end well."""
    service = Scripted()
    gate = asyncio.Event()
    service.unary = gate.wait  # type: ignore[assignment]
    async with serving(service, max_calls=2) as (_, channel):
        calls = [asyncio.ensure_future(EncoderServiceStub(channel).Encode(ENCODE, timeout=5)) for _ in range(10)]
        pending = set(calls)
        while len(pending) > 2:
            _, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
        gate.set()
        ended = await asyncio.gather(*calls, return_exceptions=True)
    refused = [end.code() for end in ended if isinstance(end, grpc.aio.AioRpcError)]
    assert refused == [grpc.StatusCode.RESOURCE_EXHAUSTED] * 8


async def test_sigterm_drains_and_returns() -> None:
    """Ready is announced once warm; SIGTERM ends it with the service closed."""
    service = Scripted()
    ready = asyncio.Event()
    server = RpcServer(service.hosted(), "127.0.0.1:0")
    running = asyncio.create_task(run_until_signal(server, on_ready=lambda _address: ready.set()))
    await asyncio.wait_for(ready.wait(), 5)
    os.kill(os.getpid(), signal.SIGTERM)
    await asyncio.wait_for(running, 5)
    assert service.closed == 1


async def test_sigterm_before_ready_gives_up_warming() -> None:
    """A service that is still loading stops at once, and never says that it was ready."""
    service = Scripted()
    warming = asyncio.Event()

    async def _load() -> None:
        warming.set()
        await asyncio.sleep(60)

    service.warmed = _load
    ready: list[str] = []
    server = RpcServer(service.hosted(), "127.0.0.1:0")
    running = asyncio.create_task(run_until_signal(server, on_ready=ready.append, drain_wait_s=30))
    await warming.wait()
    os.kill(os.getpid(), signal.SIGTERM)
    await asyncio.wait_for(running, 5)
    assert (ready, service.closed) == ([], 1)


async def test_a_service_that_cannot_warm_says_why() -> None:
    """The error of warming is raised after everything was let go."""
    service = Scripted()

    async def _fail() -> None:
        msg = "no model"
        raise UnavailableError(msg, reason="NOT_READY")

    service.warmed = _fail
    with pytest.raises(UnavailableError, match="no model"):
        await run_until_signal(RpcServer(service.hosted(), "127.0.0.1:0"), on_ready=print)
    assert service.closed == 1
