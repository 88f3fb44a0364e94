"""The mesh on a local Ray whose applications a test may change while they are called."""

from __future__ import annotations

import contextlib
import http.client
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from isthmus.deploy.embedded_config import EmbeddedConfig
from isthmus.deploy.mesh import MeshAddresses, gateway_service
from isthmus.deploy.ray_mesh import serve_settings
from isthmus.deploy.ray_process import RayProcess
from isthmus.deploy.serve_settings import ServeSettings
from isthmus.runtime.base.errors import IsthmusError
from isthmus.runtime.rpc.channel import call, open_channel
from isthmus.runtime.rpc.server import RpcServer
from isthmus.v1 import encoder_service_pb2
from isthmus.v1.encoder_service_pb2_grpc import EncoderServiceStub
from tests.harness.ray_mesh import replicas

__all__ = ["Stage", "ray_stage"]

_METRICS_AGENT = "ray::DashboardAgent"
_REPLICA_PORTS = range(12_000, 32_000)
"""Where HAProxy finds replicas of a local Ray: hundreds of HTTP and hundreds of gRPC in turn."""


@dataclass
class Stage:
    """Ray in a child process, the gateway in this one."""

    ray: RayProcess
    gateway: RpcServer
    settings: ServeSettings

    async def change(self, application: str, **changes: Any) -> None:
        """Change settings of an application and wait until Ray has done so."""
        changed = getattr(self.settings, application).model_copy(update=changes)
        self.settings = self.settings.replaced(**{application: changed})
        await self.ray.run(self.settings)

    def replicas(self, application: str) -> list[int]:
        """Return the process ids of its replicas, starting and leaving ones included."""
        return replicas(self.ray.pid).get(application, [])

    def metrics_page(self) -> str:
        """Return what the node exports to Prometheus; empty until it does."""
        for process in psutil.Process(self.ray.pid).children(recursive=True):
            if process.cmdline()[:1] == [_METRICS_AGENT]:
                for connection in process.net_connections(kind="tcp"):
                    if connection.status == psutil.CONN_LISTEN:
                        page = _get(connection.laddr.ip, connection.laddr.port, "/metrics")
                        if "# HELP ray_" in page:
                            return page
        return ""

    async def encoded_items(self, application: str) -> dict[int, int]:
        """Return how many items each running replica of an encoder has encoded, asked past HAProxy, by process id."""
        found = {}
        for pid in self.replicas(application):
            for port in _direct_ports(pid):
                with contextlib.suppress(IsthmusError):  # it starts or leaves
                    async with open_channel(f"serve://127.0.0.1:{port}/{application}") as channel:
                        stub, request = EncoderServiceStub(channel), encoder_service_pb2.GetEncoderRequest()
                        answer = await call(stub.GetEncoder, request, backend="direct", timeout_s=1)
                        found[pid] = answer.encoded_items
        return found


def _get(host: str, port: int, path: str) -> str:
    """Return a page; empty where no HTTP is spoken."""
    connection = http.client.HTTPConnection("127.0.0.1" if host in {"::", "0.0.0.0"} else host, port, timeout=5)  # noqa: S104
    with contextlib.closing(connection):
        try:
            connection.request("GET", path)
            return connection.getresponse().read().decode()
        except (OSError, http.client.HTTPException, UnicodeDecodeError):
            return ""


def _direct_ports(pid: int) -> Iterator[int]:
    with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
        for connection in psutil.Process(pid).net_connections(kind="tcp"):
            port = connection.laddr.port
            if connection.status == psutil.CONN_LISTEN and port in _REPLICA_PORTS and port // 100 % 2:
                yield port


@contextlib.asynccontextmanager
async def ray_stage(data_dir: Path) -> AsyncIterator[Stage]:
    """Run the five applications on a Ray of their own, and a gateway in front; drain and end both afterwards."""
    config = EmbeddedConfig.load(data_dir=data_dir, port=0, engine="ray")
    settings, ray = serve_settings(config), RayProcess()
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(ray.stop)
        addresses = MeshAddresses.on_serve(settings, host=await ray.run(settings))
        gateway = RpcServer(gateway_service(config, addresses, None), "127.0.0.1:0")
        await gateway.start()
        stack.push_async_callback(gateway.drain)
        await gateway.warm()
        yield Stage(ray, gateway, settings)
