"""What a mesh on one machine stands on: a data directory of its own, a folder for sockets, a Redis."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import tempfile
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Final

from isthmus.deploy.embedded_config import EmbeddedConfig
from isthmus.deploy.redis_server import RedisServer
from isthmus.runtime.rpc.server import RpcServer

__all__ = ["drain", "locked", "redis", "socket_folder", "warm"]

_SOCKET_PATH_MAX_BYTES: Final = 100
"""Linux allows 108 for the path of a unix socket; the longest name we append is counted in."""


@contextlib.contextmanager
def locked(data_dir: Path) -> Iterator[None]:
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
def socket_folder(data_dir: Path) -> Iterator[Path]:
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
async def redis(config: EmbeddedConfig, folder: Path) -> AsyncIterator[str | None]:
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


async def drain(servers: Sequence[RpcServer]) -> None:
    """Drain servers, the first one first."""
    for server in servers:
        await server.drain()


async def warm(servers: Sequence[RpcServer]) -> None:
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
