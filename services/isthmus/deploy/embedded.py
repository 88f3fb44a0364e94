"""The whole mesh in one process, on one event loop, with one public port.

The services are the same as in six processes and talk the same gRPC, over unix sockets in a folder that only this user
may enter. What differs is only who starts them.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

from isthmus.deploy.blas import one_blas_thread
from isthmus.deploy.embedded_config import EmbeddedConfig
from isthmus.deploy.local import drain, locked, redis, socket_folder, warm
from isthmus.deploy.mesh import MeshAddresses, back_services, gateway_server
from isthmus.runtime.rpc.server import RpcServer

__all__ = ["embedded_mesh"]


@contextlib.asynccontextmanager
async def embedded_mesh(config: EmbeddedConfig) -> AsyncIterator[str]:
    """Run the mesh; yield its public address once it is warm, and drain it at the end.

    Raises:
        OSError: the port or the data directory is taken.
    """
    async with contextlib.AsyncExitStack() as stack:
        stack.enter_context(locked(config.data_dir))
        stack.enter_context(one_blas_thread())
        folder = stack.enter_context(socket_folder(config.data_dir))
        redis_url = await stack.enter_async_context(redis(config, folder))
        addresses = MeshAddresses.in_folder(folder)
        started: list[RpcServer] = []
        # The gateway goes first, so that nobody loses a service it still needs.
        stack.push_async_callback(lambda: drain(started[::-1]))
        for hosted, listen in back_services(config, addresses):
            server = RpcServer(hosted, listen)
            await server.start()
            started.append(server)
        gateway = gateway_server(config, addresses, redis_url)
        await gateway.start()
        started.append(gateway)
        await warm(started)
        yield gateway.address
