"""The two modalities."""

from __future__ import annotations

from enum import StrEnum

__all__ = ["Modality"]


class Modality(StrEnum):
    """What kind of thing an item or a query is."""

    IMAGE = "image"
    TEXT = "text"

    @property
    def other(self) -> Modality:
        """The modality that this one is matched with."""
        return Modality.TEXT if self is Modality.IMAGE else Modality.IMAGE
