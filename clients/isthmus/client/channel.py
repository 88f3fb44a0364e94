"""How the client connects: one set of options and one service config, for sync and async."""

from __future__ import annotations

import importlib.resources
import ipaddress
import json
import secrets
from functools import cache

from isthmus.client.config import Limits
from isthmus.client.status import REQUEST_ID_KEY

__all__ = ["channel_options", "new_request_id", "request_metadata", "service_config"]


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
        # A client made after another one failed to connect must not inherit its back-off.
        ("grpc.use_local_subchannel_pool", 1),
    )
    # A proxy named by the environment cannot reach this machine's own loopback.
    return (*options, ("grpc.enable_http_proxy", 0)) if _is_local(address) else options


def _is_local(address: str) -> bool:
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


def request_metadata(request_id: str) -> tuple[tuple[str, str], ...]:
    """Return the metadata of a call. The id is the client's, so that a call that never came back has one too."""
    return ((REQUEST_ID_KEY, request_id),)
