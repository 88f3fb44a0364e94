"""Several gateways under one name: a client's calls are spread over all of them, and over those that come later."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator, Iterator, Sequence

import dnslib
import pytest
from dnslib.server import BaseResolver, DNSLogger, DNSServer

from isthmus.client import AsyncClient
from isthmus.runtime.base.transport import Transport
from isthmus.runtime.rpc.server import Hosted, Registration, RpcServer
from isthmus.v1.gateway_service_pb2_grpc import add_GatewayServiceServicer_to_server
from tests.unit.client.small_gateway import SmallGateway

NAME = "gateway.mesh.test"
AGE_S = 2.0


class Zone(BaseResolver):  # type: ignore[misc] # dnslib has no types
    """A name server that knows one name.

    Attributes:
        hosts: The name's addresses.
    """

    def __init__(self, hosts: Sequence[str]) -> None:
        self.hosts = tuple(hosts)

    def resolve(self, request: dnslib.DNSRecord, handler: object) -> dnslib.DNSRecord:  # noqa: ARG002 - dnslib's
        """Answer with every address; they may not be kept for long."""
        reply = request.reply()
        if request.q.qtype == dnslib.QTYPE.A:
            for host in self.hosts:
                reply.add_answer(dnslib.RR(NAME, dnslib.QTYPE.A, rdata=dnslib.A(host), ttl=1))
        return reply


@contextlib.contextmanager
def _name_server(zone: Zone) -> Iterator[str]:
    server = DNSServer(zone, address="127.0.0.1", port=0, logger=DNSLogger("-request,-reply"))
    server.start_thread()
    try:
        yield f"127.0.0.1:{server.server.server_address[1]}"
    finally:
        server.stop()
        server.server.server_close()
        server.thread.join(5)


@contextlib.asynccontextmanager
async def _gateway(address: str) -> AsyncIterator[SmallGateway]:
    """Serve one gateway whose connections are asked to close after two seconds."""
    servicer = SmallGateway()

    async def nothing() -> None:
        return

    hosted = Hosted(
        name="gateway",
        registrations=[
            Registration(
                "isthmus.v1.GatewayService", lambda server: add_GatewayServiceServicer_to_server(servicer, server)
            )
        ],
        warm=nothing,
        close=nothing,
        public=True,
    )
    server = RpcServer(hosted, address, Transport(max_connection_age_s=AGE_S, max_connection_age_grace_s=5.0))
    await server.start()
    await server.warm()
    try:
        yield servicer
    finally:
        await server.drain(grace_s=1)


def _free_port(hosts: Sequence[str]) -> int:
    """Return a port that is free on every one of `hosts`."""
    while True:
        with contextlib.ExitStack() as stack:
            first = stack.enter_context(socket.create_server((hosts[0], 0)))
            port = int(first.getsockname()[1])
            with contextlib.suppress(OSError):
                for host in hosts[1:]:
                    stack.enter_context(socket.create_server((host, port)))
                return port


async def test_three_gateways_share_the_calls_and_a_fourth_gets_its_share(monkeypatch: pytest.MonkeyPatch) -> None:
    """One client, one name: each of three gets 20 to 47 % of the calls; a fourth has 10 % within the connection age.

    Connections end all the while, and no call fails.
    """
    for name in ("http_proxy", "https_proxy", "grpc_proxy"):
        monkeypatch.delenv(name, raising=False)
    hosts = [f"127.0.0.{number}" for number in (1, 2, 3, 4)]
    port = _free_port(hosts)
    zone = Zone(hosts[:3])
    answered: list[float] = []
    ended = asyncio.Event()

    async def ask(client: AsyncClient) -> None:
        while not ended.is_set():
            await client.embed(texts=["steady"])
            answered.append(time.monotonic())

    async with contextlib.AsyncExitStack() as stack:
        name_server = stack.enter_context(_name_server(zone))
        gateways = [await stack.enter_async_context(_gateway(f"{host}:{port}")) for host in hosts[:3]]
        client = await stack.enter_async_context(AsyncClient(f"dns://{name_server}/{NAME}:{port}"))
        async with asyncio.TaskGroup() as load:
            for _ in range(4):
                load.create_task(ask(client))
            # Two ages: every connection has been replaced at least once.
            await asyncio.sleep(2.2 * AGE_S)
            shares = [gateway.calls["Embed"] / len(answered) for gateway in gateways]

            fourth = await stack.enter_async_context(_gateway(f"{hosts[3]}:{port}"))
            zone.hosts = tuple(hosts)
            before = len(answered)
            await asyncio.sleep(1.1 * AGE_S)  # gRPC lets connections live up to a tenth longer than it is told
            reached, calls = fourth.calls["Embed"], len(answered)
            await asyncio.sleep(0.5)
            share = (fourth.calls["Embed"] - reached) / (len(answered) - calls)
            ended.set()
    # A call that failed would have raised out of the task group; each was asked for once, so none was tried twice.
    asked = sum(gateway.calls["Embed"] for gateway in (*gateways, fourth))
    assert asked == len(answered)
    assert len(answered) > 500
    assert before > 300
    assert all(0.20 <= part <= 0.47 for part in shares)  # measured: 0.33, 0.33, 0.34
    assert share >= 0.10  # measured: 0.25


async def test_a_call_under_way_outlives_the_age_of_its_connection() -> None:
    """A call that is under way when its connection is asked to close ends well within the grace."""
    port = _free_port(["127.0.0.1"])
    async with _gateway(f"127.0.0.1:{port}") as gateway, AsyncClient(f"127.0.0.1:{port}") as client:
        gateway.delay_s["Embed"] = 1.5 * AGE_S
        assert len((await client.embed(texts=["slow"])).texts.vectors) == 1
        assert gateway.calls["Embed"] == 1
