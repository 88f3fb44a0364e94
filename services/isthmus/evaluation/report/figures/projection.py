"""Both clouds on a plane, with lines between the two sides of some pairs."""

from __future__ import annotations

from typing import Final

import numpy as np
from matplotlib.collections import LineCollection
from numpy.typing import NDArray

from isthmus.evaluation.report.figures.canvas import IMAGE, SOFT, TEXT, Picture, picture, styled, styled_axes
from isthmus.evaluation.report.projection import Projection

__all__ = ["draw_projection", "reach_of"]

_LINE_COUNT: Final = 30
_MARGIN: Final = 1.08


@styled
def draw_projection(projection: Projection, *, name: str, reach: float | None = None) -> Picture:
    """Draw one state.

    Args:
        projection: What to draw.
        name: Start of the picture's ids.
        reach: Half the side of the plane; give two pictures the same one to compare distances between them.
    """
    canvas, (axes,) = styled_axes(height=4.2)
    side = (reach or reach_of(projection)) * _MARGIN
    lines = np.stack([projection.images, projection.texts], axis=1)[:_LINE_COUNT]
    axes.add_collection(LineCollection(list(lines), colors=SOFT, linewidths=0.6, alpha=0.45))
    for points, colour, marker in ((projection.images, IMAGE, "o"), (projection.texts, TEXT, "s")):
        axes.scatter(points[:, 0], points[:, 1], s=13, color=colour, marker=marker, alpha=0.7, linewidths=0)
    for place, align, colour, text in (
        (0.0, "left", IMAGE, "\N{BLACK CIRCLE} images"),
        (1.0, "right", TEXT, "\N{BLACK SQUARE} texts"),
    ):
        axes.text(place, 1.0, text, transform=axes.transAxes, ha=align, va="bottom", color=colour, weight="bold")
    axes.set(xlim=(-side, side), ylim=(-side, side), aspect="equal", xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    means = [points.mean(axis=0) for points in (projection.images, projection.texts)]
    apart = float(np.linalg.norm(means[0] - means[1]))
    spread = float(np.sqrt(np.mean([np.square(p - p.mean(axis=0)).sum(axis=1).mean() for p in _both(projection)])))
    counts = f"{len(projection.images)} images as circles and {len(projection.texts)} texts as squares on a plane."
    alt = (
        f"{counts} The middles of both clouds are {apart:.2f} apart; items lie {spread:.2f} from the middle of their "
        f"cloud. The plane shows {100 * projection.shown_share:.0f} percent of all differences."
    )
    return picture(canvas, name=name, alt=alt)


def reach_of(projection: Projection) -> float:
    """Return the largest coordinate, at least a hundredth."""
    return max(float(np.abs(np.concatenate(_both(projection))).max()), 0.01)


def _both(projection: Projection) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    return projection.images, projection.texts
