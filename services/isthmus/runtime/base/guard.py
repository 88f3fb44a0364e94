"""What an aligner may cost a collection: the collection's own limits, as every service carries them."""

from __future__ import annotations

from dataclasses import dataclass, fields

from isthmus.runtime.base.errors import InvalidArgumentError

__all__ = ["GuardTerms"]


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardTerms:
    """Limits of the guard (`isthmus.core.guard`), by the 95 % bound on held-out pairs.

    Raises:
        InvalidArgumentError: INVALID_FIELD; a limit is not in [0, 1].
    """

    epsilon: float = 0.02
    """How far a recall or nDCG@10 may fall."""
    structure_least: float = 0.5
    """Share of an item's ten nearest of its own modality that must stay among them."""
    hubness_growth: float = 0.02
    """How far the Gini coefficient of hubness may grow."""

    def __post_init__(self) -> None:
        """Check the limits; NaN is none."""
        for field in fields(self):
            if not 0.0 <= getattr(self, field.name) <= 1.0:
                msg = f"guard.{field.name} must be from 0 to 1"
                raise InvalidArgumentError(msg, reason="INVALID_FIELD", metadata={"field": f"guard.{field.name}"})

    def within(self, allowed: GuardTerms) -> bool:
        """Return whether what keeps these limits keeps `allowed` too."""
        return (
            self.epsilon <= allowed.epsilon
            and self.structure_least >= allowed.structure_least
            and self.hubness_growth <= allowed.hubness_growth
        )
