"""The mesh on Ray Serve, with its gateway outside Ray, in this process."""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator
from typing import Any

from isthmus.deploy.embedded_config import EmbeddedConfig
from isthmus.deploy.local import drain, locked, redis, socket_folder, warm
from isthmus.deploy.mesh import MeshAddresses, gateway_server
from isthmus.deploy.ray_process import RayProcess
from isthmus.deploy.ray_session import free_ports
from isthmus.deploy.serve_settings import ServeSettings

__all__ = ["ray_mesh", "serve_settings"]


def serve_settings(config: EmbeddedConfig) -> ServeSettings:
    """Return the applications of a mesh on this machine; `ISTHMUS_DEPLOY_…` variables win."""
    data_dir = config.data_dir.resolve()
    # A dead replica is noticed by its next health check: on one machine, with one replica each, every two seconds.
    small: dict[str, Any] = {"num_cpus": 0.1, "health_check_period_s": 2.0}
    text, image = config.encoder or config.text_encoder, config.encoder or config.image_encoder
    chosen: dict[str, Any] = {
        "text_encoder": {**small, "encoder": text} if text is not None else small,
        "image_encoder": {**small, "encoder": image} if image is not None else small,
    }
    chosen |= dict.fromkeys(("alignment", "index_writer", "index_search"), small)
    chosen |= {
        "store": str(data_dir / "store"),
        "aligners_dir": str(data_dir / "aligners"),
        "import_dir": str(config.imports_from.resolve()),
        "cache_dir": str(data_dir / "cache"),
        "allow_download": config.allow_download,
        "log_level": config.log_level,
    }
    if config.ray_address is None:
        grpc_port, http_port = free_ports(2)
        chosen |= {"host": "127.0.0.1", "grpc_port": grpc_port, "http_port": http_port, "drain_s": 1.0}
        # Ray gives a replica as many threads as CPUs; these share all of the machine.
        chosen["environment"] = {"OMP_NUM_THREADS": str(os.cpu_count() or 1)}
    return ServeSettings.load(**chosen)


@contextlib.asynccontextmanager
async def ray_mesh(config: EmbeddedConfig) -> AsyncIterator[str]:
    """Run the mesh; yield its public address once it is warm, and drain it at the end.

    Raises:
        ImportError: Ray is not installed.
        OSError: the port or the data directory is taken, or Ray or an application does not come up.
    """
    async with contextlib.AsyncExitStack() as stack:
        stack.enter_context(locked(config.data_dir))
        folder = stack.enter_context(socket_folder(config.data_dir))
        redis_url = await stack.enter_async_context(redis(config, folder))
        settings = serve_settings(config)
        ray = RayProcess(address=config.ray_address)
        stack.push_async_callback(ray.stop)
        addresses = MeshAddresses.on_serve(settings, host=await ray.run(settings))
        gateway = gateway_server(config, addresses, redis_url)
        await gateway.start()
        stack.push_async_callback(drain, [gateway])
        await warm([gateway])
        yield gateway.address
