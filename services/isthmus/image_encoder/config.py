"""Configuration of the image encoder: arguments, then `ISTHMUS_IMAGE_ENCODER_…` variables, then these defaults."""

from __future__ import annotations

from pydantic_settings import SettingsConfigDict

from isthmus.encoders.config import EncoderConfig

__all__ = ["ImageEncoderConfig"]


class ImageEncoderConfig(EncoderConfig):
    """Settings of the image encoder."""

    model_config = SettingsConfigDict(env_prefix="ISTHMUS_IMAGE_ENCODER_")
