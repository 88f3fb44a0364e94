"""Pure numerics: no gRPC, no Ray, no Redis, no FAISS, no torch."""

from __future__ import annotations

from isthmus.core.canonical import canonical
from isthmus.core.errors import (
    ArtefactError,
    CoreError,
    InvalidVectorError,
    LeakError,
    NotEnoughItemsError,
    ShapeError,
    SpacesMismatchError,
)
from isthmus.core.modality import Modality

__all__ = [
    "ArtefactError",
    "CoreError",
    "InvalidVectorError",
    "LeakError",
    "Modality",
    "NotEnoughItemsError",
    "ShapeError",
    "SpacesMismatchError",
    "canonical",
]
