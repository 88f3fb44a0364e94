"""Configuration of the text encoder: arguments, then `ISTHMUS_TEXT_ENCODER_…` variables, then these defaults."""

from __future__ import annotations

from pydantic_settings import SettingsConfigDict

from isthmus.encoders.config import EncoderConfig

__all__ = ["TextEncoderConfig"]


class TextEncoderConfig(EncoderConfig):
    """Settings of the text encoder."""

    model_config = SettingsConfigDict(env_prefix="ISTHMUS_TEXT_ENCODER_")
