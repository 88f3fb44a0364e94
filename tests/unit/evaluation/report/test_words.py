"""Words around figures: what a sentence says follows from the results."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from isthmus.core.gap import Corpus, Figure, measure_gap
from isthmus.core.guard import GuardCheck
from isthmus.evaluation.report import ReportContents, View
from isthmus.evaluation.report.guard_words import PLAIN_CHECKS, said
from isthmus.evaluation.report.measures import MEASURES
from isthmus.evaluation.report.sources import SOURCES
from isthmus.evaluation.report.verdict import Level, level_of, verdict_of
from isthmus.evaluation.report.words import Unit, interval, listed, percent, points, share_of, shown

BIBLIOGRAPHY = Path(__file__).resolve().parents[4] / "docs" / "references.bib"


def test_a_gap_is_called_wide_and_no_gap_small() -> None:
    """Apart by more than their spread is wide; drawn from one cloud is small."""
    rng = np.random.default_rng(0)
    meaning, gap = rng.normal(size=(200, 24)), rng.normal(size=24)
    noise = 0.4 * rng.normal(size=(2, 200, 24))
    for shift, level in ((2.0, Level.WIDE), (0.0, Level.SMALL)):
        images, texts = meaning + noise[0] + shift * gap, meaning + noise[1] - shift * gap
        measured = measure_gap(images, texts)
        assert level_of(measured) is level
        verdict = verdict_of(ReportContents(subject="x", before=View.of(Corpus.of(images, texts), gap=measured)))
        assert level.value in verdict.headline or "hardly" in verdict.headline


@pytest.mark.parametrize(
    ("name", "told"), [("center", "may be used: the guard"), ("standardize", "refused it: it was")]
)
def test_one_aligner_alone_is_not_said_to_be_one_of_one(full: ReportContents, name: str, told: str) -> None:
    """What `align verify` says of it, passed or refused, speaks of it by its name."""
    only = next(one for one in full.methods if one.name == name)
    sentences = " ".join(verdict_of(replace(full, methods=(only,), chosen=only)).sentences)
    assert f"“{name}”" in sentences
    assert told in sentences
    assert "methods" not in sentences


def test_every_check_of_the_guard_has_plain_words(full: ReportContents) -> None:
    """A check that the guard gains must be explained here too."""
    checks = {check.name for one in full.methods if one.found is not None for check in one.found.guard.checks}
    assert checks <= set(PLAIN_CHECKS)


@pytest.mark.parametrize(
    ("check", "changes", "limit"),
    [
        (
            GuardCheck(name="mixed R@10", value=-0.018, low=-0.082, high=0.055, limit=0.0, strict=True),
            "Right partner in the first ten of a mixed search: changes by -1.8 points (-8.2 to +5.5)",
            "lie above 0.0",
        ),
        (
            GuardCheck(name="cross-modal R@1, image queries", value=-0.2, low=-0.309, high=-0.073, limit=-0.02),
            "Image → text, right answer first: changes by -20.0 points (-30.9 to -7.3)",
            "not reach below -2.0",
        ),
        (
            GuardCheck(name="image neighbours kept", value=0.444, low=0.404, high=0.482, limit=0.5),
            "Images that stay an image's neighbours: 44.4 % (40.4 % to 48.2 %)",
            "not reach below 50.0 %",
        ),
        (
            GuardCheck(name="hubness growth", value=0.165, low=0.115, high=0.204, limit=0.02, upper=True),
            "Answers that turn up for everybody (hubness): changes by +0.17 (+0.12 to +0.20) on a scale of 0 to 1",
            "not reach above +0.02",
        ),
    ],
    ids=["rises", "falls", "kept", "grows"],
)
def test_a_check_is_said_with_its_range_and_its_limit(check: GuardCheck, changes: str, limit: str) -> None:
    """The value, where it may lie, and what is allowed."""
    plain = said(check).replace("\u202f", " ").replace("\N{MINUS SIGN}", "-")
    assert plain == f"{changes}; the range must {limit}."


def test_figures_are_written_as_people_read_them() -> None:
    """Percent with one digit, a real minus, no minus before zero, no interval of one point."""
    assert percent(0.738).replace("\u202f", " ") == "73.8 %"
    assert (points(-0.0004), points(0.031)) == ("0.0", "+3.1")
    assert [shown(value, Unit.NUMBER) for value in (0.853, -2.305, 0.0026, -0.00001, 250.4)] == [
        "0.85",
        "\N{MINUS SIGN}2.31",
        "0.0026",
        "0.0000",
        "250",
    ]
    assert interval(Figure(value=0.5, low=0.25, high=0.75), Unit.NUMBER) == "0.25 to 0.75"
    assert interval(Figure(value=0.5, low=0.5, high=0.5), Unit.NUMBER) == "always 0.50"
    assert [share_of(share, 250) for share in (0.0, 0.74, 1.0)] == ["none of 250", "185 of 250", "all 250"]
    assert (listed(["a"]), listed(["a", "b", "c"])) == ("a", "a, b and c")


def test_sources_are_those_of_the_bibliography() -> None:
    """Every measure names a source that is listed, and every source is the entry of docs/references.bib."""
    entries = {entry.partition(",")[0].strip(): entry for entry in BIBLIOGRAPHY.read_text().replace("{", "").split("@")}
    by_key = {
        key.removeprefix("inproceedings").removeprefix("article").removeprefix("incollection"): entry
        for key, entry in entries.items()
    }
    assert {measure.source for measures in MEASURES.values() for measure in measures} - {""} <= set(SOURCES)
    for key, source in SOURCES.items():
        entry = by_key[key].replace("}", "")
        assert source.title in entry
        assert source.venue in entry
        assert source.short.rpartition(" ")[2] in entry
