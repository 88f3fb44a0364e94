"""Prometheus metrics that every service exports. Buckets are seconds."""

from __future__ import annotations

from typing import Final

from prometheus_client import Counter, Gauge, Histogram, start_http_server

__all__ = [
    "BACKEND_CALLS",
    "CERTIFICATE_EXPIRY",
    "FILE_CURRENT",
    "FILE_RELOADS",
    "RPC_SECONDS",
    "SECONDS_BUCKETS",
    "UP",
    "Counter",
    "Gauge",
    "Histogram",
    "expose",
]

SECONDS_BUCKETS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""From half a millisecond to the default deadline."""

RPC_SECONDS: Final = Histogram(
    "isthmus_rpc_seconds", "Duration of calls served.", ["service", "method", "code"], buckets=SECONDS_BUCKETS
)
BACKEND_CALLS: Final = Counter(
    "isthmus_backend_calls", "Calls made to the services behind, by how each ended.", ["backend", "code"]
)
UP: Final = Gauge("isthmus_serving", "1 while the service is warm and not draining.", ["service"])
FILE_CURRENT: Final = Gauge(
    "isthmus_file_current", "1 while the newest version of a mounted file is in use, 0 while it is broken.", ["file"]
)
"""`file` is tls, backend_tls or keys."""
FILE_RELOADS: Final = Counter("isthmus_file_reloads", "Changed files, by what became of them.", ["file", "result"])
"""`result` is used or refused."""
CERTIFICATE_EXPIRY: Final = Gauge(
    "isthmus_certificate_expiry_timestamp_seconds", "When the certificate in use expires.", ["file"]
)


def expose(port: int, *, host: str) -> None:
    """Serve /metrics over HTTP in a thread of its own."""
    start_http_server(port, addr=host)
