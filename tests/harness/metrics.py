"""Read a process's exported metrics over the wire."""

from __future__ import annotations

import socket
import urllib.request

from prometheus_client.parser import text_string_to_metric_families

__all__ = ["free_port", "quantile", "read"]


def free_port() -> int:
    """Return a port of loopback that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def read(port: int) -> dict[str, dict[tuple[tuple[str, str], ...], float]]:
    """Return every sample by name and labels."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as reply:
        text = reply.read().decode()
    samples: dict[str, dict[tuple[tuple[str, str], ...], float]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            samples.setdefault(sample.name, {})[tuple(sorted(sample.labels.items()))] = sample.value
    return samples


def quantile(buckets: dict[tuple[tuple[str, str], ...], float], share: float) -> float:
    """Return the upper bound of the bucket in which that share of a histogram's observations lies."""
    bounds = sorted((float(dict(labels)["le"]), count) for labels, count in buckets.items())
    total = bounds[-1][1]
    return next(bound for bound, count in bounds if count >= share * total)
