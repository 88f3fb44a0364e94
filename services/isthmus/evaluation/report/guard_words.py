"""What the guard found, in plain words."""

from __future__ import annotations

from typing import Final

from isthmus.core.guard import GuardCheck
from isthmus.evaluation.report.words import percent, points, signed

__all__ = ["PLAIN_CHECKS", "said"]

PLAIN_CHECKS: Final = {
    "nDCG@10 over both modalities": "Quality of the first ten in a mixed search",
    "mixed R@10": "Right partner in the first ten of a mixed search",
    "nDCG@10 kept": "Quality of the first ten in a mixed search",
    "cross-modal R@1, image queries": "Image → text, right answer first",
    "cross-modal R@1, text queries": "Text → image, right answer first",
    "own-modality R@10, image queries": "Image → images of the same thing, in the first ten",
    "own-modality R@10, text queries": "Text → texts of the same thing, in the first ten",
    "image neighbours kept": "Images that stay an image's neighbours",
    "text neighbours kept": "Texts that stay a text's neighbours",
    "hubness growth": "Answers that turn up for everybody (hubness)",
}
"""Name of a check -> what it asks."""

_HUBNESS: Final = "hubness growth"
_KEPT: Final = " neighbours kept"


def said(check: GuardCheck) -> str:
    """Return a figure with its interval and what is allowed."""
    name = PLAIN_CHECKS.get(check.name, check.name)
    if check.name.endswith(_KEPT):
        found = f"{percent(check.value)} ({percent(check.low)} to {percent(check.high)})"
        return f"{name}: {found}; the range must not reach below {percent(check.limit)}."
    if check.name == _HUBNESS:
        value, low, high, limit = (signed(f"{one:+.2f}") for one in (check.value, check.low, check.high, check.limit))
        changes = f"changes by {value} ({low} to {high}) on a scale of 0 to 1"
        return f"{name}: {changes}; the range must not reach above {limit}."
    found = f"{points(check.value)} points ({points(check.low)} to {points(check.high)})"
    allowed = f"lie above {points(check.limit)}" if check.strict else f"not reach below {points(check.limit)}"
    return f"{name}: changes by {found}; the range must {allowed}."
