"""What the engine found, as messages."""

from __future__ import annotations

import json
from typing import Final

from isthmus.alignment.judging import CollectionReport
from isthmus.alignment.measuring import CollectionGap
from isthmus.alignment.verifying import CollectionVerification
from isthmus.core.calibration import CalibrationSource
from isthmus.core.metrics import MixedRetrieval, RecallAt
from isthmus.v1 import common_pb2

__all__ = ["gap_message", "report_message", "verification_message"]

_SOURCES: Final = {
    CalibrationSource.FITTED: common_pb2.CALIBRATION_SOURCE_FITTED,
    CalibrationSource.ESTIMATED: common_pb2.CALIBRATION_SOURCE_ESTIMATED,
    CalibrationSource.DEFAULT: common_pb2.CALIBRATION_SOURCE_DEFAULT,
}


def gap_message(found: CollectionGap) -> common_pb2.GapReport:
    """Return a measurement of the gap."""
    report = found.report
    return common_pb2.GapReport(
        pairs=report.n,
        image_count=report.image_count,
        text_count=report.text_count,
        sample_count=report.sample_count,
        seed=report.seed,
        share=found.share,
        gap=common_pb2.GapFigures(**report.headline()),
        report_json=json.dumps(report.to_dict(), separators=(",", ":"), allow_nan=False),
        aligner=found.aligner,
        revision=found.revision,
    )


def report_message(found: CollectionReport) -> common_pb2.EvaluationReport:
    """Return an evaluation."""
    report = found.report
    return common_pb2.EvaluationReport(
        pairs=report.pair_count,
        image_queries=report.image_query_count,
        text_queries=report.text_query_count,
        t2i=_recall(report.t2i),
        i2t=_recall(report.i2t),
        mixed_image_query=_mixed(report.mixed_image_query),
        mixed_text_query=_mixed(report.mixed_text_query),
        aligner=found.aligner,
        revision=found.revision,
        through_search=False,
        calibration=_SOURCES[found.calibration],
    )


def _recall(recall: RecallAt) -> common_pb2.RecallAt:
    return common_pb2.RecallAt(r1=recall.r1, r5=recall.r5, r10=recall.r10)


def _mixed(mixed: MixedRetrieval) -> common_pb2.MixedRetrieval:
    return common_pb2.MixedRetrieval(
        r1=mixed.r1, r10=mixed.r10, r20=mixed.r20, ndcg10=mixed.ndcg10, own_share=mixed.own_share
    )


def verification_message(found: CollectionVerification) -> common_pb2.VerificationReport:
    """Return what held-out pairs say of an aligner."""
    guard = found.found.guard
    return common_pb2.VerificationReport(
        method=found.method,
        aligner=found.aligner,
        pairs=guard.pair_count,
        guard_ok=guard.ok,
        guard_reasons=guard.reasons,
        ece=found.found.ece,
        report_json=json.dumps(found.found.to_dict(), separators=(",", ":"), allow_nan=False),
    )
