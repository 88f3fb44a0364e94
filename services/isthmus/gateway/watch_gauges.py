"""What the alignment service has found in collections, as gauges of the gateway: what Prometheus scrapes everywhere.

Replicas on Ray have no /metrics of their own. Every gateway exports the same figures: take the `max` over pods. What is
unknown has no sample, and a collection that is gone has none any more.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from typing import Final

from isthmus.gateway.backends import AlignmentBackend
from isthmus.gateway.metrics import (
    DRIFT_FLOORS,
    DRIFT_SHARE,
    GAP_CENTROID,
    PROBE_RECALL,
    REFIT_PROPOSALS,
    WATCH_LEFT_OUT,
    WATCH_TIME,
)
from isthmus.runtime.base.errors import IsthmusError
from isthmus.runtime.base.logging import fields
from isthmus.runtime.base.metrics import Gauge
from isthmus.runtime.rpc.channel import call
from isthmus.v1 import alignment_service_pb2, common_pb2, watch_pb2

__all__ = ["WatchGauges"]

log = logging.getLogger("isthmus.gateway")

_MODALITIES: Final = {common_pb2.MODALITY_IMAGE: "image", common_pb2.MODALITY_TEXT: "text"}
_CAUSES: Final = ("mean", "spectrum", "probe_recall")
_MICRO: Final = 1e-6

_Sample = tuple[Gauge, tuple[str, ...], float]


class WatchGauges:
    """Asks for the figures now and then, and exports them.

    Args:
        alignment: The alignment service.
        every_s: How often it is asked.
        timeout_s: How long it may take to answer.
    """

    def __init__(self, alignment: AlignmentBackend, *, every_s: float, timeout_s: float) -> None:
        self._alignment = alignment
        self._every_s = every_s
        self._timeout_s = timeout_s
        self._exported: set[tuple[Gauge, tuple[str, ...]]] = set()

    async def run(self) -> None:
        """Keep the gauges fresh until cancelled. Without an answer they stay as they are; their time tells the age."""
        while True:
            try:
                answer = await call(
                    self._alignment.stub.ListWatches,
                    alignment_service_pb2.AlignmentServiceListWatchesRequest(),
                    backend="alignment",
                    timeout_s=self._timeout_s,
                )
                self.show(answer)
            except IsthmusError as error:
                log.debug("watched figures not refreshed", extra=fields(reason=error.reason))
            await asyncio.sleep(self._every_s)

    def show(self, answer: alignment_service_pb2.AlignmentServiceListWatchesResponse) -> None:
        """Export what is told, and nothing that is told no more."""
        shown: set[tuple[Gauge, tuple[str, ...]]] = set()
        for watch in answer.watches:
            for gauge, labels, value in _samples(watch.tenant, watch.report):
                gauge.labels(*labels).set(value)
                shown.add((gauge, labels))
        for gauge, labels in self._exported - shown:
            gauge.remove(*labels)
        self._exported = shown
        WATCH_LEFT_OUT.set(answer.left_out_count)


def _samples(tenant: str, report: watch_pb2.WatchReport) -> Iterator[_Sample]:
    """Yield what is known of one collection."""
    of = (tenant, report.collection)
    open_causes = {one.cause for one in report.proposals}
    for cause in _CAUSES:
        yield REFIT_PROPOSALS, (*of, cause), float(cause in open_causes)
    if not report.time_micros:
        return
    yield WATCH_TIME, of, report.time_micros * _MICRO
    if report.HasField("raw_gap"):
        yield GAP_CENTROID, (*of, "raw"), report.raw_gap
    if report.HasField("aligned_gap"):
        yield GAP_CENTROID, (*of, "aligned"), report.aligned_gap
    for drift in report.drift:
        for moment, moved in (("mean", drift.mean), ("spectrum", drift.spectrum)):
            labels = (*of, _MODALITIES[drift.modality], moment)
            yield DRIFT_SHARE, labels, moved.share
            if moved.noise_floor > 0.0:
                yield DRIFT_FLOORS, labels, moved.distance / moved.noise_floor
    probes = (("now", report.HasField("probe"), report.probe), ("fit", report.HasField("fit_probe"), report.fit_probe))
    for at, is_known, probe in probes:
        if is_known:
            yield PROBE_RECALL, (*of, "image", at), probe.image_query
            yield PROBE_RECALL, (*of, "text", at), probe.text_query
