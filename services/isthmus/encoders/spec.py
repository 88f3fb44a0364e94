"""What to load, and what was loaded."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from isthmus.core.modality import Modality

__all__ = ["EMBEDDED", "Device", "EncoderInfo", "EncoderLoadError", "EncoderSpec", "Precision"]

EMBEDDED = "embedded"
"""Model name of the encoders that come with Isthmus."""

Device = Literal["auto", "cpu", "cuda"]
Precision = Literal["auto", "fp32", "bf16", "fp16"]


class EncoderLoadError(ValueError):
    """A model that cannot or may not be loaded; the message says what to do about it.

    Raised while a process starts, to whoever starts it, so it may name the model and its folder. It is never sent to a
    caller.
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderSpec:
    """Which model to load, and how to run it."""

    model: str = EMBEDDED
    """`embedded`, a local folder, or a hub id such as `openai/clip-vit-base-patch32`."""
    encoder_id: str | None = None
    """Name in the space, `^[a-z0-9][a-z0-9_-]{0,62}$`; unset makes it from the last part of `model`."""
    device: Device = "auto"
    """Where the forward pass runs; `auto` takes the GPU when there is one."""
    precision: Precision = "auto"
    """Numeric type of the forward pass; `auto` takes bf16 where it is fast. Not part of the space."""
    allow_download: bool = False
    """Fetch a hub id that is not in the local cache. Off in services: `isthmus models pull` fetches beforehand."""
    cache_dir: Path | None = None
    """Folder for converted weights; unset means `~/.cache/isthmus`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderInfo:
    """Identity and shape of a loaded tower."""

    encoder_id: str
    """First half of the space."""
    revision: str
    """Second half: 16 hex characters of a SHA-256 over all that shapes the embedding, see `digest.py`."""
    modality: Modality
    """What it encodes."""
    dimension: int
    """Components of an embedding."""
    context_tokens: int
    """Longest text in tokens, special tokens included; 0 for images."""
    compute_type: str
    """float32, bfloat16 or float16."""
    device: str
    """cpu or cuda."""

    @property
    def space(self) -> str:
        """The raw space, `encoder_id@revision`."""
        return f"{self.encoder_id}@{self.revision}"
