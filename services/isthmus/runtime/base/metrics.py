"""Prometheus metrics that every service exports. Buckets are seconds."""

from __future__ import annotations

from typing import Final

from prometheus_client import Counter, Gauge, Histogram, start_http_server

__all__ = ["RPC_SECONDS", "SECONDS_BUCKETS", "UP", "Counter", "Gauge", "Histogram", "expose"]

SECONDS_BUCKETS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""From half a millisecond to the default deadline."""

RPC_SECONDS: Final = Histogram(
    "isthmus_rpc_seconds", "Duration of calls served.", ["service", "method", "code"], buckets=SECONDS_BUCKETS
)
UP: Final = Gauge("isthmus_serving", "1 while the service is warm and not draining.", ["service"])


def expose(port: int, *, host: str = "127.0.0.1") -> None:
    """Serve /metrics over HTTP in a thread of its own."""
    start_http_server(port, addr=host)
