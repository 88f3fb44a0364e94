"""What calls of several kinds return: frozen values, no wire types. Each concept's own are in its `results`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from isthmus.client.errors import IsthmusError, error_class

__all__ = ["Calibration", "ItemError", "Timings"]

Calibration = Literal["none", "fitted", "estimated", "default"]
"""How scores of the two modalities were made comparable; `none` when only one modality was searched."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timings:
    """Where the time of a call went, in microseconds; a stage that did not run is 0."""

    total_micros: int = 0
    """The whole call inside the mesh."""
    queue_micros: int = 0
    """Longest wait of an input for an encoder."""
    encode_micros: int = 0
    """Encoding, preprocessing included."""
    align_micros: int = 0
    """Aligning queries."""
    search_micros: int = 0
    """Searching and merging."""
    rerank_micros: int = 0
    """Re-ranking."""
    cache_hits: int = 0
    """Inputs answered from a cache or from stored vectors."""
    cache_misses: int = 0
    """Inputs that had to be encoded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemError:
    """Why one input or item was refused; its neighbours were not harmed."""

    index: int
    """Its position among all inputs or items of the call, from 0."""
    id: str
    """The item's id; empty for an input to embed."""
    code: str
    """Name of a `google.rpc.Code`."""
    reason: str
    """Name of an `isthmus.v1.ErrorReason` without its prefix."""
    message: str
    """What is wrong, for a person."""
    metadata: Mapping[str, str]
    """The variable parts of the message."""

    def to_exception(self) -> IsthmusError:
        """Return the exception that a call of this item alone would raise."""
        return error_class(self.code)(self.message, code=self.code, reason=self.reason, metadata=self.metadata)
