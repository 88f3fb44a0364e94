"""What a replica counts, where Ray is scraped: a replica has no port of its own for Prometheus, each node has one."""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from prometheus_client import REGISTRY, CollectorRegistry
from ray.util.metrics import Gauge

__all__ = ["RayMetrics"]

log = logging.getLogger("isthmus.serve")

_PREFIX: Final = "isthmus_"
_CREATED: Final = "_created"
_INTERVAL_S: Final = 5.0

Series = tuple[str, tuple[tuple[str, str], ...]]


class RayMetrics:
    """Copies our metrics to Ray's, which exports them with `ray_` before their names and the worker as a label.

    Every sample is a gauge there, the buckets of histograms too: what Prometheus computes from it is the same.

    Args:
        registry: What is copied; only what is named `isthmus_…`.
    """

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        self._registry = registry
        self._gauges: dict[str, Gauge] = {}
        self._known: set[Series] = set()

    async def run(self) -> None:
        """Copy every few seconds, until cancelled."""
        while True:
            try:
                self.copy()
            except Exception:
                # What is not exported is no reason not to serve.
                log.exception("cannot hand metrics to ray")
            await asyncio.sleep(_INTERVAL_S)

    def copy(self) -> None:
        """Copy every sample as it is now; a series that is gone becomes not a number, which Ray leaves out."""
        found: set[Series] = set()
        for family in self._registry.collect():
            for sample in family.samples:
                if sample.name.startswith(_PREFIX) and not sample.name.endswith(_CREATED):
                    series = (sample.name, tuple(sorted(sample.labels.items())))
                    found.add(series)
                    self._set(series, sample.value, help_text=family.documentation)
        for series in self._known - found:
            self._set(series, float("nan"), help_text="")
        self._known = found

    def _set(self, series: Series, value: float, *, help_text: str) -> None:
        name, labels = series
        gauge = self._gauges.get(name)
        if gauge is None:
            gauge = Gauge(name, description=help_text, tag_keys=tuple(label for label, _ in labels))
            self._gauges[name] = gauge
        gauge.set(value, tags=dict(labels))
