"""A Ray to deploy to: a local one of our own, or a cluster that is joined.

Ray reads most of its settings from the environment when it is imported: nothing here imports it before `start`.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import logging
import math
import os
import secrets
import shutil
import socket
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

from isthmus.deploy.serve_config import build_serve_config, ray_environment
from isthmus.deploy.serve_settings import ScalableSettings, ServeSettings

__all__ = ["RaySession", "free_ports"]

log = logging.getLogger("isthmus.deploy")

_LOOPBACK: Final = "127.0.0.1"
_NAMESPACE: Final = "isthmus"
_PORT_BLOCKS_START: Final = 12_000
_PORT_BLOCKS_COUNT: Final = 100
_PORTS_COUNT: Final = 100
"""Ports of one protocol in one block. All blocks end below those that the kernel hands out (32,768 on)."""
_OBJECT_STORE_BYTES: Final = 128 * 1024 * 1024
"""Vectors travel by gRPC: Ray's shared memory holds its own bookkeeping only."""


def free_ports(count: int) -> list[int]:
    """Return ports of loopback that nobody listens on, for programs that cannot pick their own."""
    with ExitStack() as stack:
        listeners = [stack.enter_context(socket.create_server((_LOOPBACK, 0))) for _ in range(count)]
        return [listener.getsockname()[1] for listener in listeners]


class RaySession:
    """The five applications on one Ray. Every method blocks.

    Args:
        address: A cluster to join; None starts a Ray on loopback that ends with this session.
    """

    def __init__(self, *, address: str | None = None) -> None:
        self._address = address
        self._scratch: Path | None = None
        self._applications: tuple[str, ...] = ()

    @property
    def host(self) -> str:
        """A node of the cluster, at which Ray Serve can be reached."""
        if self._address is None:
            return _LOOPBACK
        import ray

        # What a client of Ray reaches is the head; what a driver on a node reaches is that node.
        if ":" in self._address:
            return _host(self._address)
        return str(ray.util.get_node_ip_address())  # type: ignore[no-untyped-call]

    def run(self, settings: ServeSettings) -> None:
        """Make the applications what `settings` says, on a Ray that is started or joined the first time.

        Applications that ran before are updated replica by replica. All are warm when this returns.

        Raises:
            ImportError: Ray is not installed.
            OSError: Ray cannot be started or joined, or an application does not come up.
        """
        try:
            if not self._applications:
                self._connect(settings)
            self._deploy(settings)
        except (RuntimeError, ConnectionError, ValueError) as error:
            log.debug("ray failed", exc_info=error)
            raise OSError(_last_line(error)) from error

    def _connect(self, settings: ServeSettings) -> None:
        os.environ.update(ray_environment(settings))
        if self._address is None:
            self._scratch = Path(tempfile.mkdtemp(prefix="isthmus-ray-"))
            for name, value in _own_environment(self._scratch).items():
                os.environ.setdefault(name, value)
        import ray

        # Ray's own log lines are for whoever debugs Ray.
        logging.getLogger("ray").setLevel(logging.WARNING)
        if self._address is not None:
            ray.init(address=self._address, namespace=_NAMESPACE, log_to_driver=False)
        else:
            ray.init(
                address="local",
                namespace=_NAMESPACE,
                num_cpus=_cpus(settings),
                include_dashboard=False,
                object_store_memory=_OBJECT_STORE_BYTES,
                _node_ip_address=_LOOPBACK,
                _temp_dir=str(self._scratch),
            )
        self._applications = tuple(settings.applications())

    def _deploy(self, settings: ServeSettings) -> None:
        from ray import serve

        config = build_serve_config(settings)
        serve.start(**{name: config[name] for name in ("proxy_location", "http_options", "grpc_options")})
        serve.run_many([_target(application) for application in config["applications"]])

    def stop(self) -> None:
        """Let the replicas finish what they do, then end the local Ray, or leave the cluster."""
        if self._applications:
            import ray
            from ray import serve

            if self._address is None:
                serve.shutdown()  # type: ignore[no-untyped-call]
            else:
                for name in self._applications:
                    serve.delete(name)
            ray.shutdown()
            self._applications = ()
        if self._scratch is not None:
            shutil.rmtree(self._scratch, ignore_errors=True)


