"""The report as one HTML page that needs no other file, no network and no script."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from jinja2 import Environment, StrictUndefined

from isthmus.core.gap import Figure, GapReport
from isthmus.core.modality import Modality
from isthmus.evaluation.report.contents import MethodOutcome, ReportContents
from isthmus.evaluation.report.details import COMPARED, gain_of, notes_of, slices_of
from isthmus.evaluation.report.figures import (
    PALETTE,
    Picture,
    draw_histograms,
    draw_projection,
    draw_reliability,
    draw_spectrum,
    draw_tradeoff,
    reach_of,
    span_of,
)
from isthmus.evaluation.report.guard_words import said
from isthmus.evaluation.report.measures import MEASURES, Measure
from isthmus.evaluation.report.sources import SOURCES
from isthmus.evaluation.report.verdict import verdict_of
from isthmus.evaluation.report.words import interval, percent, shown

__all__ = ["draw_pictures", "render_report"]

_TEMPLATE: Final = Path(__file__).with_name("report.html.jinja")
_MISSING: Final = "it was not asked for"


@dataclass(frozen=True, kw_only=True)
class _Cell:
    """One figure of one state, in words."""

    value: str
    interval: str


@dataclass(frozen=True, kw_only=True)
class _Row:
    """One measure in words."""

    measure: Measure
    source: str
    before: _Cell | None
    after: _Cell | None
    floor: str
    """What no gap at all would show; empty where that means nothing."""
    missing: str
    """Why there is no figure; empty where there is one."""


def render_report(contents: ReportContents) -> str:
    """Render a report for a browser.

    Args:
        contents: What was measured.

    Returns:
        The whole page. Every text is escaped; pictures are inline SVG.
    """
    # The template is a part of this program, so that an undefined name in it is a bug, never an empty place.
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["percent"] = percent
    template = environment.from_string(_TEMPLATE.read_text(encoding="utf-8"))
    groups = {name: [_row(measure, contents) for measure in measures] for name, measures in MEASURES.items()}
    used = {row.measure.source for rows in groups.values() for row in rows} - {""}
    if contents.chosen is not None:
        used |= {"naeini:15", "platt:99"}
    judged = contents.chosen.found if contents.chosen is not None else None
    return template.render(
        contents=contents,
        origin=f"As aligned by “{contents.aligner}”" if contents.aligner else "As the encoders made them",
        gap=contents.before.gap,
        verdict=verdict_of(contents),
        palette=PALETTE,
        pictures=draw_pictures(contents),
        why=_why_missing(contents),
        groups=groups,
        methods=[(one, _reasons(one)) for one in contents.methods],
        compared=COMPARED.values(),
        slices=slices_of(judged),
        slice_notes=notes_of(judged),
        gain=gain_of(judged),
        sources=[source for key, source in SOURCES.items() if key in used],
    )


def draw_pictures(contents: ReportContents) -> dict[str, Picture]:
    """Draw whatever the results allow.

    Args:
        contents: What was measured.

    Returns:
        By name: `projection_before`, `projection_after`, `histograms_before`, `histograms_after`, `spectrum`,
        `reliability`, `tradeoff_image`, `tradeoff_text`. What cannot be drawn is left out.
    """
    before, after = contents.before, contents.after
    drawn: dict[str, Picture | None] = {}
    states = [("before", before)] + ([("after", after)] if after is not None else [])
    planes = [view.projection for _, view in states if view.projection is not None]
    scores = [view.gap.histograms for _, view in states if view.gap.histograms is not None]
    for state, view in states:
        if view.projection is not None:
            name = f"projection_{state}"
            drawn[name] = draw_projection(view.projection, name=name, reach=max(map(reach_of, planes)))
        if view.gap.histograms is not None:
            name = f"histograms_{state}"
            ends = [span_of(one) for one in scores]
            span = (min(low for low, _ in ends), max(high for _, high in ends))
            drawn[name] = draw_histograms(view.gap.histograms, name=name, span=span)
    if before.spectrum is not None:
        drawn["spectrum"] = draw_spectrum(before.spectrum, after=after.spectrum if after else None, name="spectrum")
    if contents.chosen is not None and contents.chosen.found is not None and contents.chosen.found.reliability:
        drawn["reliability"] = draw_reliability(contents.chosen.found.reliability, name="reliability")
    for query in Modality:
        name = f"tradeoff_{query}"
        drawn[name] = draw_tradeoff(contents.methods, query=query, name=name)
    return {name: one for name, one in drawn.items() if one is not None}


def _why_missing(contents: ReportContents) -> dict[str, str]:
    """Say for each picture why it would not be there."""
    gap, compared = contents.before.gap, bool(contents.methods)
    alone = "only the embeddings themselves were measured; `isthmus align compare` compares methods"
    few = "the best method has no match probabilities: too few pairs were left to calibrate them"
    return {
        "projection": "images and texts have no common space to be drawn in",
        "histograms": gap.missing.get("histograms", _MISSING),
        "spectrum": _MISSING,
        "reliability": few if compared else alone,
        "tradeoff": "no method could be fitted" if compared else alone,
    }


def _row(measure: Measure, contents: ReportContents) -> _Row:
    gap = contents.before.gap
    before = measure.pick(gap)
    after = measure.pick(contents.after.gap) if contents.after is not None else None
    floor = before.noise_floor if before is not None else None
    return _Row(
        measure=measure,
        source=SOURCES[measure.source].short if measure.source else "this project",
        before=_cell(before, measure),
        after=_cell(after, measure),
        floor="" if floor is None else shown(max(floor, 0.0), measure.unit),
        missing="" if before is not None else _reason(gap, measure),
    )


def _cell(figure: Figure | None, measure: Measure) -> _Cell | None:
    if figure is None:
        return None
    return _Cell(value=shown(figure.value, measure.unit), interval=interval(figure, measure.unit))


def _reason(gap: GapReport, measure: Measure) -> str:
    return gap.missing.get(measure.field, _MISSING)


def _reasons(outcome: MethodOutcome) -> list[str]:
    """Return why a method may not be used, or what made it pass."""
    if outcome.found is None:
        return [outcome.problem]
    guard = outcome.found.guard
    failed = [check for check in guard.checks if not check.passed]
    if guard.ok:
        return [said(check) for check in guard.checks if check.passed][:1]
    told = [said(check) for check in failed if any(str(check) == reason for reason in guard.reasons)]
    if guard.pairs_needed is not None:
        told.append(
            f"{guard.pair_count} held-out pairs are too few to tell; about {guard.pairs_needed:,} would be enough."
        )
    return told or list(guard.reasons)
