"""What KubeRay makes of a group of a RayCluster: the command of its pod, and the variables it adds."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from tests.k8s.rendered import Document, PodSpec

__all__ = ["added_variables", "start_command"]

_UNITS: Final = {"Mi": 1024**2, "Gi": 1024**3}


def start_command(pod: PodSpec, changed: Mapping[str, str]) -> str:
    """Return the shell command that KubeRay gives a Ray container (`generateRayStartCommand` in its pod.go).

    Args:
        pod: Of the head or of a worker group.
        changed: Start parameters that differ on this machine, and those that name another pod.
    """
    assert pod.group is not None
    head = pod.name == "RayService/head"
    limits = pod.spec["containers"][0]["resources"]["limits"]
    parameters = {
        "block": "true",
        "dashboard-agent-listen-port": "52365",
        "memory": str(_bytes(limits["memory"])),
        "metrics-export-port": "8080",
        "num-cpus": str(limits["cpu"]),
        **({"redis-password": "$REDIS_PASSWORD"} if head else {}),
        **pod.group["rayStartParams"],
        **changed,
    }
    flags = [f"--{key}" if value == "true" else f"--{key}={value}" for key, value in sorted(parameters.items())]
    return f"ulimit -n 65536; ray start {'--head ' if head else ''}{' '.join(flags)}"


def added_variables(cluster: Document, pod: PodSpec, secrets: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    """Return the variables that KubeRay adds to a Ray container for its fault tolerance."""
    if pod.name != "RayService/head":
        return {"RAY_gcs_rpc_server_reconnect_timeout_s": "600"}
    options = cluster["gcsFaultToleranceOptions"]
    reference = options["redisPassword"]["valueFrom"]["secretKeyRef"]
    return {
        "RAY_REDIS_ADDRESS": options["redisAddress"],
        "REDIS_PASSWORD": secrets[reference["name"]][reference["key"]],
        "RAY_external_storage_namespace": "a-uid",
    }


def _bytes(quantity: str) -> int:
    parts = re.fullmatch(r"(\d+)(Mi|Gi)", quantity)
    assert parts is not None
    return int(parts[1]) * _UNITS[parts[2]]
