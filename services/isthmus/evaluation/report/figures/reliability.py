"""Stated probability against what happened."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from isthmus.core.calibration import Reliability
from isthmus.core.modality import Modality
from isthmus.evaluation.report.figures.canvas import IMAGE, SOFT, TEXT, Picture, picture, styled, styled_axes

__all__ = ["draw_reliability"]

_NORMAL_QUANTILE: Final = 1.959964
_SIDES: Final = {
    Modality.IMAGE: ("image \N{RIGHTWARDS ARROW} text", IMAGE, "o", 7.0),
    Modality.TEXT: ("text \N{RIGHTWARDS ARROW} image", TEXT, "s", 3.5),
}


@styled
def draw_reliability(reliability: Mapping[tuple[Modality, Modality], Reliability], *, name: str) -> Picture:
    """Draw the bins of both directions, with their intervals, around the line of perfect honesty.

    Args:
        reliability: By (query modality, other modality); not empty.
        name: Start of the picture's ids.
    """
    canvas, (axes,) = styled_axes(height=4.0)
    axes.plot([0, 100], [0, 100], color=SOFT, linewidth=1.0, linestyle=(0, (4, 3)))
    axes.text(80, 76, "stated = happened", rotation=33, rotation_mode="anchor", color=SOFT, ha="center", va="top")
    told = []
    for (query, _), found in reliability.items():
        label, colour, marker, size = _SIDES[query]  # where both agree, both show
        low, high = _wilson(found.share, found.count)
        stated = 100.0 * found.probability
        axes.vlines(stated, 100.0 * low, 100.0 * high, color=colour, linewidth=size / 3, alpha=0.45)
        axes.plot(
            stated, 100.0 * found.share, color=colour, marker=marker, markersize=size, linewidth=size / 2.5, label=label
        )
        worst = int(np.argmax(np.abs(found.probability - found.share)))
        told.append(
            f"{label}: off by {100.0 * found.ece:.1f} percentage points on average; furthest where {stated[worst]:.0f} "
            f"percent was stated and {100.0 * found.share[worst]:.0f} percent of {found.count[worst]} matched"
        )
    axes.set(
        xlim=(-2, 102), ylim=(-2, 102), xlabel="stated probability of a match (%)", ylabel="share that matched (%)"
    )
    axes.grid(visible=True)
    axes.legend(frameon=False, loc="upper left", labelcolor="linecolor")
    return picture(canvas, name=name, alt=f"Stated probability against the share that matched. {'; '.join(told)}.")


def _wilson(share: NDArray[np.float64], count: NDArray[np.intp]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the ends of Wilson's 95 % interval (1927) of each share."""
    z2 = _NORMAL_QUANTILE**2
    middle = (share + z2 / (2.0 * count)) / (1.0 + z2 / count)
    spread = np.sqrt(share * (1.0 - share) / count + z2 / (4.0 * count**2))
    reach = _NORMAL_QUANTILE / (1.0 + z2 / count) * spread
    return middle - reach, middle + reach
