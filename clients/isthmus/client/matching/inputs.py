"""What calls about pairs accept."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from isthmus.client.inputs import ImageLike, SpacedVector

__all__ = ["Impostor", "MatchTerms", "Pair"]

Impostor = Literal["random", "best"]
"""What is falsely accepted: any other text, or the best other text of each image."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MatchTerms:
    """What is chosen about decisions; None takes the mesh's default.

    Raises:
        ValueError: a rate or a prior is not between 0 and 1, or the impostor is neither random nor best.
    """

    false_accept_rate: float | None = None
    """Share of impostor pairs that is accepted, above 0 and below 1; the default is 0.01."""
    impostor: Impostor = "random"
    """What the rate is a share of."""
    prior: float | None = None
    """Share of the pairs that match, as far as is known; the default is 0.5. Moves probabilities, never decisions."""

    def __post_init__(self) -> None:
        """Check the shares."""
        for name in ("false_accept_rate", "prior"):
            value = getattr(self, name)
            if value is not None and not 0.0 < value < 1.0:
                msg = f"{name} must be above 0 and below 1"
                raise ValueError(msg)
        if self.impostor not in ("random", "best"):
            msg = "impostor must be random or best"
            raise ValueError(msg)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Pair:
    """An image and a text to judge together, each given in one way.

    Raises:
        ValueError: a side is given in no way, or in several.
    """

    image: ImageLike | None = None
    """An image."""
    image_vector: SpacedVector | None = None
    """A vector in the collection's raw space for images."""
    image_id: str | None = None
    """An image item of the collection."""
    text: str | None = None
    """A text."""
    text_vector: SpacedVector | None = None
    """A vector in the collection's raw space for texts."""
    text_id: str | None = None
    """A text item of the collection."""

    def __post_init__(self) -> None:
        """Check that each side is one thing."""
        for side in ("image", "text"):
            names = [side, f"{side}_vector", f"{side}_id"]
            if sum(getattr(self, name) is not None for name in names) != 1:
                msg = f"a Pair takes exactly one of {', '.join(names)}"
                raise ValueError(msg)
