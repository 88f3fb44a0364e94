"""The gauges of watched collections: exported while they are told, gone when they are told no more."""

from __future__ import annotations

import pytest
from prometheus_client import REGISTRY

from isthmus.gateway.backends import AlignmentBackend
from isthmus.gateway.watch_gauges import WatchGauges
from isthmus.runtime.rpc.channel import open_channel
from isthmus.v1 import alignment_service_pb2, common_pb2, watch_pb2
from isthmus.v1.alignment_service_pb2 import AlignmentServiceListWatchesResponse


@pytest.fixture
async def gauges() -> WatchGauges:
    """Gauges that ask nobody."""
    return WatchGauges(AlignmentBackend(open_channel("127.0.0.1:1")), every_s=60.0, timeout_s=1.0)


def _report(**changes: object) -> watch_pb2.WatchReport:
    moved = watch_pb2.Moved(distance=0.5, noise_floor=0.125, share=0.25)
    report = watch_pb2.WatchReport(
        collection="gauged",
        revision=3,
        time_micros=1_700_000_000_000_000,
        aligned_gap=0.0,
        drift=[watch_pb2.ModalityDrift(modality=common_pb2.MODALITY_TEXT, mean=moved, spectrum=moved)],
        proposals=[watch_pb2.RefitProposal(cause="mean")],
    )
    report.MergeFrom(watch_pb2.WatchReport(**changes))  # type: ignore[arg-type]
    return report


def _told(*reports: watch_pb2.WatchReport, left_out: int = 0) -> AlignmentServiceListWatchesResponse:
    watches = [alignment_service_pb2.TenantWatch(tenant="acme", report=report) for report in reports]
    return AlignmentServiceListWatchesResponse(watches=watches, left_out_count=left_out)


def _value(name: str, **labels: str) -> float | None:
    return REGISTRY.get_sample_value(name, {"tenant": "acme", "collection": "gauged", **labels})


async def test_what_is_known_is_exported_and_what_is_unknown_is_not(gauges: WatchGauges) -> None:
    """A gap of 0 that was measured is a sample; a raw gap and a probe that were not are none."""
    gauges.show(_told(_report(), left_out=4))
    assert _value("isthmus_gap_centroid", space="aligned") == 0.0
    assert _value("isthmus_gap_centroid", space="raw") is None
    assert _value("isthmus_drift_share", modality="text", moment="mean") == 0.25
    assert _value("isthmus_drift_floors", modality="text", moment="spectrum") == 4.0
    assert _value("isthmus_drift_share", modality="image", moment="mean") is None
    assert _value("isthmus_probe_recall", query="image", at="now") is None
    assert _value("isthmus_refit_proposals", cause="mean") == 1.0
    assert _value("isthmus_refit_proposals", cause="probe_recall") == 0.0
    assert _value("isthmus_watch_timestamp_seconds") == 1_700_000_000.0
    assert REGISTRY.get_sample_value("isthmus_watch_left_out") == 4.0


async def test_what_is_told_no_more_is_exported_no_more(gauges: WatchGauges) -> None:
    """A figure that became unknown, then the whole collection; one that nobody has looked at has no figures."""
    gauges.show(_told(_report(probe=watch_pb2.ProbeRecall(gallery=50, pairs=50, image_query=0.5, text_query=0.75))))
    assert _value("isthmus_probe_recall", query="text", at="now") == 0.75
    gauges.show(_told(_report()))
    assert _value("isthmus_probe_recall", query="text", at="now") is None
    assert _value("isthmus_drift_share", modality="text", moment="mean") == 0.25
    gauges.show(_told(watch_pb2.WatchReport(collection="gauged", unmeasured="nobody has looked yet")))
    assert _value("isthmus_drift_share", modality="text", moment="mean") is None
    assert _value("isthmus_watch_timestamp_seconds") is None
    assert _value("isthmus_refit_proposals", cause="mean") == 0.0
    gauges.show(_told())
    assert _value("isthmus_refit_proposals", cause="mean") is None
