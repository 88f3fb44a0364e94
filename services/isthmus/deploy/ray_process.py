"""The process that keeps Ray, seen from the one that started it."""

from __future__ import annotations

import asyncio
import sys
from asyncio.subprocess import PIPE, Process
from typing import Final

from isthmus.deploy.ray_host import RayAnswer, RayRequest
from isthmus.deploy.serve_settings import ServeSettings

__all__ = ["RayProcess"]

_STOP_TIMEOUT_S: Final = 90.0


class RayProcess:
    """A Ray with our applications in a child process.

    Args:
        address: A cluster to join; None starts a Ray on loopback that ends with the child.
    """

    def __init__(self, *, address: str | None = None) -> None:
        self._address = address
        self._process: Process | None = None

    @property
    def pid(self) -> int:
        """The child's process id; everything of a local Ray descends from it."""
        assert self._process is not None
        return self._process.pid

    async def run(self, settings: ServeSettings) -> str:
        """Start Ray if need be, and make the applications what `settings` says.

        Returns:
            A node of the cluster, at which its gRPC port is open.

        Raises:
            ImportError: Ray is not installed.
            OSError: Ray cannot be started or joined, or an application does not come up.
        """
        if self._process is None:
            # A session of its own: Ctrl-C in a terminal is for us, and we drain before Ray goes.
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "isthmus.deploy.ray_host", stdin=PIPE, stdout=PIPE, start_new_session=True
            )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        request = RayRequest(settings=settings, address=self._address)
        self._process.stdin.write(request.model_dump_json().encode() + b"\n")
        await self._process.stdin.drain()
        line = await self._process.stdout.readline()
        if not line:
            msg = "Ray ended before the applications ran"
            raise OSError(msg)
        answer = RayAnswer.model_validate_json(line)
        if answer.missing:
            raise ImportError(answer.error, name=answer.missing)
        if answer.error:
            raise OSError(answer.error)
        return answer.host

    async def stop(self) -> None:
        """Let the replicas finish, end Ray or leave the cluster, and wait for the child."""
        if self._process is None:
            return
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            async with asyncio.timeout(_STOP_TIMEOUT_S):
                await self._process.wait()
        except TimeoutError:
            self._process.kill()
            await self._process.wait()
