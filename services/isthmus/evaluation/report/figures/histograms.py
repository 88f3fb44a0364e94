"""What likeness each kind of pair runs at: one row a kind, over one axis."""

from __future__ import annotations

from typing import Final

import numpy as np

from isthmus.core.gap import ScoreHistogram, ScoreHistograms
from isthmus.evaluation.report.figures.canvas import GOOD, IMAGE, INK, SOFT, TEXT, Picture, picture, styled, styled_axes
from isthmus.evaluation.report.words import signed

__all__ = ["draw_histograms", "span_of"]

_KINDS: Final = (
    ("match", "an image and its own text", GOOD),
    ("image_text", "an image and another text", SOFT),
    ("image_image", "two different images", IMAGE),
    ("text_text", "two different texts", TEXT),
)


@styled
def draw_histograms(scores: ScoreHistograms, *, name: str, span: tuple[float, float] | None = None) -> Picture:
    """Draw one state.

    Args:
        scores: What was counted.
        name: Start of the picture's ids.
        span: Ends of the axis; give two pictures the same one to compare them.
    """
    canvas, rows = styled_axes(height=4.0, rows=len(_KINDS))
    edges = np.array(scores.edges)
    low, high = span or span_of(scores)
    for axes, (field, label, colour) in zip(rows, _KINDS, strict=True):
        found: ScoreHistogram = getattr(scores, field)
        shares = np.array(found.counts) / max(sum(found.counts), 1)
        axes.stairs(shares, edges, fill=True, color=colour, alpha=0.8, linewidth=0)
        axes.vlines(found.mean, 0.0, 1.12 * float(shares.max()), color=INK, linewidth=1.0)
        axes.set(xlim=(low, high), ylim=(0.0, float(shares.max()) * 1.75), yticks=[])
        axes.spines["left"].set_visible(False)
        axes.text(0.0, 0.96, label, transform=axes.transAxes, va="top", color=colour, weight="bold")
        right = found.mean > low + 0.72 * (high - low)
        axes.annotate(
            signed(f"{found.mean:.2f}"),
            (found.mean, float(shares.max())),
            xytext=(-4 if right else 4, 1),
            textcoords="offset points",
            ha="right" if right else "left",
        )
    rows[-1].set_xlabel("likeness (cosine similarity; 1 = identical direction, 0 = nothing in common)")
    alt = "Four histograms of likeness over one axis. Mean likeness of " + "; ".join(
        f"{label}: {getattr(scores, field).mean:.2f}" for field, label, _ in _KINDS
    )
    return picture(canvas, name=name, alt=f"{alt}.")


def span_of(scores: ScoreHistograms) -> tuple[float, float]:
    """Return the part of the axis where anything was counted, a bin wider on each side."""
    counts = sum(np.array(getattr(scores, field).counts) for field, _, _ in _KINDS)
    held = np.flatnonzero(counts)
    edges = scores.edges
    return edges[max(int(held[0]) - 1, 0)], edges[min(int(held[-1]) + 2, len(edges) - 1)]
