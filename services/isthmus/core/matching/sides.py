"""Images and texts as they are compared: what an index would hold for each, and what it would be asked with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from isthmus.core.aligners import Aligner
from isthmus.core.modality import Modality

__all__ = ["Sides"]


@dataclass(frozen=True, kw_only=True)
class Sides:
    """Rows of n images and m texts as they are compared."""

    image_queries: NDArray[np.float32]
    """(n, k) float32."""
    image_items: NDArray[np.float32]
    """(n, k) float32."""
    text_queries: NDArray[np.float32]
    """(m, k) float32."""
    text_items: NDArray[np.float32]
    """(m, k) float32."""

    @classmethod
    def of(cls, images: NDArray[np.float32], texts: NDArray[np.float32], *, aligner: Aligner | None) -> Self:
        """Return the sides of (n, d) raw images and (m, e) raw texts; without an aligner they are compared as they are.

        Raises:
            ShapeError: Rows are of another dimension than the aligner's; and what the class itself asks for.
        """
        if aligner is None:
            return cls(image_queries=images, image_items=images, text_queries=texts, text_items=texts)
        return cls(
            image_queries=aligner.query_rows(images, Modality.IMAGE),
            image_items=aligner.item_rows(images, Modality.IMAGE),
            text_queries=aligner.query_rows(texts, Modality.TEXT),
            text_items=aligner.item_rows(texts, Modality.TEXT),
        )
