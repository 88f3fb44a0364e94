"""Contents that are embedded once before the gateway says that it is ready."""

from __future__ import annotations

from isthmus.core.modality import Modality
from isthmus.gateway.domain import Content
from isthmus.gateway.validation import image_content, text_content
from isthmus.runtime.base.dummies import DUMMY_TEXT, dummy_image

__all__ = ["dummy_content"]


def dummy_content(modality: Modality) -> Content:
    """Return something harmless to embed."""
    return image_content(dummy_image()) if modality is Modality.IMAGE else text_content(DUMMY_TEXT)
