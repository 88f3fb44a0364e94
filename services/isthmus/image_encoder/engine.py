"""Image files to raw embeddings."""

from __future__ import annotations

from PIL import Image

from isthmus.core.modality import Modality
from isthmus.encoders import load_image_tower
from isthmus.encoders.engine import EncoderEngine
from isthmus.image_encoder.config import ImageEncoderConfig
from isthmus.image_encoder.decode import decode_image

__all__ = ["ImageEncoderEngine", "image_encoder_engine"]

ImageEncoderEngine = EncoderEngine[bytes, Image.Image]
"""Takes JPEG, PNG and WEBP files."""


def image_encoder_engine(config: ImageEncoderConfig) -> ImageEncoderEngine:
    """Make the engine; `start` loads its model."""
    return EncoderEngine(
        modality=Modality.IMAGE,
        load=lambda: load_image_tower(config.spec()),
        decode=decode_image,
        limits=config.limits(prepare_chunk_count=1),
        torch_threads_count=config.torch_threads_count,
    )
