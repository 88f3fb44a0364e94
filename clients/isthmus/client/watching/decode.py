"""Answers to calls for watched collections, from the wire."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Final

from isthmus.client.convert import modality_name
from isthmus.client.watching.results import (
    ModalityDrift,
    Moved,
    ProbeRecall,
    ProposalState,
    RefitProposal,
    WatchLimits,
    WatchReport,
)
from isthmus.v1 import watch_pb2

__all__ = ["proposal", "report"]

_STATES: Final[Mapping[int, ProposalState]] = {
    watch_pb2.PROPOSAL_STATE_OPEN: "open",
    watch_pb2.PROPOSAL_STATE_DISMISSED: "dismissed",
    watch_pb2.PROPOSAL_STATE_SUPERSEDED: "superseded",
}


def report(message: watch_pb2.WatchReport) -> WatchReport:
    """Return the latest look at a collection."""
    limits = message.limits
    return WatchReport(
        collection=message.collection,
        aligner=message.aligner,
        revision=message.revision,
        time=_time(message.time_micros),
        pairs=message.pairs,
        raw_gap=message.raw_gap if message.HasField("raw_gap") else None,
        aligned_gap=message.aligned_gap if message.HasField("aligned_gap") else None,
        drift={
            modality_name(one.modality): ModalityDrift(
                pairs=one.pairs, mean=_moved(one.mean), spectrum=_moved(one.spectrum)
            )
            for one in message.drift
        },
        probe=_probe(message.probe) if message.HasField("probe") else None,
        fit_probe=_probe(message.fit_probe) if message.HasField("fit_probe") else None,
        limits=WatchLimits(
            mean_share=limits.mean_share,
            mean_floors=limits.mean_floors,
            spectrum_share=limits.spectrum_share,
            spectrum_floors=limits.spectrum_floors,
            recall_drop=limits.recall_drop,
        ),
        proposals=tuple(proposal(one) for one in message.proposals),
        unmeasured=message.unmeasured,
    )


def proposal(message: watch_pb2.RefitProposal) -> RefitProposal:
    """Return a proposal."""
    return RefitProposal(
        proposal=message.proposal,
        collection=message.collection,
        aligner=message.aligner,
        cause=message.cause,
        subject=message.subject,
        figure=message.figure,
        limit=message.limit,
        revision=message.revision,
        time=_time(message.time_micros) or datetime.fromtimestamp(0, UTC),
        command=message.command,
        state=_STATES.get(message.state, "unknown"),
        closed=_time(message.closed_micros),
        reason=message.reason,
        report_json=message.report_json,
    )


def _time(micros: int) -> datetime | None:
    return datetime.fromtimestamp(0, UTC) + timedelta(microseconds=micros) if micros else None


def _moved(message: watch_pb2.Moved) -> Moved:
    floors = message.distance / message.noise_floor if message.noise_floor else 0.0
    return Moved(distance=message.distance, noise_floor=message.noise_floor, share=message.share, floors=floors)


def _probe(message: watch_pb2.ProbeRecall) -> ProbeRecall:
    return ProbeRecall(
        gallery=message.gallery, pairs=message.pairs, image_query=message.image_query, text_query=message.text_query
    )