def _target(application: Mapping[str, Any]) -> Any:
    """Return what `serve.run_many` takes for an application of a Serve config."""
    from ray import serve

    from isthmus.runtime.serve.application import with_options

    module, _, builder = application["import_path"].partition(":")
    bound = getattr(importlib.import_module(module), builder)(application["args"])
    (options,) = application["deployments"]
    actor = {**options["ray_actor_options"], "runtime_env": application["runtime_env"]}
    return serve.RunTarget(
        target=with_options(bound, {**options, "ray_actor_options": actor}, version=_version(application)),
        name=application["name"],
        route_prefix=application["route_prefix"],
    )


def _version(application: Mapping[str, Any]) -> str:
    """Return a name for what a replica does, which changes when it would do something else."""
    code = [application[part] for part in ("import_path", "args", "runtime_env")]
    return hashlib.sha256(json.dumps(code, sort_keys=True).encode()).hexdigest()[:16]


def _cpus(settings: ServeSettings) -> int:
    """Return how many CPUs a local Ray should believe in: enough for every replica twice, as during an update.

    Replicas share the machine's CPUs; Ray only counts.
    """
    wanted = 0.0
    for application in settings.applications().values():
        count = 1
        if isinstance(application, ScalableSettings):
            scaling = application.autoscaling
            count = application.replicas if scaling is None else scaling.max_replicas
        wanted += 2 * count * application.num_cpus
    return max(os.cpu_count() or 1, math.ceil(wanted) + 1)


def _own_environment(scratch: Path) -> dict[str, str]:
    """Return what keeps this Ray apart from every other one on the machine."""
    names = (
        "RAY_SERVE_HAPROXY_METRICS_PORT",
        "RAY_SERVE_HAPROXY_STATS_PORT",
        "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT",
        "RAY_SERVE_FALLBACK_PROXY_GRPC_PORT",
    )
    variables = {name: str(port) for name, port in zip(names, free_ports(len(names)), strict=True)}
    variables |= _replica_ports()
    variables |= {
        "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": str(scratch / "haproxy.cfg"),
        "RAY_SERVE_HAPROXY_SOCKET_PATH": str(scratch / "admin.sock"),
        "RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH": str(scratch / "metrics.sock"),
        "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": str(scratch),
        "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": str(scratch / "server-state"),
    }
    # Whoever knows the token may run code: it lives as long as this process and its children.
    if os.environ.get("RAY_AUTH_MODE") == "token" and "RAY_AUTH_TOKEN" not in os.environ:
        variables["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
    return variables


def _replica_ports() -> dict[str, str]:
    """Return ranges of ports for replicas that no other Ray of this machine is likely to have.

    Ray asks gRPC not to share ports by a text where gRPC wants a number, and so is not heard: replicas of two Rays that
    pick the same port both get it, and each is sent the other's calls.
    """
    block = _PORT_BLOCKS_START + secrets.randbelow(_PORT_BLOCKS_COUNT) * 2 * _PORTS_COUNT
    ranges = {"HTTP": block, "GRPC": block + _PORTS_COUNT}
    variables = {}
    for protocol, first in ranges.items():
        variables[f"RAY_SERVE_DIRECT_INGRESS_MIN_{protocol}_PORT"] = str(first)
        variables[f"RAY_SERVE_DIRECT_INGRESS_MAX_{protocol}_PORT"] = str(first + _PORTS_COUNT - 1)
    return variables


def _host(address: str) -> str:
    return address.removeprefix("ray://").rpartition(":")[0]


def _last_line(error: BaseException) -> str:
    """Return the end of what Ray says: what happened, below where."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
