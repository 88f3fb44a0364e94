"""What calls for judging collections and aligners send, and how their answers are read."""

from __future__ import annotations

from collections.abc import Sequence

from isthmus.client.inputs import GainOptions, SliceOptions
from isthmus.client.judging import decode
from isthmus.client.judging.results import Comparison, EvaluationReport, GapReport, VerificationReport
from isthmus.client.plan import Plan, Planner, modality_number
from isthmus.v1 import common_pb2, gateway_service_pb2

__all__ = ["compare_aligners", "evaluate", "measure_gap", "verify_aligner"]


def evaluate(
    planner: Planner, collection: str, *, through_search: bool, min_revision: int | None
) -> Plan[EvaluationReport]:
    """Plan an evaluation."""
    request = gateway_service_pb2.EvaluateRequest(
        collection=collection,
        through_search=through_search,
        min_revision=planner.revisions.least(collection, min_revision),
    )
    return Plan(
        method="Evaluate",
        requests=[request],
        decode=lambda answers: decode.evaluation_report(answers[0].report),
        timeout_s=planner.config.timeouts.evaluate_s,
    )


def measure_gap(
    planner: Planner,
    collection: str,
    *,
    aligner: str,
    seed: int,
    sample_count: int,
    compare_distances: bool,
    page: bool,
    label_attribute: str,
    label_template: str,
    min_revision: int | None,
) -> Plan[GapReport]:
    """Plan a measurement of the gap."""
    request = gateway_service_pb2.MeasureGapRequest(
        collection=collection,
        min_revision=planner.revisions.least(collection, min_revision),
        seed=seed,
        sample_count=sample_count,
        aligner=aligner,
        compare_distances=compare_distances,
        render_page=page,
        label_attribute=label_attribute,
        label_template=label_template,
    )
    return Plan(
        method="MeasureGap",
        requests=[request],
        decode=lambda answers: decode.gap_report(answers[0].report, page=answers[0].page),
        timeout_s=planner.config.timeouts.evaluate_s,
    )


def verify_aligner(
    planner: Planner,
    collection: str,
    aligner: str,
    *,
    slices: SliceOptions | None,
    gains: GainOptions | None,
    seed: int,
    page: bool,
    min_revision: int | None,
) -> Plan[VerificationReport]:
    """Plan a verification."""
    request = gateway_service_pb2.VerifyAlignerRequest(
        collection=collection,
        aligner=aligner,
        min_revision=planner.revisions.least(collection, min_revision),
        seed=seed,
        render_page=page,
        slices=None if slices is None else _slices(slices),
        gains=None if gains is None else _gains(gains),
    )
    return Plan(
        method="VerifyAligner",
        requests=[request],
        decode=lambda answers: decode.verification(answers[0]),
        timeout_s=planner.config.timeouts.evaluate_s,
    )


def compare_aligners(
    planner: Planner,
    collection: str,
    methods: Sequence[str],
    *,
    hubness: bool,
    seed: int,
    page: bool,
    min_revision: int | None,
) -> Plan[Comparison]:
    """Plan a comparison of methods."""
    request = gateway_service_pb2.CompareAlignersRequest(
        collection=collection,
        methods=methods,
        min_revision=planner.revisions.least(collection, min_revision),
        seed=seed,
        hubness=hubness,
        render_page=page,
    )
    return Plan(
        method="CompareAligners",
        requests=[request],
        decode=lambda answers: decode.comparison(answers[0]),
        timeout_s=planner.config.timeouts.evaluate_s,
    )


def _slices(options: SliceOptions) -> common_pb2.SliceOptions:
    return common_pb2.SliceOptions(
        attribute=options.attribute, caption_length=options.caption_length, query_ids=options.query_ids
    )


def _gains(options: GainOptions) -> common_pb2.GainOptions:
    return common_pb2.GainOptions(
        rows=[common_pb2.GainRow(query_id=row.query_id, item_id=row.item_id, gain=row.gain) for row in options.rows],
        top_k=options.top_k,
        item_modality=modality_number(options.modality),
    )
