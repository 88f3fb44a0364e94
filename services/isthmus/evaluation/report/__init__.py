"""A report of the gap as one page that a non-specialist can read."""

from __future__ import annotations

from isthmus.evaluation.report.compared import compared_contents
from isthmus.evaluation.report.contents import MethodOutcome, ReportContents, View
from isthmus.evaluation.report.page import draw_pictures, render_report

__all__ = ["MethodOutcome", "ReportContents", "View", "compared_contents", "draw_pictures", "render_report"]
