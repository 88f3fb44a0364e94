"""Answers to calls for collections, from the wire."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from isthmus.client.collections.results import Collection, IndexKind, ServedRecall, Structure, StructureState
from isthmus.client.convert import modality_name
from isthmus.client.inputs import GuardLimits
from isthmus.v1 import common_pb2

__all__ = ["KIND_NUMBERS", "collection"]

KIND_NUMBERS: Final[Mapping[IndexKind, common_pb2.IndexKind.ValueType]] = {
    "flat_float32": common_pb2.INDEX_KIND_FLAT_FLOAT32,
    "flat_float16": common_pb2.INDEX_KIND_FLAT_FLOAT16,
    "flat_sq8": common_pb2.INDEX_KIND_FLAT_SQ8,
    "ivf_sq8": common_pb2.INDEX_KIND_IVF_SQ8,
    "hnsw": common_pb2.INDEX_KIND_HNSW,
    "ivf_pq": common_pb2.INDEX_KIND_IVF_PQ,
}
"""Number of each kind on the wire."""
_KINDS: Final[Mapping[int, IndexKind]] = {number: name for name, number in KIND_NUMBERS.items()}
_STATES: Final[Mapping[int, StructureState]] = {
    common_pb2.STRUCTURE_STATE_EXACT: "exact",
    common_pb2.STRUCTURE_STATE_READY: "ready",
    common_pb2.STRUCTURE_STATE_OVER_BUDGET: "over_budget",
    common_pb2.STRUCTURE_STATE_FAILED: "failed",
}


def collection(message: common_pb2.Collection) -> Collection:
    """Return a collection."""
    return Collection(
        name=message.name,
        image_space=message.image_space,
        text_space=message.text_space,
        image_dimension=message.image_dimension,
        text_dimension=message.text_dimension,
        aligner=message.aligner,
        store_thumbnails=message.store_thumbnails,
        revision=message.revision,
        image_count=message.image_count,
        text_count=message.text_count,
        guard=GuardLimits(**{field.name: value for field, value in message.guard.ListFields()}),
        shadow_aligner=message.shadow_aligner,
        keyword_search=message.keyword_search,
        index=_KINDS.get(message.index),
        structures=tuple(map(_structure, message.structures)),
    )


def _structure(message: common_pb2.Structure) -> Structure:
    return Structure(
        modality=modality_name(message.modality),
        state=_STATES.get(message.state, "unknown"),
        kind=_KINDS.get(message.kind),
        recall=message.recall if message.HasField("recall") else None,
        cross_modal=message.cross_modal,
        probes=message.probes,
        shortlist=message.shortlist,
        item_count=message.item_count,
        memory_bytes=message.memory_bytes,
        needed_bytes=message.needed_bytes,
        limit_bytes=message.limit_bytes,
        served=_served(message.served) if message.HasField("served") else None,
    )


def _served(message: common_pb2.ServedRecall) -> ServedRecall:
    return ServedRecall(
        recall=message.recall,
        target=message.target,
        query_count=message.query_count,
        real=message.real,
        revision=message.revision,
        time_micros=message.time_micros,
    )
