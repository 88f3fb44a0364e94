"""The aligner that changes nothing: for a dual encoder, whose two towers share one raw space."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from isthmus.core.aligners.artefact import Artefact
from isthmus.core.aligners.base import Aligner, checked_rows, require_one_space
from isthmus.core.aligners.fitted import Label
from isthmus.core.aligners.manifest import Manifest
from isthmus.core.aligners.pairs import FitPairs
from isthmus.core.modality import Modality

__all__ = ["IdentityAligner"]


class IdentityAligner(Aligner):
    """Return every vector bit for bit as it came."""

    method: ClassVar[str] = "identity"

    def __init__(self, artefact: Artefact) -> None:
        super().__init__(artefact)
        require_one_space(self.image_space, self.text_space, method=self.method)

    @classmethod
    def fit(
        cls,
        *,
        aligner_id: str,
        space: str,
        dimension: int,
        created_by: str,
    ) -> Artefact:
        """Return the artefact; nothing is learned.

        Args:
            aligner_id: Name of the aligner.
            space: The raw space of images and texts.
            dimension: Its dimension.
            created_by: What makes it, for people.

        Raises:
            ArtefactError: A field is malformed.
        """
        manifest = Manifest(
            aligner_id=aligner_id,
            method=cls.method,
            image_space=space,
            text_space=space,
            dimension=dimension,
            created_by=created_by,
            pair_count=0,
            seed=0,
        )
        return Artefact.create(manifest, {})

    @classmethod
    def fit_pairs(cls, pairs: FitPairs, *, label: Label) -> Artefact:
        """Return the artefact for the raw space of `pairs`.

        Raises:
            SpacesMismatchError: The raw spaces are different.
            ArtefactError: The label is malformed.
        """
        require_one_space(pairs.image_space, pairs.text_space, method=cls.method)
        return cls.fit(
            aligner_id=label.aligner_id,
            space=pairs.image_space,
            dimension=pairs.images.shape[1],
            created_by=label.created_by,
        )

    def raw_dimension(self, modality: Modality) -> int:  # noqa: ARG002 - the same for both
        """Return the dimension of the one raw space."""
        return self.dimension

    def align(self, x: NDArray[np.float32], modality: Modality) -> NDArray[np.float32]:  # noqa: ARG002
        """Return the rows of `x`, (n, d) float32, unchanged.

        Raises:
            ShapeError: `x` is not (n, d) with the dimension of the raw space.
        """
        return checked_rows(x, self.dimension)
