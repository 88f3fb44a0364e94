"""How the client connects: one set of options and one service config, for sync and async."""

from __future__ import annotations

import importlib.resources
import ipaddress
import json
import os
import secrets
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Self

import grpc

from isthmus.client.config import ClientConfig, Limits, Tls, resolve_address
from isthmus.client.status import REQUEST_ID_KEY

__all__ = ["Endpoint", "channel_options", "new_request_id", "service_config"]


@cache
def service_config() -> str:
    """Return the service config that ships beside the protos, without its timeouts: load balancing, retries, throttle.

    Every call of this client carries a deadline. gRPC takes a configured timeout as an upper bound of it, and would cut
    short a caller who asks for more.
    """
    shipped = importlib.resources.files("isthmus.v1") / "grpc_service_config.json"
    config = json.loads(shipped.read_text(encoding="utf-8"))
    for methods in config["methodConfig"]:
        methods.pop("timeout", None)
    return json.dumps(config)


def channel_options(address: str, limits: Limits) -> tuple[tuple[str, int | str], ...]:
    """Return the options of a channel to `address`."""
    options: tuple[tuple[str, int | str], ...] = (
        ("grpc.service_config", service_config()),
        ("grpc.max_send_message_length", limits.message_max_bytes),
        ("grpc.max_receive_message_length", limits.message_max_bytes),
        # A dead peer is noticed within half a minute; the server allows a ping every 10 s.
        ("grpc.keepalive_time_ms", 20_000),
        ("grpc.keepalive_timeout_ms", 10_000),
        # A mesh that restarts must be found again within seconds, not after gRPC's default of two minutes.
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.max_reconnect_backoff_ms", 1_000),
        # A gateway ends old connections; each time its name is looked up again, so that new gateways get their share.
        ("grpc.dns_min_time_between_resolutions_ms", 1_000),
        # A client made after another one failed to connect must not inherit its back-off.
        ("grpc.use_local_subchannel_pool", 1),
    )
    # A proxy named by the environment cannot reach this machine's own loopback.
    return (*options, ("grpc.enable_http_proxy", 0)) if _is_local(address) else options


def _is_local(address: str) -> bool:
    """Return whether nobody but this machine hears what goes to `address`."""
    if address.startswith("unix:"):
        return True
    host = address.rpartition(":")[0].strip("[]")
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def new_request_id() -> str:
    """Return a fresh id that names a call or a mutation: 32 hexadecimal characters."""
    return secrets.token_hex(16)


@dataclass(frozen=True, slots=True, repr=False)
class Endpoint:
    """A mesh, and how one client reaches it.

    Attributes:
        address: Where.
        options: Of the channel.
        credentials: Of the channel; None for one in the clear.
    """

    address: str
    options: tuple[tuple[str, int | str], ...]
    credentials: grpc.ChannelCredentials | None
    _api_key: str | None

    @classmethod
    def resolve(cls, address: str | None, config: ClientConfig) -> Self:
        """Return the endpoint for `address`.

        Args:
            address: As a caller gave it.
            config: With TLS and key settled.

        Raises:
            ValueError: the address has no form of one, or the key would travel in the clear.
            OSError: a file of TLS cannot be read.
        """
        chosen = resolve_address(address)
        tls = None if chosen.startswith("unix:") else config.tls
        if tls is None and config.api_key is not None and not _is_local(chosen):
            msg = "an API key never travels in the clear to another machine: give tls=Tls(…), or set ISTHMUS_CA_FILE"
            raise ValueError(msg)
        options = channel_options(chosen, config.limits)
        if tls is not None and tls.server_name is not None:
            options = (*options, ("grpc.ssl_target_name_override", tls.server_name))
        return cls(chosen, options, None if tls is None else _credentials(tls), config.api_key)

    def open(self) -> grpc.Channel:
        """Return a channel for threads; it connects on first use."""
        if self.credentials is None:
            return grpc.insecure_channel(self.address, options=self.options)
        return grpc.secure_channel(self.address, self.credentials, options=self.options)

    def open_async(self) -> grpc.aio.Channel:
        """Return a channel for the event loop that runs."""
        if self.credentials is None:
            return grpc.aio.insecure_channel(self.address, options=self.options)
        return grpc.aio.secure_channel(self.address, self.credentials, options=self.options)

    def metadata(self, request_id: str) -> tuple[tuple[str, str], ...]:
        """Return the metadata of a call. The id is the client's, so that a call that never came back has one too."""
        named = ((REQUEST_ID_KEY, request_id),)
        return named if self._api_key is None else (*named, ("authorization", f"Bearer {self._api_key}"))


def _credentials(tls: Tls) -> grpc.ChannelCredentials:
    ca, key, cert = (_read(path) for path in (tls.ca_file, tls.key_file, tls.cert_file))
    return grpc.ssl_channel_credentials(root_certificates=ca, private_key=key, certificate_chain=cert)


def _read(path: str | os.PathLike[str] | None) -> bytes | None:
    return None if path is None else Path(path).read_bytes()
