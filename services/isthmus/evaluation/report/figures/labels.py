"""Place names beside points so that they do not cover one another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from matplotlib.axes import Axes

__all__ = ["Name", "place_names"]

_LETTER_WIDTH: Final = 5.3
_LETTER_HEIGHT: Final = 10.0
_RADIUS: Final = 5.0
_DIRECTIONS: Final = ((1, 0), (-1, 0), (1, 1), (-1, 1), (1, -1), (-1, -1), (0, 1), (0, -1))
_REACHES: Final = (7.0, 16.0, 26.0, 38.0)

Box = tuple[float, float, float, float]
Name = tuple[float, float, str, str]
"""x, y, the name and its colour."""


def place_names(axes: Axes, names: Sequence[Name]) -> None:
    """Write each name where it covers least, near before far; a thin line leads to a point that is not next to it.

    Args:
        axes: With their final limits.
        names: What to write.
    """
    axes.figure.draw_without_rendering()  # type: ignore[union-attr]  # settles the layout that the places depend on
    scale = 72.0 / axes.figure.dpi
    points = np.array([axes.transData.transform((x, y)) for x, y, _, _ in names]) * scale
    corners = axes.transAxes.transform([(0, 0), (1, 1)]) * scale
    frame: Box = (corners[0, 0], corners[0, 1], corners[1, 0], corners[1, 1])
    taken: list[Box] = [(x - _RADIUS, y - _RADIUS, x + _RADIUS, y + _RADIUS) for x, y in points]
    for (x, y, name, colour), (px, py) in zip(names, points, strict=True):
        width = _LETTER_WIDTH * len(name)
        tries = [(right * reach, up * reach * 0.8, right) for reach in _REACHES for right, up in _DIRECTIONS]
        costs = []
        for place, (dx, dy, right) in enumerate(tries):
            left = px + dx - (0.0 if right > 0 else width if right < 0 else width / 2)
            box = (left, py + dy - _LETTER_HEIGHT / 2, left + width, py + dy + _LETTER_HEIGHT / 2)
            outside = width * _LETTER_HEIGHT - _overlap(box, frame)
            costs.append((sum(_overlap(box, other) for other in taken) + 2 * outside + 0.4 * place, place, box))
        _, place, box = min(costs)
        taken.append(box)
        dx, dy, right = tries[place]
        axes.annotate(
            name,
            (x, y),
            xytext=(dx, dy),
            textcoords="offset points",
            ha={1: "left", -1: "right", 0: "center"}[right],
            va="center",
            color=colour,
            fontsize=8.5,
            arrowprops={"arrowstyle": "-", "color": colour, "linewidth": 0.5, "alpha": 0.6, "shrinkB": 3}
            if max(abs(dx), abs(dy)) > _REACHES[0]
            else None,
        )


def _overlap(one: Box, other: Box) -> float:
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    return max(width, 0.0) * max(height, 0.0)
