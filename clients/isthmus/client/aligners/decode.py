"""Answers to calls for aligners, from the wire."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Final

from isthmus.client.aligners.results import (
    Aligner,
    Promotion,
    PromotionHistory,
    PromotionKind,
    ShadowReport,
    ShadowState,
)
from isthmus.v1 import common_pb2, gateway_service_pb2

__all__ = ["aligner", "promotions", "shadow_report"]

_KINDS: Final[Mapping[int, PromotionKind]] = {
    common_pb2.PROMOTION_KIND_CREATED: "created",
    common_pb2.PROMOTION_KIND_PROMOTED: "promoted",
    common_pb2.PROMOTION_KIND_ROLLED_BACK: "rolled_back",
}
_STATES: Final[Mapping[int, ShadowState]] = {
    common_pb2.SHADOW_STATE_OFF: "off",
    common_pb2.SHADOW_STATE_BUILDING: "building",
    common_pb2.SHADOW_STATE_READY: "ready",
    common_pb2.SHADOW_STATE_OVER_BUDGET: "over_budget",
    common_pb2.SHADOW_STATE_FAILED: "failed",
    common_pb2.SHADOW_STATE_IS_ACTIVE: "is_active",
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


def shadow_report(message: common_pb2.ShadowReport) -> ShadowReport:
    """Return what a shadow aligner would have changed."""
    return ShadowReport(
        aligner=message.aligner,
        active_aligner=message.active_aligner,
        state=_STATES.get(message.state, "unknown"),
        revision=message.revision,
        memory_bytes=message.memory_bytes,
        memory_limit_bytes=message.memory_limit_bytes,
        sampled_share=message.sampled_share,
        requests=message.requests,
        queries=message.queries,
        overlap=message.overlap if message.HasField("overlap") else None,
        top1_changed=message.top1_changed if message.HasField("top1_changed") else None,
        own_share_active=message.own_share_active if message.HasField("own_share_active") else None,
        own_share_shadow=message.own_share_shadow if message.HasField("own_share_shadow") else None,
        active_s=message.active_seconds if message.HasField("active_seconds") else None,
        shadow_s=message.shadow_seconds if message.HasField("shadow_seconds") else None,
        dropped_busy_count=message.dropped_busy_count,
        dropped_not_built_count=message.dropped_not_built_count,
        dropped_failed_count=message.dropped_failed_count,
    )
