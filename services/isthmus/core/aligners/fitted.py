"""From what a method found to an artefact: the same way for every method."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from isthmus.core.aligners.artefact import Artefact, Tensors
from isthmus.core.aligners.manifest import Manifest
from isthmus.core.aligners.pairs import FitPairs
from isthmus.core.errors import OptionError

__all__ = ["FitResult", "Label", "checked_strength"]


@dataclass(frozen=True, kw_only=True)
class Label:
    """What an artefact says of itself beside its numbers."""

    aligner_id: str
    """Name of the aligner."""
    created_by: str
    """What makes it, for people."""
    seed: int = 0
    """Seed of everything random in the fit."""


class FitResult(ABC):
    """What one fit found: the numbers to apply, and the figures that tell whether to trust them."""

    method: ClassVar[str]
    """Its name in a manifest."""

    @property
    @abstractmethod
    def dimension(self) -> int:
        """Length of an aligned vector."""

    @abstractmethod
    def tensors(self) -> Tensors:
        """Return the tensors of the artefact."""

    @abstractmethod
    def settings(self) -> Mapping[str, Any]:
        """Return how it was fitted and what was found on the way; plain JSON values."""

    def seal(self, pairs: FitPairs, *, label: Label) -> Artefact:
        """Return the artefact.

        Args:
            pairs: What it was fitted to.
            label: Its name and origin.

        Raises:
            ArtefactError: A field is malformed, or the tensors are over the limit.
        """
        manifest = Manifest(
            aligner_id=label.aligner_id,
            method=self.method,
            image_space=pairs.image_space,
            text_space=pairs.text_space,
            dimension=self.dimension,
            created_by=label.created_by,
            pair_count=pairs.pair_count,
            seed=label.seed,
            settings=self.settings(),
        )
        return Artefact.create(manifest, self.tensors())


def checked_strength(strength: float) -> float:
    """Return `strength`.

    Raises:
        OptionError: It is not in [0, 1].
    """
    if not 0.0 <= strength <= 1.0:
        msg = "strength: must be from 0 (no change) to 1 (the whole correction)"
        raise OptionError(msg)
    return strength
