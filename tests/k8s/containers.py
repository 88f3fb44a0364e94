"""Run a rendered container on this machine, ask its rendered probes, end it by its pids."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import grpc
import psutil
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.k8s.rendered import Document

__all__ = ["Changes", "Container"]


class Changes:
    """What differs on this machine: ports, paths, and names that DNS would resolve.

    Args:
        pairs: What stands in the YAML, and what stands for it here; longer ones are replaced first.
    """

    def __init__(self, pairs: Mapping[str, str]) -> None:
        self._pairs = dict(sorted(pairs.items(), key=lambda pair: -len(pair[0])))

    def __call__(self, text: str) -> str:
        """Return `text` as it must read here."""
        for there, here in self._pairs.items():
            text = text.replace(there, here)
        return text


class Container:
    """A container's command as a process of this machine.

    Args:
        container: As rendered.
        command: What to run.
        environment: Its variables, and nothing of ours but PATH.
        ports: Where its ports are here, by number and by name.
        log: File for what it says.
    """

    def __init__(
        self,
        container: Document,
        command: Sequence[str],
        *,
        environment: Mapping[str, str],
        ports: Mapping[int, int],
        log: Path,
    ) -> None:
        self._container = container
        named = {entry["name"]: ports[entry["containerPort"]] for entry in container["ports"]}
        self._ports: dict[int | str, int] = dict([*named.items(), *ports.items()])
        self._environment = dict(environment)
        self._log = log
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                command,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def passes(self, probe: str) -> bool:
        """Ask one of its probes once."""
        definition = self._container[probe]
        if "exec" in definition:
            (shell, flag, script) = definition["exec"]["command"]
            script = script.replace("6379", str(self._ports[6379]))
            return subprocess.run([shell, flag, script], env=self._environment, check=False, timeout=10).returncode == 0
        if "httpGet" in definition:
            port = self._ports[definition["httpGet"]["port"]]
            return _http(f"http://127.0.0.1:{port}{definition['httpGet']['path']}")
        if "grpc" in definition:
            return _health(self._ports[definition["grpc"]["port"]], definition["grpc"]["service"])
        return _connects(self._ports[definition["tcpSocket"]["port"]])

    def wait(self, probe: str, *, timeout_s: float) -> float:
        """Wait until a probe passes; return how long that took.

        Raises:
            RuntimeError: the process ended, or the probe did not pass in time; the message ends with its log.
        """
        started_s = time.monotonic()
        while not self.passes(probe):
            late = time.monotonic() - started_s > timeout_s
            if late or self._process.poll() is not None:
                msg = f"{self._container['name']}: {probe} does not pass:\n{self.log()}"
                raise RuntimeError(msg)
            time.sleep(0.1)
        return time.monotonic() - started_s

    def log(self) -> str:
        """Return the end of what it said."""
        return self._log.read_text(errors="replace")[-6000:]

    def stop(self) -> None:
        """SIGTERM, as kubelet does; then whatever is left of its own processes, by pid."""
        try:
            family = psutil.Process(self._process.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            family = []
        if self._process.poll() is None:
            os.kill(self._process.pid, signal.SIGTERM)
            try:
                self._process.wait(3)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        for process in family:
            if process.is_running():
                process.kill()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def _connects(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
    except OSError:
        return False
    return True


def _http(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as reply:  # noqa: S310 - our own address
            return bool(200 <= reply.status < 400)
    except (urllib.error.URLError, OSError):
        return False


def _health(port: int, service: str) -> bool:
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        try:
            answer = stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=5)
        except grpc.RpcError:
            return False
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)
