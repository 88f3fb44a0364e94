"""`isthmus up`: the whole mesh in one process, on one event loop, with one public port.

The services are the same as in six processes and talk the same gRPC, over unix sockets in a folder that only this user
may enter. What differs is only who starts them.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import signal
import tempfile
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Final

from isthmus.deploy.embedded_config import EmbeddedConfig
from isthmus.deploy.mesh import MeshAddresses, back_services, gateway_service
from isthmus.deploy.redis_server import RedisServer
from isthmus.runtime.base import logging as isthmus_logging
from isthmus.runtime.base import metrics
from isthmus.runtime.base.loop_lag import watched_loop
from isthmus.runtime.rpc.server import RpcServer

__all__ = ["EmbeddedConfig", "embedded_mesh", "run"]

log = logging.getLogger("isthmus.deploy")

_SOCKET_PATH_MAX_BYTES: Final = 100
"""Linux allows 108 for the path of a unix socket; the longest name we append is counted in."""


@contextlib.contextmanager
def _locked(data_dir: Path) -> Iterator[None]:
    """Hold the data directory for this process alone.

    Raises:
        OSError: another mesh holds it.
    """
    data_dir.mkdir(parents=True, exist_ok=True)
    with (data_dir / "lock").open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            msg = "another mesh is running in this data directory"
            raise OSError(msg) from error
        yield


@contextlib.contextmanager
def _socket_folder(data_dir: Path) -> Iterator[Path]:
    """Make a folder for unix sockets: under the data directory, or a temporary one when that path is too long."""
    preferred = data_dir.resolve() / "run"
    with contextlib.ExitStack() as stack:
        if len(str(preferred / "image_encoder.sock").encode()) <= _SOCKET_PATH_MAX_BYTES:
            folder = preferred
            folder.mkdir(exist_ok=True)
        else:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="isthmus-")))
        folder.chmod(0o700)
        yield folder


@contextlib.asynccontextmanager
async def _redis(config: EmbeddedConfig, folder: Path) -> AsyncIterator[str | None]:
    """Yield the URL of the cache's Redis: the caller's, or one of our own, or None."""
    if config.redis is not None:
        yield config.redis
        return
    server = RedisServer(folder / "redis.sock")
    started = await server.start()
    try:
        yield server.url if started else None
    finally:
        await server.stop()


async def _drain(servers: Sequence[RpcServer]) -> None:
    for server in servers:
        await server.drain()


async def _warm(servers: Sequence[RpcServer]) -> None:
    """Warm all services side by side.

    Raises:
        Exception: what the first service that cannot start says.
    """
    try:
        async with asyncio.TaskGroup() as group:
            for server in servers:
                group.create_task(server.warm())
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from failures


@contextlib.asynccontextmanager
async def embedded_mesh(config: EmbeddedConfig) -> AsyncIterator[str]:
    """Run the mesh; yield its public address once it is warm, and drain it at the end.

    Raises:
        OSError: the port or the data directory is taken.
    """
    async with contextlib.AsyncExitStack() as stack:
        stack.enter_context(_locked(config.data_dir))
        folder = stack.enter_context(_socket_folder(config.data_dir))
        redis_url = await stack.enter_async_context(_redis(config, folder))
        addresses = MeshAddresses.in_folder(folder)
        started: list[RpcServer] = []
        # The gateway goes first, so that nobody loses a service it still needs.
        stack.push_async_callback(lambda: _drain(started[::-1]))
        for hosted, listen in back_services(config, addresses):
            server = RpcServer(hosted, listen)
            await server.start()
            started.append(server)
        gateway = RpcServer(gateway_service(config, addresses, redis_url), f"{config.host}:{config.port}")
        await gateway.start()
        started.append(gateway)
        await _warm(started)
        yield gateway.address


async def _run(config: EmbeddedConfig) -> None:
    stopping, ready = asyncio.Event(), asyncio.Event()

    async def serve() -> None:
        async with embedded_mesh(config) as address, watched_loop():
            ready.set()
            print(f"isthmus ready {address}", flush=True)
            await stopping.wait()

    serving = asyncio.ensure_future(serve())

    def on_signal() -> None:
        stopping.set()
        # Before the mesh is ready nobody waits for `stopping`: give up warming instead.
        if not ready.is_set():
            serving.cancel()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal)
    try:
        await serving
    except asyncio.CancelledError:
        if not stopping.is_set():
            raise


def run(config: EmbeddedConfig) -> int:
    """Run the mesh until SIGTERM or SIGINT; print `isthmus ready HOST:PORT` on stdout when it is warm.

    Returns:
        The exit status: 0 after a clean drain.

    Raises:
        OSError: the port or the data directory is taken.
    """
    isthmus_logging.configure(config.log_level)
    if config.metrics_port is not None:
        metrics.expose(config.metrics_port, host=config.metrics_host)
    asyncio.run(_run(config))
    return 0
