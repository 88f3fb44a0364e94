"""What calls for aligners send, and how their answers are read."""

from __future__ import annotations

from collections.abc import Sequence

from isthmus.client.aligners import decode
from isthmus.client.aligners.results import Aligner, PromotionHistory, ShadowReport
from isthmus.client.channel import new_request_id
from isthmus.client.collections.decode import collection as collection_of
from isthmus.client.collections.plan import written
from isthmus.client.collections.results import Collection
from isthmus.client.convert import fit_options_message
from isthmus.client.inputs import FitOptions
from isthmus.client.plan import Plan, Planner
from isthmus.v1 import common_pb2, gateway_service_pb2

__all__ = [
    "export_aligner",
    "fit_request",
    "get_aligner",
    "import_aligner",
    "list_aligners",
    "list_promotions",
    "promote_aligner",
    "rollback_aligner",
    "set_shadow_aligner",
    "shadow_report",
]


def list_aligners(planner: Planner) -> Plan[tuple[Aligner, ...]]:
    """Plan the list of aligners."""
    return planner.plan(
        "ListAligners",
        [gateway_service_pb2.ListAlignersRequest()],
        lambda answers: tuple(decode.aligner(found) for found in answers[0].aligners),
    )


def get_aligner(planner: Planner, aligner: str) -> Plan[Aligner]:
    """Plan the look-up of an aligner."""
    return planner.plan(
        "GetAligner",
        [gateway_service_pb2.GetAlignerRequest(aligner=aligner)],
        lambda answers: decode.aligner(answers[0].aligner),
    )


def export_aligner(planner: Planner, aligner: str) -> Plan[tuple[Aligner, bytes, bytes]]:
    """Plan the export of an aligner: what it is, and its manifest and tensors as files hold them."""

    def read(answers: Sequence[gateway_service_pb2.GetAlignerResponse]) -> tuple[Aligner, bytes, bytes]:
        (answer,) = answers
        return decode.aligner(answer.aligner), answer.artefact.manifest, answer.artefact.tensors

    request = gateway_service_pb2.GetAlignerRequest(aligner=aligner, include_artefact=True)
    return planner.plan("GetAligner", [request], read)


def import_aligner(planner: Planner, manifest: bytes, tensors: bytes, *, request_id: str | None) -> Plan[Aligner]:
    """Plan the import of an aligner."""
    request = gateway_service_pb2.ImportAlignerRequest(
        artefact=common_pb2.AlignerArtefact(manifest=manifest, tensors=tensors),
        request_id=request_id or new_request_id(),
    )
    return planner.plan("ImportAligner", [request], lambda answers: decode.aligner(answers[0].aligner))


def promote_aligner(
    planner: Planner,
    collection: str,
    aligner: str,
    *,
    allow_unverified: bool,
    override_reason: str,
    request_id: str | None,
) -> Plan[Collection]:
    """Plan a promotion."""
    request = gateway_service_pb2.PromoteAlignerRequest(
        collection=collection,
        aligner=aligner,
        allow_unverified=allow_unverified,
        override_reason=override_reason,
        request_id=request_id or new_request_id(),
    )
    return planner.plan(
        "PromoteAligner", [request], lambda answers: written(planner, collection_of(answers[0].collection))
    )


def rollback_aligner(planner: Planner, collection: str, *, request_id: str | None) -> Plan[Collection]:
    """Plan a rollback."""
    request = gateway_service_pb2.RollbackAlignerRequest(
        collection=collection, request_id=request_id or new_request_id()
    )
    return planner.plan(
        "RollbackAligner", [request], lambda answers: written(planner, collection_of(answers[0].collection))
    )


def set_shadow_aligner(
    planner: Planner, collection: str, aligner: str | None, *, request_id: str | None
) -> Plan[Collection]:
    """Plan the setting of a shadow aligner; None takes it off."""
    request = gateway_service_pb2.SetShadowAlignerRequest(
        collection=collection, aligner=aligner or "", request_id=request_id or new_request_id()
    )
    return planner.plan(
        "SetShadowAligner", [request], lambda answers: written(planner, collection_of(answers[0].collection))
    )


def shadow_report(planner: Planner, collection: str, *, min_revision: int | None) -> Plan[ShadowReport]:
    """Plan the report of a shadow aligner."""
    request = gateway_service_pb2.GetShadowReportRequest(
        collection=collection, min_revision=planner.revisions.least(collection, min_revision)
    )
    return planner.plan("GetShadowReport", [request], lambda answers: decode.shadow_report(answers[0].report))


def list_promotions(planner: Planner, collection: str) -> Plan[PromotionHistory]:
    """Plan the list of what was active."""
    return planner.plan(
        "ListPromotions",
        [gateway_service_pb2.ListPromotionsRequest(collection=collection)],
        lambda answers: decode.promotions(answers[0]),
    )


def fit_request(
    planner: Planner,
    collection: str,
    *,
    aligner_id: str,
    method: str,
    options: FitOptions | None,
    seed: int,
    min_revision: int | None,
    request_id: str | None,
) -> gateway_service_pb2.FitAlignerRequest:
    """Return the one message of a fit."""
    return gateway_service_pb2.FitAlignerRequest(
        collection=collection,
        aligner_id=aligner_id,
        method=method,
        seed=seed,
        min_revision=planner.revisions.least(collection, min_revision),
        request_id=request_id or new_request_id(),
        options=None if options is None else fit_options_message(options),
    )
