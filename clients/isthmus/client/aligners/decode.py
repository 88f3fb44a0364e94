"""Answers to calls for aligners, from the wire."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Final

from isthmus.client.aligners.results import Aligner, Promotion, PromotionHistory, PromotionKind
from isthmus.v1 import common_pb2, gateway_service_pb2

__all__ = ["aligner", "promotions"]

_KINDS: Final[Mapping[int, PromotionKind]] = {
    common_pb2.PROMOTION_KIND_CREATED: "created",
    common_pb2.PROMOTION_KIND_PROMOTED: "promoted",
    common_pb2.PROMOTION_KIND_ROLLED_BACK: "rolled_back",
}


def aligner(message: common_pb2.Aligner) -> Aligner:
    """Return an aligner."""
    return Aligner(
        aligner=message.aligner,
        method=message.method,
        image_space=message.image_space,
        text_space=message.text_space,
        dimension=message.dimension,
        manifest_json=message.manifest_json,
        notice=message.notice,
    )


def promotions(message: gateway_service_pb2.ListPromotionsResponse) -> PromotionHistory:
    """Return what was active in a collection."""
    return PromotionHistory(
        promotions=tuple(
            Promotion(
                aligner=one.aligner,
                revision=one.revision,
                time=datetime.fromtimestamp(0, UTC) + timedelta(microseconds=one.time_micros),
                kind=_KINDS.get(one.kind, "unknown"),
                override_reason=one.override_reason,
                unverified=one.unverified,
                restored_revision=one.restored_revision,
            )
            for one in message.promotions
        ),
        total_count=message.total_count,
    )
