"""The text encoder as a service that can be hosted."""

from __future__ import annotations

from isthmus.runtime.base.dummies import DUMMY_TEXT
from isthmus.runtime.rpc.encoder_servicer import hosted_encoder
from isthmus.runtime.rpc.server import Hosted
from isthmus.text_encoder.config import TextEncoderConfig
from isthmus.text_encoder.engine import text_encoder_engine

__all__ = ["build"]


def build(config: TextEncoderConfig) -> Hosted:
    """Make the service; it loads its model when it is warmed."""
    return hosted_encoder("text_encoder", text_encoder_engine(config), dummy=DUMMY_TEXT)
