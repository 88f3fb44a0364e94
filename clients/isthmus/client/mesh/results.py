"""What calls for the mesh itself return."""

from __future__ import annotations

from dataclasses import dataclass

from isthmus.client.inputs import Modality

__all__ = ["CacheStatus", "EncoderStatus", "Status"]


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderStatus:
    """An encoder behind the gateway."""

    space: str
    """`encoder_id@revision`; empty while it does not answer."""
    modality: Modality
    """What it encodes."""
    dimension: int
    """Components of its embeddings."""
    compute_type: str
    """Numeric type of its forward pass."""
    device: str
    """Where it runs."""
    encoded_items: int
    """Items that went through its forward pass since it started."""
    forward_calls: int
    """Forward passes since it started."""
    serving: bool
    """True when it answers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheStatus:
    """The embedding cache."""

    backend: str
    """What stands behind the in-process cache: redis, or none."""
    serving: bool
    """True when the backend answers."""
    local_hits: int
    """Inputs found in the in-process cache."""
    backend_hits: int
    """Inputs found in the backend."""
    misses: int
    """Inputs found in neither."""
    refused: int
    """Stored values that were refused as damaged."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """What the mesh is made of and how it is."""

    version: str
    """Version of the gateway."""
    encoders: tuple[EncoderStatus, ...]
    """The encoders."""
    cache: CacheStatus
    """The embedding cache."""
    index_writer_serving: bool
    """True when the index writer answers."""
    index_search_serving: bool
    """True when the index searcher answers."""
    alignment_serving: bool
    """True when the alignment service answers."""
    default_aligner: str
    """The aligner new collections start with; empty when there is none."""
    notices: tuple[str, ...]
    """Things a person should know, for example the licence of a shipped aligner."""
    open_proposals: int | None
    """Open proposals to fit an aligner again, over all collections; None when the alignment service does not say."""
