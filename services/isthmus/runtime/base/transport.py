"""How a server is reached: in the clear or over TLS, and how old a connection may grow."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Tls", "Transport", "is_local"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """One side of a TLS connection: who it is, and whom it believes. All files are PEM.

    Attributes:
        cert_file: Its certificate, followed by those between it and its CA; None for a caller that shows none.
        key_file: The certificate's private key, not encrypted.
        ca_file: CAs that sign the other side's certificates. A server that has one turns away callers without a
            certificate; a caller that has none believes the CAs that gRPC ships.
    """

    cert_file: Path | None = None
    key_file: Path | None = None
    ca_file: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Transport:
    """How one server is reached.

    Attributes:
        tls: Its side of TLS; None serves in the clear.
        max_connection_age_s: Connections are asked to close after so long, give or take a tenth, so that callers look
            for new servers; None lets them grow old.
        max_connection_age_grace_s: How long calls may go on on a connection that was asked to close.
        health_listen: Where `grpc.health.v1` alone is answered, always in the clear; None answers it beside the service
            only.
    """

    tls: Tls | None = None
    max_connection_age_s: float | None = None
    max_connection_age_grace_s: float = 30.0
    health_listen: str | None = None


def is_local(address: str) -> bool:
    """Return whether `HOST:PORT` or `unix:PATH` can be reached from this machine only."""
    if address.startswith("unix:"):
        return True
    host = address.rpartition(":")[0].strip("[]")
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
