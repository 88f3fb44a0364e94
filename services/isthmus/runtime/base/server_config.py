"""What the configuration of every process that serves gRPC holds."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from isthmus.runtime.base.config import ProcessConfig
from isthmus.runtime.base.transport import Tls, Transport, is_local

__all__ = ["CallerConfig", "ServerConfig"]


class ServerConfig(ProcessConfig):
    """Settings that all servers share; each subclass sets `env_prefix` and its own defaults."""

    listen: str = "127.0.0.1:0"
    """`HOST:PORT` (port 0 picks a free one) or `unix:PATH`."""
    health_listen: str | None = None
    """`HOST:PORT` where `grpc.health.v1` alone is answered, in the clear and asking nobody who they are: Kubernetes'
    probes speak no TLS. Unset answers it beside the service only."""
    tls_cert_file: Path | None = None
    """PEM file of the server's certificate chain; a replaced one is used within five seconds. Unset serves in the
    clear."""
    tls_key_file: Path | None = None
    """PEM file of the certificate's private key."""
    tls_client_ca_file: Path | None = None
    """PEM file of the CAs that sign callers' certificates. When set, callers without one are turned away (mTLS)."""
    allow_plaintext: bool = False
    """Serve in the clear beyond loopback all the same: somebody else encrypts, or nobody may listen."""
    max_connection_age_s: float | None = Field(default=None, gt=0)
    """Connections are asked to close after so long, so that callers find new servers; unset lets them grow old."""
    max_connection_age_grace_s: float = Field(default=30.0, gt=0)
    """How long calls may go on on a connection that was asked to close."""
    drain_wait_s: float = Field(default=0.0, ge=0)
    """How long to answer NOT_SERVING before new calls are refused, for load balancers to notice."""
    metrics_port: int | None = Field(default=None, ge=1, le=65_535)
    """Port of /metrics; unset means none."""
    metrics_host: str = "127.0.0.1"
    """Address that /metrics listens on."""
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    """Least severe level that is logged."""

    @model_validator(mode="after")
    def _check_transport(self) -> Self:
        if (self.tls_cert_file is None) != (self.tls_key_file is None):
            msg = "tls_cert_file and tls_key_file go together"
            raise ValueError(msg)
        if self.tls_client_ca_file is not None and self.tls_cert_file is None:
            msg = "tls_client_ca_file needs tls_cert_file and tls_key_file"
            raise ValueError(msg)
        if self.tls_cert_file is None and not (self.allow_plaintext or is_local(self.listen)):
            msg = (
                "listen is open to other machines, without TLS: set tls_cert_file and tls_key_file, "
                "or allow_plaintext to serve in the clear all the same"
            )
            raise ValueError(msg)
        return self

    def transport(self) -> Transport:
        """Return how this server is reached."""
        tls = None
        if self.tls_cert_file is not None:
            tls = Tls(cert_file=self.tls_cert_file, key_file=self.tls_key_file, ca_file=self.tls_client_ca_file)
        return Transport(
            tls=tls,
            max_connection_age_s=self.max_connection_age_s,
            max_connection_age_grace_s=self.max_connection_age_grace_s,
            health_listen=self.health_listen,
        )


class CallerConfig(ServerConfig):
    """Settings of a server that calls other services of the mesh."""

    backend_tls_ca_file: Path | None = None
    """PEM file of the CAs that sign the certificates of the services behind. When set, they are called over TLS;
    unix sockets never are."""
    backend_tls_cert_file: Path | None = None
    """PEM file of the certificate chain shown to them (mTLS); a replaced one is used within five seconds."""
    backend_tls_key_file: Path | None = None
    """PEM file of that certificate's private key."""

    @model_validator(mode="after")
    def _check_backend_tls(self) -> Self:
        if (self.backend_tls_cert_file is None) != (self.backend_tls_key_file is None):
            msg = "backend_tls_cert_file and backend_tls_key_file go together"
            raise ValueError(msg)
        if self.backend_tls_cert_file is not None and self.backend_tls_ca_file is None:
            msg = "backend_tls_cert_file needs backend_tls_ca_file"
            raise ValueError(msg)
        return self

    def backend_tls(self) -> Tls | None:
        """Return this process's side of TLS to the services behind; None calls them in the clear."""
        if self.backend_tls_ca_file is None:
            return None
        return Tls(
            cert_file=self.backend_tls_cert_file,
            key_file=self.backend_tls_key_file,
            ca_file=self.backend_tls_ca_file,
        )
