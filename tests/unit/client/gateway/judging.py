"""Fixed figures."""

from __future__ import annotations

import json
from typing import Any

from isthmus.v1 import common_pb2, gateway_service_pb2
from tests.unit.client.gateway.content import ALIGNER
from tests.unit.client.gateway.script import Script


class Judging(Script):
    """Answers with figures that a test can tell apart."""

    async def Evaluate(self, request: gateway_service_pb2.EvaluateRequest, _context: Any) -> Any:
        """Return fixed figures."""
        await self._enter("Evaluate", request)
        collection = self._collection(request.collection)
        mixed = common_pb2.MixedRetrieval(r1=0.125, r10=0.5, r20=0.75, ndcg10=0.25, own_share=0.5)
        return gateway_service_pb2.EvaluateResponse(
            report=common_pb2.EvaluationReport(
                pairs=10,
                image_queries=10,
                text_queries=50,
                t2i=common_pb2.RecallAt(r1=0.25, r5=0.5, r10=0.75),
                i2t=common_pb2.RecallAt(r1=0.375, r5=0.625, r10=0.875),
                mixed_image_query=mixed,
                mixed_text_query=mixed,
                aligner=ALIGNER,
                revision=collection.revision,
                through_search=request.through_search,
                calibration=common_pb2.CALIBRATION_SOURCE_FITTED,
            )
        )

    async def MeasureGap(self, request: gateway_service_pb2.MeasureGapRequest, _context: Any) -> Any:
        """Return figures that a test can tell apart, and leave some out."""
        await self._enter("MeasureGap", request)
        collection = self._collection(request.collection)
        document = {"n": 20, "gap": {"centroid": 0.5, "fid": None}, "measures": {}, "missing": {"fid": "too few"}}
        return gateway_service_pb2.MeasureGapResponse(
            report=common_pb2.GapReport(
                pairs=20,
                image_count=20,
                text_count=40,
                sample_count=request.sample_count,
                seed=request.seed,
                share=0.5,
                gap=common_pb2.GapFigures(centroid=0.5, paired_cosine=0.0),
                report_json=json.dumps(document),
                aligner=request.aligner,
                revision=collection.revision,
            ),
            page=f"<p>{request.collection}</p>" if request.render_page else "",
        )

    async def VerifyAligner(self, request: gateway_service_pb2.VerifyAlignerRequest, _context: Any) -> Any:
        """Refuse it, with figures."""
        await self._enter("VerifyAligner", request)
        report = _verification("heads", aligner=request.aligner, reasons=["hubness growth: too much"])
        return gateway_service_pb2.VerifyAlignerResponse(
            report=report,
            revision=self._collection(request.collection).revision,
            page=f"<p>{request.collection}</p>" if request.render_page else "",
        )

    async def CompareAligners(self, request: gateway_service_pb2.CompareAlignersRequest, _context: Any) -> Any:
        """Let all pass but the last, which cannot be fitted."""
        await self._enter("CompareAligners", request)
        *fitted, last = request.methods
        return gateway_service_pb2.CompareAlignersResponse(
            reports=[_verification(method, aligner="", reasons=[]) for method in fitted],
            refused={last: "too few pairs"},
            best=fitted[0],
            revision=self._collection(request.collection).revision,
            page=f"<p>{request.collection}</p>" if request.render_page else "",
        )


def _verification(method: str, *, aligner: str, reasons: list[str]) -> common_pb2.VerificationReport:
    query = {"r1": 0.5, "r10": 0.75, "r20": 1.0, "ndcg10": 0.625, "own_share": 0.25}
    figures = {
        "n": 20,
        "recall": {name: {"r1": 0.25, "r5": 0.5, "r10": 0.75} for name in ("t2i", "i2t")},
        "mixed": {"image_query": query, "text_query": query},
        "hubness": 0.125,
    }
    guard = {"ok": not reasons, "reasons": reasons}
    document = {"before": figures, "after": figures, "guard": guard, "calibration": {"ece": 0.0}}
    return common_pb2.VerificationReport(
        method=method,
        aligner=aligner,
        pairs=20,
        guard_ok=not reasons,
        guard_reasons=reasons,
        ece=0.0,
        report_json=json.dumps(document),
    )
