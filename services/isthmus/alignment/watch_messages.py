"""What watching found, as messages."""

from __future__ import annotations

import json
from typing import Final

from isthmus.alignment.watching.proposals import Proposal, ProposalState
from isthmus.alignment.watching.state import CollectionWatch
from isthmus.core.aligners import ProbeRecall
from isthmus.core.gap import Moved
from isthmus.core.modality import Modality
from isthmus.core.watch import WatchLimits
from isthmus.v1 import common_pb2, watch_pb2

__all__ = ["proposal_message", "watch_message"]

_MODALITIES: Final = {Modality.IMAGE: common_pb2.MODALITY_IMAGE, Modality.TEXT: common_pb2.MODALITY_TEXT}
_STATES: Final[dict[ProposalState, watch_pb2.ProposalState.ValueType]] = {
    "open": watch_pb2.PROPOSAL_STATE_OPEN,
    "dismissed": watch_pb2.PROPOSAL_STATE_DISMISSED,
    "superseded": watch_pb2.PROPOSAL_STATE_SUPERSEDED,
}


def watch_message(found: CollectionWatch, limits: WatchLimits) -> watch_pb2.WatchReport:
    """Return the latest look at a collection."""
    message = watch_pb2.WatchReport(
        collection=found.collection,
        aligner=found.aligner,
        revision=found.revision,
        time_micros=found.time_micros,
        limits=watch_pb2.WatchLimits(
            mean_share=limits.mean_share,
            mean_floors=limits.mean_floors,
            spectrum_share=limits.spectrum_share,
            spectrum_floors=limits.spectrum_floors,
            recall_drop=limits.recall_drop,
        ),
        proposals=[proposal_message(one) for one in found.open_proposals],
        unmeasured=found.unmeasured,
    )
    figures = found.figures
    if figures is not None:
        message.MergeFrom(
            watch_pb2.WatchReport(
                pairs=figures.pair_count,
                raw_gap=figures.raw_gap,
                aligned_gap=figures.aligned_gap,
                drift=[
                    watch_pb2.ModalityDrift(
                        modality=_MODALITIES[modality],
                        pairs=one.key_count,
                        mean=_moved(one.mean),
                        spectrum=_moved(one.spectrum),
                    )
                    for modality, one in figures.drift.items()
                ],
                probe=_probe(figures.probe),
                fit_probe=_probe(figures.fit_probe),
            )
        )
    return message


def proposal_message(found: Proposal) -> watch_pb2.RefitProposal:
    """Return a proposal."""
    return watch_pb2.RefitProposal(
        proposal=found.proposal,
        collection=found.collection,
        aligner=found.aligner,
        cause=found.cause,
        subject=found.subject,
        figure=found.figure,
        limit=found.limit,
        revision=found.revision,
        time_micros=found.time_micros,
        command=found.command,
        state=_STATES[found.state],
        closed_micros=found.closed_micros,
        reason=found.reason,
        report_json=json.dumps(found.report, separators=(",", ":"), sort_keys=True),
    )


def _moved(one: Moved) -> watch_pb2.Moved:
    return watch_pb2.Moved(distance=one.distance, noise_floor=one.noise_floor, share=one.share)


def _probe(one: ProbeRecall | None) -> watch_pb2.ProbeRecall | None:
    if one is None:
        return None
    return watch_pb2.ProbeRecall(
        gallery=one.gallery_count, pairs=one.pair_count, image_query=one.image_query, text_query=one.text_query
    )
