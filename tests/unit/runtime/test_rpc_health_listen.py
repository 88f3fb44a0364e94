"""Health on a port of its own: what probes that speak no TLS ask of a server that demands certificates."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import grpc
import pytest
import trustme
from grpc_health.v1 import health_pb2, health_pb2_grpc

from isthmus.runtime.base.transport import Tls, Transport
from isthmus.runtime.rpc.server import RpcServer
from isthmus.v1 import encoder_service_pb2
from isthmus.v1.encoder_service_pb2_grpc import EncoderServiceStub
from tests.unit.runtime.scripted import Scripted

ASKED = health_pb2.HealthCheckRequest(service="isthmus.v1.EncoderService")
STATES = health_pb2.HealthCheckResponse


def _mutual_tls(folder: Path) -> Transport:
    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1")
    issued.private_key_pem.write_to_path(folder / "key.pem")
    issued.cert_chain_pems[0].write_to_path(folder / "cert.pem")
    authority.cert_pem.write_to_path(folder / "ca.pem")
    tls = Tls(cert_file=folder / "cert.pem", key_file=folder / "key.pem", ca_file=folder / "ca.pem")
    return Transport(tls=tls, health_listen="127.0.0.1:0")


async def test_a_probe_without_tls_is_told_the_health_of_a_server_that_demands_certificates(tmp_path: Path) -> None:
    """The named service is NOT_SERVING until warm and SERVING after, in the clear, beside mutual TLS."""
    server = RpcServer(Scripted().hosted(), "127.0.0.1:0", _mutual_tls(tmp_path))
    await server.start()
    async with grpc.aio.insecure_channel(server.health_address) as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        assert (await stub.Check(ASKED, timeout=5)).status == STATES.NOT_SERVING
        await server.warm()
        assert (await stub.Check(ASKED, timeout=5)).status == STATES.SERVING
    await server.drain()


async def test_the_port_for_health_answers_nothing_else(tmp_path: Path) -> None:
    """A call to the service itself is UNIMPLEMENTED there: it is no way round TLS."""
    server = RpcServer(Scripted().hosted(), "127.0.0.1:0", _mutual_tls(tmp_path))
    await server.start()
    await server.warm()
    async with grpc.aio.insecure_channel(server.health_address) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await EncoderServiceStub(channel).Encode(encoder_service_pb2.EncodeRequest(), timeout=5)
    await server.drain()
    assert caught.value.code() == grpc.StatusCode.UNIMPLEMENTED


async def test_a_taken_port_for_health_stops_the_start() -> None:
    """The start fails with the address in the message, and the service is closed."""
    service, other = Scripted(), RpcServer(Scripted().hosted(), "127.0.0.1:0")
    await other.start()
    server = RpcServer(service.hosted(), "127.0.0.1:0", Transport(health_listen=other.address))
    with pytest.raises(OSError, match=f"cannot listen on {other.address}"):
        await server.start()
    await other.drain()
    assert service.closed == 1
