"""A cached embedding against the bare echo of as many bytes."""

from __future__ import annotations

import statistics
import tempfile
from pathlib import Path

import grpc

from isthmus.client import Client
from isthmus.v1 import common_pb2, gateway_service_pb2, gateway_service_pb2_grpc
from tests.bench.load import latencies_s
from tests.bench.record import Figure
from tests.harness.mesh import start_mesh
from tests.harness.process import Process

__all__ = ["measure"]

ROUNDS = 5
CALLS = 400
TEXT = "a cat asleep on a warm window sill in the afternoon"


def measure(address: str) -> list[Figure]:
    """Return p50 of a cached text embed over p50 of the echo: from the in-process cache, and from Redis."""
    figures = [_against_echo("cached embed (in process) p50 over a bare echo of the same size", 2.0, address)]
    with (
        tempfile.TemporaryDirectory() as folder,
        start_mesh(Path(folder) / "data", env={"ISTHMUS_GATEWAY_CACHE_LOCAL_MAX_BYTES": "0"}) as mesh,
    ):
        figures.append(_against_echo("cached embed (Redis) p50 over a bare echo of the same size", 4.0, mesh.address))
        with Client(mesh.address) as client:
            cache = client.status().cache
        assert cache.backend_hits >= ROUNDS * CALLS, cache
    return figures


def _against_echo(name: str, target: float, address: str) -> Figure:
    request = gateway_service_pb2.EmbedRequest(inputs=[common_pb2.Input(text=TEXT)])
    with grpc.insecure_channel(address) as channel:
        embed = gateway_service_pb2_grpc.GatewayServiceStub(channel).Embed
        reply = embed(request)
        size, payload = reply.ByteSize(), request.SerializeToString()
        with (
            Process(["-m", "tests.bench.echo_server", str(size)], ready="echo ready ") as server,
            grpc.insecure_channel(server.address) as echo_channel,
        ):
            echo: grpc.UnaryUnaryMultiCallable[bytes, bytes] = echo_channel.unary_unary("/isthmus.bench.Echo/Echo")
            ratios, ours_ms, bare_ms = [], [], []
            for _ in range(ROUNDS):
                bare = statistics.median(latencies_s(lambda: echo(payload), count=CALLS)) * 1000
                ours = statistics.median(latencies_s(lambda: embed(request), count=CALLS)) * 1000
                ratios.append(ours / bare)
                ours_ms.append(ours)
                bare_ms.append(bare)
    ratio = statistics.median(ratios)
    parts = f"embed {statistics.median(ours_ms):.2f} ms, echo {statistics.median(bare_ms):.2f} ms, {size} bytes"
    return Figure(name, f"{ratio:.2f}", f"≤ {target:.0f}", parts, ratio <= target)
