"""The image encoder as a service that can be hosted."""

from __future__ import annotations

from isthmus.image_encoder.config import ImageEncoderConfig
from isthmus.image_encoder.engine import image_encoder_engine
from isthmus.runtime.base.dummies import dummy_image
from isthmus.runtime.rpc.encoder_servicer import hosted_encoder
from isthmus.runtime.rpc.server import Hosted

__all__ = ["build"]


def build(config: ImageEncoderConfig) -> Hosted:
    """Make the service; it loads its model when it is warmed."""
    return hosted_encoder("image_encoder", image_encoder_engine(config), dummy=dummy_image())
