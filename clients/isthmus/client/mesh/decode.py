"""Answers to calls for the mesh itself, from the wire."""

from __future__ import annotations

from isthmus.client.convert import modality_name
from isthmus.client.mesh.results import CacheStatus, EncoderStatus, Status
from isthmus.v1 import gateway_service_pb2

__all__ = ["status"]


def status(message: gateway_service_pb2.GetStatusResponse) -> Status:
    """Return what the mesh says of itself."""
    return Status(
        version=message.version,
        encoders=tuple(
            EncoderStatus(
                space=encoder.space,
                modality=modality_name(encoder.modality),
                dimension=encoder.dimension,
                compute_type=encoder.compute_type,
                device=encoder.device,
                encoded_items=encoder.encoded_items,
                forward_calls=encoder.forward_calls,
                serving=encoder.serving,
            )
            for encoder in message.encoders
        ),
        cache=CacheStatus(
            backend=message.cache.backend,
            serving=message.cache.serving,
            local_hits=message.cache.local_hits,
            backend_hits=message.cache.backend_hits,
            misses=message.cache.misses,
            refused=message.cache.refused,
        ),
        index_writer_serving=message.index_writer_serving,
        index_search_serving=message.index_search_serving,
        alignment_serving=message.alignment_serving,
        default_aligner=message.default_aligner,
        notices=tuple(message.notices),
        open_proposals=message.open_proposals if message.HasField("open_proposals") else None,
    )
