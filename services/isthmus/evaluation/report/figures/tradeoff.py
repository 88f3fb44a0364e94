"""What each method buys against what it costs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from isthmus.core.modality import Modality
from isthmus.evaluation.report.contents import MethodOutcome
from isthmus.evaluation.report.figures.canvas import BAD, GOOD, INK, Picture, picture, styled, styled_axes
from isthmus.evaluation.report.figures.labels import Name, place_names

__all__ = ["draw_tradeoff"]

_MARKS: Final = {True: (GOOD, "o", "may be used"), False: (BAD, "X", "refused")}
_MARGIN: Final = 4.0


@styled
def draw_tradeoff(methods: Sequence[MethodOutcome], *, query: Modality, name: str) -> Picture | None:
    """Draw nDCG@10 over both modalities against recall at 1 in the other one, as served, and where it stands today.

    Args:
        methods: All that were compared; those that could not be fitted are left to the table.
        query: Which queries.
        name: Start of the picture's ids.

    Returns:
        None where no method could be fitted.
    """
    judged = [(one, one.found) for one in methods if one.found is not None]
    if not judged:
        return None
    own, other = ("image", "text") if query is Modality.IMAGE else ("text", "image")
    direction = "i2t" if query is Modality.IMAGE else "t2i"

    def place(figures: object) -> tuple[float, float]:
        assert isinstance(figures, dict), "a summary is a dictionary"
        return 100.0 * figures["recall"][direction]["r1"], 100.0 * figures["mixed"][f"{own}_query"]["ndcg10"]

    canvas, (axes,) = styled_axes(height=4.2)
    today = place(judged[0][1].before)
    spots: list[Name] = [(*today, "today", INK)]
    axes.scatter(today[0], today[1], color=INK, marker="*", s=90, linewidths=0, zorder=4)
    told = [f"today {today[0]:.1f} percent and {today[1]:.1f} percent"]
    for one, found in judged:
        colour, marker, word = _MARKS[found.guard.ok]
        x, y = place(found.after)
        axes.scatter(x, y, color=colour, marker=marker, s=42, linewidths=0, zorder=3)
        spots.append((x, y, one.name, colour))
        told.append(f"{one.name} ({word}) {x:.1f} percent and {y:.1f} percent")
    for ends, limit in (([x for x, *_ in spots], axes.set_xlim), ([y for _, y, *_ in spots], axes.set_ylim)):
        limit(max(min(ends) - _MARGIN, -2.0), min(max(ends) + _MARGIN, 102.0))
    axes.axvline(today[0], color=INK, linewidth=0.8, alpha=0.35, linestyle=(0, (2, 3)))
    axes.axhline(today[1], color=INK, linewidth=0.8, alpha=0.35, linestyle=(0, (2, 3)))
    axes.set_xlabel(f"among {other}s only: right {other} first (%)")
    axes.set_ylabel("among everything: quality of the first ten (%)")
    axes.grid(visible=True)
    place_names(axes, spots)
    alt = (
        f"For queries by {own}: share with the right {other} first among {other}s only, and quality of the first ten "
        f"among everything. {'; '.join(told)}."
    )
    return picture(canvas, name=name, alt=alt)
