"""What the small gateway embeds, and how."""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

from isthmus.runtime.base.errors import InvalidArgumentError, IsthmusError
from isthmus.runtime.rpc.codec import decode_vectors
from isthmus.v1 import common_pb2, gateway_service_pb2

DIMENSION = 8
IMAGE_SPACE = "small-image@0123456789abcdef"
TEXT_SPACE = "small-text@fedcba9876543210"
ALIGNER = "small-heads@00112233445566aa"
BROKEN_IMAGE = b"broken"
SPACES = {common_pb2.MODALITY_IMAGE: IMAGE_SPACE, common_pb2.MODALITY_TEXT: TEXT_SPACE}


def embedding(content: bytes) -> NDArray[np.float32]:
    """Return the unit vector that `content` embeds to, (8,) float32, rounded to float16 values."""
    seed = int.from_bytes(hashlib.sha256(content).digest()[:8], "little")
    vector = np.random.default_rng(seed).standard_normal(DIMENSION)
    unit: NDArray[np.float32] = (vector / np.linalg.norm(vector)).astype(np.float16).astype(np.float32)
    return unit


def refusal(is_image: bool, content: bytes) -> IsthmusError | None:  # noqa: FBT001 - a test's helper
    """Return why the small gateway does not take a content; None when it does."""
    if is_image and content == BROKEN_IMAGE:
        return InvalidArgumentError("the bytes are not a readable image", reason="INVALID_IMAGE")
    if not is_image and not content.strip():
        return InvalidArgumentError("the text is empty", reason="EMPTY_TEXT", metadata={"field": "text"})
    return None


def content_of(
    given: gateway_service_pb2.UpsertItem,
) -> tuple[common_pb2.Modality.ValueType, bytes, NDArray[np.float32]]:
    """Return an item's modality, the bytes it is made of, and its embedding."""
    if given.HasField("vector"):
        vector = decode_vectors(given.vector.vector, field="vector", max_rows=1)[0]
        return given.vector.modality, vector.tobytes(), vector / np.linalg.norm(vector)
    if given.HasField("image"):
        return common_pb2.MODALITY_IMAGE, given.image, embedding(given.image)
    return common_pb2.MODALITY_TEXT, given.text.encode(), embedding(given.text.encode())
