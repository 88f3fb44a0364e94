"""Answers to calls for judging collections and aligners, from the wire."""

from __future__ import annotations

from isthmus.client.decode import calibration
from isthmus.client.judging.results import (
    Comparison,
    EvaluationReport,
    GapReport,
    MixedRetrieval,
    RecallAt,
    VerificationReport,
)
from isthmus.v1 import common_pb2, gateway_service_pb2

__all__ = ["comparison", "evaluation_report", "gap_report", "verification"]


def _recall(message: common_pb2.RecallAt) -> RecallAt:
    return RecallAt(r1=message.r1, r5=message.r5, r10=message.r10)


def _mixed(message: common_pb2.MixedRetrieval) -> MixedRetrieval:
    return MixedRetrieval(
        r1=message.r1,
        r10=message.r10,
        r20=message.r20,
        ndcg10=message.ndcg10,
        own_share=message.own_share,
    )


def evaluation_report(message: common_pb2.EvaluationReport) -> EvaluationReport:
    """Return an evaluation."""
    return EvaluationReport(
        pairs=message.pairs,
        image_queries=message.image_queries,
        text_queries=message.text_queries,
        t2i=_recall(message.t2i),
        i2t=_recall(message.i2t),
        mixed_image_query=_mixed(message.mixed_image_query),
        mixed_text_query=_mixed(message.mixed_text_query),
        aligner=message.aligner,
        revision=message.revision,
        through_search=message.through_search,
        calibration=calibration(message.calibration),
    )


def gap_report(message: common_pb2.GapReport, *, page: str) -> GapReport:
    """Return a measurement of the gap."""
    taken = {field.name: value for field, value in message.gap.ListFields()}
    return GapReport(
        pairs=message.pairs,
        image_count=message.image_count,
        text_count=message.text_count,
        sample_count=message.sample_count,
        seed=message.seed,
        share=message.share,
        gap={field.name: taken.get(field.name) for field in message.gap.DESCRIPTOR.fields},
        report_json=message.report_json,
        aligner=message.aligner,
        revision=message.revision,
        page=page,
    )


def verification(message: gateway_service_pb2.VerifyAlignerResponse) -> VerificationReport:
    """Return what held-out pairs say of an aligner."""
    return _verification(message.report, revision=message.revision, page=message.page)


def _verification(message: common_pb2.VerificationReport, *, revision: int, page: str = "") -> VerificationReport:
    return VerificationReport(
        method=message.method,
        aligner=message.aligner,
        pairs=message.pairs,
        guard_ok=message.guard_ok,
        guard_reasons=tuple(message.guard_reasons),
        ece=message.ece if message.HasField("ece") else None,
        report_json=message.report_json,
        revision=revision,
        page=page,
    )


def comparison(message: gateway_service_pb2.CompareAlignersResponse) -> Comparison:
    """Return a comparison of methods."""
    return Comparison(
        reports=tuple(_verification(report, revision=message.revision) for report in message.reports),
        refused=dict(sorted(message.refused.items())),
        best=message.best,
        revision=message.revision,
        page=message.page,
    )
