"""The pictures of a report: one file a picture."""

from __future__ import annotations

from isthmus.evaluation.report.figures.canvas import PALETTE, Picture, standalone
from isthmus.evaluation.report.figures.histograms import draw_histograms, span_of
from isthmus.evaluation.report.figures.projection import draw_projection, reach_of
from isthmus.evaluation.report.figures.reliability import draw_reliability
from isthmus.evaluation.report.figures.spectrum import draw_spectrum
from isthmus.evaluation.report.figures.tradeoff import draw_tradeoff

__all__ = [
    "PALETTE",
    "Picture",
    "draw_histograms",
    "draw_projection",
    "draw_reliability",
    "draw_spectrum",
    "draw_tradeoff",
    "reach_of",
    "span_of",
    "standalone",
]
