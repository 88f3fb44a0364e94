"""What a caller wants to know beside the whole, from the wire."""

from __future__ import annotations

from typing import Final

from isthmus.alignment.judging import Asked
from isthmus.alignment.ports import NotesWanted
from isthmus.alignment.refusals import translated
from isthmus.core.details import DetailRequest
from isthmus.core.gain import GAIN_TOP_K, GainRequest
from isthmus.core.modality import Modality
from isthmus.core.slices import SliceRequest
from isthmus.runtime.rpc.codec import check_modality
from isthmus.v1 import alignment_service_pb2, common_pb2

__all__ = ["asked_of"]

_MODALITIES: Final = {
    common_pb2.MODALITY_UNSPECIFIED: None,
    common_pb2.MODALITY_IMAGE: Modality.IMAGE,
    common_pb2.MODALITY_TEXT: Modality.TEXT,
}


def asked_of(request: alignment_service_pb2.AlignmentServiceVerifyAlignerRequest) -> Asked:
    """Return the slices and the gain that a request asks for.

    Raises:
        InvalidArgumentError: INVALID_FIELD, UNKNOWN_ENUM_VALUE; a row of gains is none, named by its number from 1.
    """
    slices = SliceRequest(
        by_attribute=bool(request.slices.attribute),
        by_caption_length=request.slices.caption_length,
        query_ids=list(request.slices.query_ids),
    )
    return Asked(
        details=DetailRequest(
            slices=slices if slices.cuts else None,
            gains=_gains(request.gains) if request.HasField("gains") else None,
        ),
        notes=NotesWanted(attribute=request.slices.attribute, words=request.slices.caption_length),
    )


def _gains(message: common_pb2.GainOptions) -> GainRequest:
    modality = check_modality(message.item_modality, field="gains.item_modality", allow_any=True)
    with translated():
        return GainRequest(
            query_ids=[row.query_id for row in message.rows],
            item_ids=[row.item_id for row in message.rows],
            gains=[row.gain for row in message.rows],
            top_k=message.top_k or GAIN_TOP_K,
            item_modality=_MODALITIES[modality],
        )
