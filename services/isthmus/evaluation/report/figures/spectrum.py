"""How quickly the directions of each cloud add up to all of its spread."""

from __future__ import annotations

import numpy as np
from matplotlib.ticker import NullLocator

from isthmus.evaluation.report.figures.canvas import IMAGE, SOFT, TEXT, Picture, picture, styled, styled_axes
from isthmus.evaluation.report.spectrum import MOST_SHARE, Spectrum

__all__ = ["draw_spectrum"]


@styled
def draw_spectrum(before: Spectrum, *, name: str, after: Spectrum | None = None) -> Picture:
    """Draw the running sums of both modalities.

    Args:
        before: Of the raw embeddings.
        name: Start of the picture's ids.
        after: Of the aligned ones, dashed.
    """
    canvas, (axes,) = styled_axes(height=4.0)
    told = []
    for state, spectrum, style in (("before", before, "-"), ("after", after, (0, (3, 2)))):
        if spectrum is None:
            continue
        for label, one, colour in (("images", spectrum.image, IMAGE), ("texts", spectrum.text, TEXT)):
            sums = 100.0 * np.cumsum(one.shares)
            shown = label if after is None else f"{label}, {state}"
            axes.plot(np.arange(1, len(sums) + 1), sums, color=colour, linestyle=style, linewidth=1.8, label=shown)
            axes.plot(one.most_count, sums[one.most_count - 1], color=colour, marker="o", markersize=4.5)
            told.append(f"{one.most_count} of {one.dimension} for {shown}")
    axes.axhline(100.0 * MOST_SHARE, color=SOFT, linewidth=0.9, linestyle=(0, (4, 3)))
    axes.set(xscale="log", xlim=(1, None), ylim=(0, 102))
    axes.set(xlabel="number of directions, strongest first", ylabel="share of the spread (%)")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.xaxis.set_minor_locator(NullLocator())
    axes.grid(visible=True)
    axes.legend(frameon=False, loc="lower right", labelcolor="linecolor")
    alt = f"Running share of the spread over directions. Directions that hold {MOST_SHARE:.0%}: " + "; ".join(told)
    return picture(canvas, name=name, alt=f"{alt}.".replace("%", " percent"))
