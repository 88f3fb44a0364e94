"""What calls for collections return."""

from __future__ import annotations

from dataclasses import dataclass

from isthmus.client.inputs import GuardLimits

__all__ = ["Collection"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Collection:
    """A named set of items."""

    name: str
    """Its name."""
    image_space: str
    """Raw space of its images; empty when it holds none."""
    text_space: str
    """Raw space of its texts; empty when it holds none."""
    image_dimension: int
    """Dimension of the image space."""
    text_dimension: int
    """Dimension of the text space."""
    aligner: str
    """The active aligner, `aligner_id@revision`; empty when there is none."""
    store_thumbnails: bool
    """True when items may carry thumbnails."""
    revision: int
    """Counter of applied mutations."""
    image_count: int
    """Live images."""
    text_count: int
    """Live texts."""
    guard: GuardLimits
    """What an aligner may cost it."""
    shadow_aligner: str = ""
    """The aligner that is compared with the active one on real searches; empty when there is none."""
