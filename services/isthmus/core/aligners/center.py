"""Per-modality centring: take each modality's mean out, which closes the gap between the two centroids."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from isthmus.core.aligners.artefact import Artefact
from isthmus.core.aligners.base import Aligner, checked_rows, require_one_space, unit_rows
from isthmus.core.aligners.manifest import Manifest
from isthmus.core.errors import ArtefactError, NotEnoughItemsError, ShapeError
from isthmus.core.modality import Modality

__all__ = ["CenterAligner"]

_ROWS_MIN = 2


class CenterAligner(Aligner):
    """Subtract the modality's mean and scale back to unit length.

    x' = (x - mu_image) / ||x - mu_image||,  y' = (y - mu_text) / ||y - mu_text||: the full shift of Liang et al. 2022
    ("Mind the Gap", section 4), with one mean a modality as in GR-CLIP. Before the rescaling the centroids coincide.
    A vector equal to its mean has no direction left and is returned as it came.
    """

    method: ClassVar[str] = "center"

    def __init__(self, artefact: Artefact) -> None:
        super().__init__(artefact)
        require_one_space(self.image_space, self.text_space, method=self.method)
        shape = (self.dimension,)
        tensors = artefact.tensors
        if tensors.keys() != {"image.mean", "text.mean"} or any(mean.shape != shape for mean in tensors.values()):
            msg = f"tensors: center needs image.mean and text.mean of dimension {self.dimension}"
            raise ArtefactError(msg)
        self._means = {modality: tensors[f"{modality}.mean"].astype(np.float32) for modality in Modality}

    @classmethod
    def fit(
        cls,
        image_vectors: NDArray[np.float32],
        text_vectors: NDArray[np.float32],
        *,
        aligner_id: str,
        space: str,
        created_by: str,
        pair_count: int = 0,
        seed: int = 0,
    ) -> Artefact:
        """Measure both means.

        Args:
            image_vectors: (n, d) float32, rows unit-norm; n at least 2.
            text_vectors: (m, d) float32, rows unit-norm; m at least 2.
            aligner_id: Name of the aligner.
            space: The raw space of images and texts.
            created_by: What makes it, for people.
            pair_count: Pairs among the vectors, for the manifest.
            seed: Seed by which the vectors were chosen, for the manifest.

        Raises:
            NotEnoughItemsError: A modality has fewer than 2 rows.
            ShapeError: The dimensions differ.
            ArtefactError: A field is malformed.
        """
        if min(len(image_vectors), len(text_vectors)) < _ROWS_MIN:
            msg = f"center: needs {_ROWS_MIN} vectors a modality, got {min(len(image_vectors), len(text_vectors))}"
            raise NotEnoughItemsError(msg)
        if image_vectors.shape[1:] != text_vectors.shape[1:]:
            msg = "center: image and text vectors must have one dimension"
            raise ShapeError(msg)
        manifest = Manifest(
            aligner_id=aligner_id,
            method=cls.method,
            image_space=space,
            text_space=space,
            dimension=image_vectors.shape[1],
            created_by=created_by,
            pair_count=pair_count,
            seed=seed,
        )
        return Artefact.create(manifest, {"image.mean": _mean(image_vectors), "text.mean": _mean(text_vectors)})

    def raw_dimension(self, modality: Modality) -> int:  # noqa: ARG002 - the same for both
        """Return the dimension of the one raw space."""
        return self.dimension

    def align(self, x: NDArray[np.float32], modality: Modality) -> NDArray[np.float32]:
        """Centre the rows of `x`, (n, d) float32, and scale them to unit length.

        Raises:
            ShapeError: `x` is not (n, d) with the dimension of the raw space.
        """
        rows = checked_rows(x, self.dimension)
        return unit_rows(rows - self._means[modality], fallback=rows)


def _mean(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    mean: NDArray[np.float32] = vectors.mean(axis=0, dtype=np.float64).astype(np.float32)
    return mean
