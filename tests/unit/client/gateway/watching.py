"""Watching: one look, one proposal."""

from __future__ import annotations

from typing import Any

from isthmus.v1 import common_pb2, gateway_service_pb2, watch_pb2
from tests.unit.client.gateway.content import ALIGNER
from tests.unit.client.gateway.script import Script

__all__ = ["Watching"]

_TIME_MICROS = 1_700_000_000_123_456


def _proposal(**changes: Any) -> watch_pb2.RefitProposal:
    proposal = watch_pb2.RefitProposal(
        proposal="00112233445566aa",
        collection="c",
        aligner=ALIGNER,
        cause="mean",
        subject="image",
        figure=0.25,
        limit=0.125,
        revision=7,
        time_micros=_TIME_MICROS,
        command="isthmus align fit --collection c --method center --name a",
        state=watch_pb2.PROPOSAL_STATE_OPEN,
        report_json='{"gap": {"raw": null, "aligned": 0.125}}',
    )
    proposal.MergeFrom(watch_pb2.RefitProposal(**changes))
    return proposal


class Watching(Script):
    """The calls about watched collections."""

    async def GetWatch(self, request: gateway_service_pb2.GetWatchRequest, _context: Any) -> Any:
        """Tell of a look at a collection of two raw spaces, whose held-out pairs are too few today."""
        await self._enter("GetWatch", request)
        self._collection(request.collection)
        moved = watch_pb2.Moved(distance=0.5, noise_floor=0.125, share=0.25)
        report = watch_pb2.WatchReport(
            collection=request.collection,
            aligner=ALIGNER,
            revision=7,
            time_micros=_TIME_MICROS,
            pairs=200,
            aligned_gap=0.125,
            drift=[watch_pb2.ModalityDrift(modality=common_pb2.MODALITY_IMAGE, pairs=200, mean=moved, spectrum=moved)],
            fit_probe=watch_pb2.ProbeRecall(gallery=50, pairs=100, image_query=0.75, text_query=0.5),
            limits=watch_pb2.WatchLimits(
                mean_share=0.125, mean_floors=2.0, spectrum_share=0.5, spectrum_floors=1.5, recall_drop=0.0625
            ),
            proposals=[_proposal()],
        )
        return gateway_service_pb2.GetWatchResponse(report=report)

    async def ListProposals(self, request: gateway_service_pb2.ListProposalsRequest, _context: Any) -> Any:
        """List the one."""
        await self._enter("ListProposals", request)
        return gateway_service_pb2.ListProposalsResponse(proposals=[_proposal()])

    async def DismissProposal(self, request: gateway_service_pb2.DismissProposalRequest, _context: Any) -> Any:
        """Close it."""
        await self._enter("DismissProposal", request)
        closed = _proposal(state=watch_pb2.PROPOSAL_STATE_DISMISSED, closed_micros=_TIME_MICROS, reason=request.reason)
        return gateway_service_pb2.DismissProposalResponse(proposal=closed)
