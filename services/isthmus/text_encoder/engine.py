"""Texts to raw embeddings."""

from __future__ import annotations

from typing import Final

from isthmus.core.modality import Modality
from isthmus.encoders import load_text_tower
from isthmus.encoders.engine import EncoderEngine
from isthmus.runtime.base.errors import ResourceExhaustedError
from isthmus.runtime.base.limits import TEXT_MAX_BYTES
from isthmus.text_encoder.config import TextEncoderConfig

__all__ = ["TextEncoderEngine", "check_text", "text_encoder_engine"]

TextEncoderEngine = EncoderEngine[str, str]
"""Takes texts."""
_PREPARE_CHUNK_COUNT: Final = 8  # tokenizing a caption takes 0.1 ms, about as long as waking a thread


def check_text(text: str) -> str:
    """Return a text within the limit of bytes.

    Raises:
        ResourceExhaustedError: It has too many bytes.
    """
    size = len(text.encode(errors="surrogatepass"))
    if size > TEXT_MAX_BYTES:
        msg = f"text: has {size} bytes; the limit is {TEXT_MAX_BYTES}"
        raise ResourceExhaustedError(
            msg,
            reason="TEXT_TOO_LONG",
            metadata={"field": "text", "size": str(size), "limit": str(TEXT_MAX_BYTES), "unit": "bytes"},
        )
    return text


def text_encoder_engine(config: TextEncoderConfig) -> TextEncoderEngine:
    """Make the engine; `start` loads its model."""
    return EncoderEngine(
        modality=Modality.TEXT,
        load=lambda: load_text_tower(config.spec()),
        decode=check_text,
        limits=config.limits(prepare_chunk_count=_PREPARE_CHUNK_COUNT),
        torch_threads_count=config.torch_threads_count,
        sort_by_size=True,
    )
