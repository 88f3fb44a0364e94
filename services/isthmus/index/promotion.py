"""May this aligner become the active one? Asked of the report inside its artefact, which its digest covers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from isthmus.core.aligners import Aligner
from isthmus.runtime.base.errors import FailedPreconditionError, InvalidArgumentError
from isthmus.runtime.base.guard import GuardTerms

__all__ = ["Admission", "PromotionTerms", "check_promotion", "verdict_outdated"]

_REASON_MAX_BYTES: Final = 1_024
_FIGURES_MAX_COUNT: Final = 8
_FIGURE_MAX_COUNT: Final = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class PromotionTerms:
    """What the caller takes on.

    Raises:
        InvalidArgumentError: INVALID_FIELD; the reason is too long.
    """

    allow_unverified: bool = False
    """Take an aligner without a report on held-out pairs."""
    override_reason: str = ""
    """Why it is taken although it breaks the guard; empty when it is not."""

    def __post_init__(self) -> None:
        """Check the reason."""
        size = len(self.override_reason.encode())
        if size > _REASON_MAX_BYTES:
            msg = f"override_reason has {size} bytes; the limit is {_REASON_MAX_BYTES}"
            raise InvalidArgumentError(msg, reason="INVALID_FIELD", metadata={"field": "override_reason"})


@dataclass(frozen=True, slots=True)
class Admission:
    """On what an aligner may be promoted.

    Attributes:
        against: The aligner that its verdict compares it with, empty for none; it must be the active one still. None
            when the caller waived that.
        unverified: Whether it has no verdict, and the caller's word stands for one.
    """

    against: str | None
    unverified: bool = False


def check_promotion(aligner: Aligner, terms: PromotionTerms, *, allowed: GuardTerms) -> Admission:
    """Refuse an aligner that nobody has judged, and one that was found to cost more than it may.

    Whether what it was judged against is still what is active is asked when it is committed.

    Args:
        aligner: Its artefact is whole.
        terms: What the caller takes on.
        allowed: The collection's limits; a verdict under looser ones says nothing here.

    Raises:
        FailedPreconditionError: UNVERIFIED_ALIGNER; GUARD_BROKEN, with the figures.
    """
    if terms.override_reason:
        return Admission(against=None)
    report = aligner.artefact.manifest.report
    guard, against = report.get("guard"), report.get("against")
    if not (isinstance(guard, Mapping) and isinstance(against, str) and _judged_by(guard).within(allowed)):
        if not terms.allow_unverified:
            msg = (
                "the aligner holds no report on held-out pairs that was judged by the collection's limits; "
                "set allow_unverified to promote it all the same"
            )
            raise FailedPreconditionError(msg, reason="UNVERIFIED_ALIGNER", metadata={"field": "allow_unverified"})
        return Admission(against=None, unverified=True)
    if guard.get("ok") is not True:
        figures = _figures(guard)
        msg = f"the aligner breaks the guard on held-out pairs: {figures}"
        raise FailedPreconditionError(msg, reason="GUARD_BROKEN", metadata={"figures": figures})
    return Admission(against=against)


def verdict_outdated(*, judged_against: str, active: str) -> FailedPreconditionError:
    """Return VERDICT_OUTDATED: what an aligner was compared with is not what it would replace.

    Args:
        judged_against: The aligner that its report compares it with; empty for none.
        active: The active one; empty for none.
    """
    msg = (
        f"the aligner was judged against {_named(judged_against)}, and {_named(active)} is active now; fit it again, "
        "which judges it against that, or say in override_reason why it is promoted all the same"
    )
    metadata = {"judged_against": judged_against[:_FIGURE_MAX_COUNT], "active": active, "field": "override_reason"}
    return FailedPreconditionError(msg, reason="VERDICT_OUTDATED", metadata=metadata)


def _named(space: str) -> str:
    return space[:_FIGURE_MAX_COUNT] or "no aligner"


def _judged_by(guard: Mapping[str, Any]) -> GuardTerms:
    """Return the limits that a verdict was reached under; where it does not say, those that allow everything."""
    try:
        return GuardTerms(**guard["limits"])
    except (KeyError, TypeError, InvalidArgumentError):
        return GuardTerms(epsilon=1.0, structure_least=0.0, hubness_growth=1.0)


def _figures(guard: Mapping[str, Any]) -> str:
    """Return why the guard refuses; bounded, for an artefact may come from anywhere."""
    reasons = guard.get("reasons")
    if not isinstance(reasons, list):
        return "its report does not say why"
    return "; ".join(str(reason)[:_FIGURE_MAX_COUNT] for reason in reasons[:_FIGURES_MAX_COUNT])
