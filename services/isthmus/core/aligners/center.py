"""Per-modality centring: take each modality's mean out, which closes the gap between the two centroids."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from isthmus.core.aligners.affine import AffineAligner
from isthmus.core.aligners.artefact import Artefact
from isthmus.core.aligners.base import require_one_space
from isthmus.core.aligners.fitted import Label, checked_strength
from isthmus.core.aligners.manifest import Manifest
from isthmus.core.aligners.pairs import FitPairs
from isthmus.core.errors import NotEnoughItemsError, ShapeError
from isthmus.core.modality import Modality

__all__ = ["CenterAligner"]

_ROWS_MIN = 2


class CenterAligner(AffineAligner):
    """Subtract the modality's mean and scale back to unit length.

    x' = unit(x - s mu_image), y' = unit(y - s mu_text): at strength s = 1 the full shift of Liang et al. 2022 ("Mind
    the Gap", section 4), with one mean a modality as in GR-CLIP. Before the rescaling the centroids then coincide.
    A vector equal to its mean has no direction left and is returned as it came.
    """

    method: ClassVar[str] = "center"
    parts: ClassVar[Mapping[Modality, frozenset[str]]] = dict.fromkeys(Modality, frozenset({"mean"}))
    one_space: ClassVar[bool] = True

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
        strength: float = 1.0,
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
            strength: Share of each mean to take out, in [0, 1].

        Raises:
            NotEnoughItemsError: A modality has fewer than 2 rows.
            ShapeError: The dimensions differ.
            ArtefactError: A field is malformed.
            OptionError: The strength is out of bounds.
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
            settings={"strength": strength},
        )
        share = checked_strength(strength)
        return Artefact.create(
            manifest, {"image.mean": _mean(image_vectors, share=share), "text.mean": _mean(text_vectors, share=share)}
        )

    @classmethod
    def fit_pairs(cls, pairs: FitPairs, *, label: Label, strength: float = 1.0) -> Artefact:
        """Measure both means of checked pairs.

        Raises:
            SpacesMismatchError: The raw spaces are different.
            NotEnoughItemsError: There are fewer than 2 pairs.
            OptionError: The strength is out of bounds.
            ArtefactError: The label is malformed.
        """
        require_one_space(pairs.image_space, pairs.text_space, method=cls.method)
        return cls.fit(
            pairs.images,
            pairs.texts,
            aligner_id=label.aligner_id,
            space=pairs.image_space,
            created_by=label.created_by,
            pair_count=pairs.pair_count,
            seed=label.seed,
            strength=strength,
        )


def _mean(vectors: NDArray[np.float32], *, share: float) -> NDArray[np.float32]:
    mean: NDArray[np.float32] = (share * vectors.mean(axis=0, dtype=np.float64)).astype(np.float32)
    return mean
