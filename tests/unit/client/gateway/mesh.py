"""What the small gateway says of its mesh."""

from __future__ import annotations

from typing import Any

from isthmus.v1 import gateway_service_pb2
from tests.unit.client.gateway.content import ALIGNER, DIMENSION, SPACES
from tests.unit.client.gateway.script import Script


class Mesh(Script):
    """Answers about the mesh."""

    async def GetStatus(self, request: gateway_service_pb2.GetStatusRequest, _context: Any) -> Any:
        """Say what a mesh says."""
        await self._enter("GetStatus", request)
        return gateway_service_pb2.GetStatusResponse(
            version="0.1.0",
            encoders=[
                gateway_service_pb2.EncoderStatus(
                    space=space,
                    modality=modality,
                    dimension=DIMENSION,
                    compute_type="float32",
                    device="cpu",
                    encoded_items=12,
                    forward_calls=3,
                    serving=True,
                )
                for modality, space in SPACES.items()
            ],
            cache=gateway_service_pb2.CacheStatus(
                backend="redis", serving=True, local_hits=4, backend_hits=1, misses=2
            ),
            index_writer_serving=True,
            index_search_serving=True,
            alignment_serving=False,
            default_aligner=ALIGNER,
            open_proposals=2,
            notices=["The shipped aligner is for research and education only."],
        )
