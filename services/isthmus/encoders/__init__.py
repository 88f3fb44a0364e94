"""Towers: load any image or text encoder, and turn items into canonical embeddings."""

from __future__ import annotations

from isthmus.encoders import _openmp as _openmp  # first: torch must not be loaded before it
from isthmus.encoders.folder import pull_model
from isthmus.encoders.image_tower import ImageTower
from isthmus.encoders.loading import load_image_tower, load_text_tower
from isthmus.encoders.spec import EMBEDDED, EncoderInfo, EncoderLoadError, EncoderSpec
from isthmus.encoders.text_tower import TextTower
from isthmus.encoders.tower import Prepared, Tower, encode_all

__all__ = [
    "EMBEDDED",
    "EncoderInfo",
    "EncoderLoadError",
    "EncoderSpec",
    "ImageTower",
    "Prepared",
    "TextTower",
    "Tower",
    "encode_all",
    "load_image_tower",
    "load_text_tower",
    "pull_model",
]
