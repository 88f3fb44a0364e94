"""Aligners of the small gateway."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

from isthmus.runtime.base.errors import FailedPreconditionError, NotFoundError
from isthmus.v1 import common_pb2, gateway_service_pb2
from tests.unit.client.gateway.content import ALIGNER, DIMENSION, IMAGE_SPACE, TEXT_SPACE
from tests.unit.client.gateway.script import Script

_MANIFEST = {
    "created_by": "a test",
    "pair_count": 12,
    "seed": 3,
    "calibration": None,
    "report": {"n": 4, "recall": {"t2i": {"r1": 0.5}}},
}


class Aligners(Script):
    """Answers about aligners."""

    async def ListAligners(self, request: gateway_service_pb2.ListAlignersRequest, _context: Any) -> Any:
        """Return the one there is."""
        await self._enter("ListAligners", request)
        return gateway_service_pb2.ListAlignersResponse(aligners=[aligner_message(ALIGNER, "heads")])

    async def GetAligner(self, request: gateway_service_pb2.GetAlignerRequest, _context: Any) -> Any:
        """Return the one there is, and where wanted an artefact."""
        await self._enter("GetAligner", request)
        if request.aligner not in (ALIGNER, ALIGNER.partition("@")[0]):
            msg = "aligner: there is none of that name and revision"
            raise NotFoundError(msg, reason="ALIGNER_NOT_FOUND")
        artefact = common_pb2.AlignerArtefact(manifest=b"{}", tensors=b"tensors") if request.include_artefact else None
        return gateway_service_pb2.GetAlignerResponse(aligner=aligner_message(ALIGNER, "heads"), artefact=artefact)

    async def FitAligner(
        self, request: gateway_service_pb2.FitAlignerRequest, _context: Any
    ) -> AsyncIterator[gateway_service_pb2.FitAlignerResponse]:
        """Tell three steps; the last holds the aligner."""
        await self._enter("FitAligner", request)
        self._collection(request.collection)
        yield gateway_service_pb2.FitAlignerResponse(progress=0.25, stage="reading")
        yield gateway_service_pb2.FitAlignerResponse(progress=0.75, stage="fitting")
        if request.aligner_id != "never":
            found = aligner_message(f"{request.aligner_id}@0000000000000001", request.method)
            yield gateway_service_pb2.FitAlignerResponse(progress=1, stage="done", aligner=found)

    async def ImportAligner(self, request: gateway_service_pb2.ImportAlignerRequest, _context: Any) -> Any:
        """Take anything."""
        await self._enter("ImportAligner", request)
        return gateway_service_pb2.ImportAlignerResponse(aligner=aligner_message("mine@0000000000000002", "heads"))

    async def PromoteAligner(self, request: gateway_service_pb2.PromoteAlignerRequest, _context: Any) -> Any:
        """Write it into the collection."""
        await self._enter("PromoteAligner", request)
        collection = self._collection(request.collection)
        collection.revision += 1
        collection.aligner = request.aligner
        return gateway_service_pb2.PromoteAlignerResponse(collection=collection)

    async def RollbackAligner(self, request: gateway_service_pb2.RollbackAlignerRequest, _context: Any) -> Any:
        """Take the aligner away."""
        await self._enter("RollbackAligner", request)
        collection = self._collection(request.collection)
        if not collection.aligner:
            msg = "the collection has had no other aligner to roll back to"
            raise FailedPreconditionError(msg, reason="NO_PREVIOUS_ALIGNER")
        collection.revision += 1
        collection.aligner = ""
        return gateway_service_pb2.RollbackAlignerResponse(collection=collection)

    async def SetShadowAligner(self, request: gateway_service_pb2.SetShadowAlignerRequest, _context: Any) -> Any:
        """Write it into the collection."""
        await self._enter("SetShadowAligner", request)
        collection = self._collection(request.collection)
        collection.revision += 1
        collection.shadow_aligner = request.aligner
        return gateway_service_pb2.SetShadowAlignerResponse(collection=collection)

    async def GetShadowReport(self, request: gateway_service_pb2.GetShadowReportRequest, _context: Any) -> Any:
        """Tell of a comparison that is under way where there is a shadow."""
        await self._enter("GetShadowReport", request)
        collection = self._collection(request.collection)
        report = common_pb2.ShadowReport(
            active_aligner=collection.aligner,
            state=common_pb2.SHADOW_STATE_OFF,
            memory_limit_bytes=1 << 30,
            sampled_share=0.05,
        )
        if collection.shadow_aligner:
            report.MergeFrom(
                common_pb2.ShadowReport(
                    aligner=collection.shadow_aligner,
                    state=common_pb2.SHADOW_STATE_READY,
                    revision=collection.revision,
                    memory_bytes=2_000_000,
                    requests=40,
                    queries=50,
                    overlap=0.75,
                    top1_changed=0.5,
                    own_share_active=1.0,
                    own_share_shadow=0.375,
                    active_seconds=0.002,
                    shadow_seconds=0.003,
                    dropped_busy_count=3,
                )
            )
        return gateway_service_pb2.GetShadowReportResponse(report=report)

    async def ListPromotions(self, request: gateway_service_pb2.ListPromotionsRequest, _context: Any) -> Any:
        """Tell of one that was forced, and of the creation before it."""
        await self._enter("ListPromotions", request)
        self._collection(request.collection)
        forced = common_pb2.Promotion(
            aligner=ALIGNER,
            revision=7,
            time_micros=1_700_000_000_123_456,
            kind=common_pb2.PROMOTION_KIND_PROMOTED,
            override_reason="the editors decided so",
        )
        created = common_pb2.Promotion(
            revision=1, time_micros=1_600_000_000_000_000, kind=common_pb2.PROMOTION_KIND_CREATED
        )
        return gateway_service_pb2.ListPromotionsResponse(promotions=[forced, created], total_count=12)


def aligner_message(name: str, method: str) -> common_pb2.Aligner:
    """Return an aligner of that name."""
    return common_pb2.Aligner(
        aligner=name,
        method=method,
        image_space=IMAGE_SPACE,
        text_space=TEXT_SPACE,
        dimension=DIMENSION,
        manifest_json=json.dumps(_MANIFEST),
    )
