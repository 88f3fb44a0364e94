"""The page: whole, self-contained, true to the results, and safe against the names in it."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from xml.etree import ElementTree as ET

import pytest

from isthmus.evaluation.report import ReportContents, draw_pictures, render_report
from isthmus.evaluation.report.figures import standalone
from isthmus.evaluation.report.measures import MEASURES
from isthmus.evaluation.report.words import interval, percent, shown

SECTIONS = {"clouds", "scores", "tradeoff", "guard", "reliability", "spectrum", "measures", "sources"}
PICTURES = {
    "projection_before",
    "projection_after",
    "histograms_before",
    "histograms_after",
    "spectrum",
    "reliability",
    "tradeoff_image",
    "tradeoff_text",
}
HOSTILE = "<script>alert(1)</script>$x_1$&\"'`"


class Reader(HTMLParser):
    """Collects what a browser would act on."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep a tag."""
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        """Keep the text between tags."""
        self.text.append(data)

    def values(self, *names: str) -> Iterator[str]:
        """Yield the values of these attributes, whatever the tag."""
        for _, attributes in self.tags:
            yield from (value for name in names if (value := attributes.get(name)) is not None)


def words(page: str) -> str:
    """Return the text that a reader sees, in single spaces."""
    return spaced(" ".join(Reader(page).text))


def spaced(text: str) -> str:
    """Return the text with single plain spaces."""
    return " ".join(text.split())


@pytest.mark.parametrize("name", ["alone", "full", "apart"])
def test_every_section_is_there_whatever_was_measured(name: str, pages: dict[str, str]) -> None:
    """What could not be shown is said to be missing, with the reason, under the same heading."""
    reader = Reader(pages[name])
    assert {*reader.values("id")} >= SECTIONS
    linked = {value for value in reader.values("href") if value.removeprefix("#") in SECTIONS}
    assert linked == {f"#{section}" for section in SECTIONS}


def test_a_whole_comparison_has_every_picture(full: ReportContents, pages: dict[str, str]) -> None:
    """All eight are drawn, each once, each with an alternative text that holds figures."""
    pictures = draw_pictures(full)
    assert set(pictures) == PICTURES
    assert all(re.search(r"\d", one.alt) for one in pictures.values())
    labels = [attributes.get("aria-label") for tag, attributes in Reader(pages["full"]).tags if tag == "svg"]
    assert sorted(label or "" for label in labels) == sorted(one.alt for one in pictures.values())


def test_a_measurement_alone_says_how_to_get_the_rest(alone: ReportContents, pages: dict[str, str]) -> None:
    """Three pictures, and for the others the command that makes them."""
    assert set(draw_pictures(alone)) == {"projection_before", "histograms_before", "spectrum"}
    assert words(pages["alone"]).count("isthmus align compare") == 4  # the verdict and three sections


def test_two_spaces_are_said_to_be_two(apart: ReportContents, pages: dict[str, str]) -> None:
    """Nothing compares images with texts before; after a method that joins them everything is there."""
    page = words(pages["apart"])
    assert "Images and texts have no common space yet" in page
    assert "images and texts have 24 and 18 dimensions" in page
    assert {"projection_after", "histograms_after"} <= set(draw_pictures(apart))
    assert "projection_before" not in draw_pictures(apart)


@pytest.mark.parametrize("name", ["alone", "full", "apart"])
def test_the_page_asks_nobody_for_anything(name: str, pages: dict[str, str]) -> None:
    """No script, no style sheet, no font, no image from elsewhere: links lead into the page, ids are unique."""
    page = pages[name]
    reader = Reader(page)
    assert "http" not in page
    assert not {tag for tag, _ in reader.tags} & {"script", "link", "iframe", "object", "embed", "img", "base", "form"}
    assert all(value.startswith("#") for value in reader.values("href", "xlink:href", "src", "action"))
    assert all(found.startswith("#") for found in re.findall(r"url\(([^)]*)\)", page))
    assert "@import" not in page
    ids = [*reader.values("id")]
    assert len(ids) == len(set(ids))
    targets = {value[1:] for value in reader.values("href", "xlink:href")} | set(re.findall(r"url\(#([^)]*)\)", page))
    assert targets <= set(ids)


def test_figures_of_the_page_are_those_of_the_results(full: ReportContents, pages: dict[str, str]) -> None:
    """Every measure before and after with its interval, and what the guard and the calibration said."""
    page = words(pages["full"])
    assert full.after is not None
    for measure in (one for measures in MEASURES.values() for one in measures):
        for gap in (full.before.gap, full.after.gap):
            figure = measure.pick(gap)
            assert figure is not None, measure.name
            told = f"{shown(figure.value, measure.unit)} {interval(figure, measure.unit)}"
            assert spaced(told) in page, measure.name
    assert full.chosen is not None
    assert full.chosen.found is not None
    assert full.chosen.found.ece is not None
    assert spaced(f"differ by {percent(full.chosen.found.ece)} on average") in page
    for outcome in full.methods:
        if outcome.found is not None:
            recall, mixed = outcome.found.after["recall"], outcome.found.after["mixed"]
            assert spaced(f"{percent(recall['i2t']['r1'])} / {percent(recall['t2i']['r1'])}") in page
            both = (mixed["image_query"]["ndcg10"], mixed["text_query"]["ndcg10"])
            assert spaced(" / ".join(map(percent, both))) in page


def test_the_verdict_of_the_guard_stands_beside_each_method(full: ReportContents, pages: dict[str, str]) -> None:
    """Passed, refused with the reason, or not fitted with the reason; and the best that passes is shown."""
    page = words(pages["full"])
    assert [one.passed for one in full.methods] == [True, False, None]
    assert "center may be used" in page
    assert re.search("standardize refused [^A-Z]* Images that stay an image's neighbours:", page)
    assert "spectral could not be fitted no figures dimension: must be from 1 to 23" in page
    assert full.chosen is full.methods[0]
    assert "1 of 2 methods may be used: center." in page


def test_a_picture_stands_alone_as_a_file(full: ReportContents) -> None:
    """Well-formed SVG with its colours for light and dark inside, and nothing from elsewhere."""
    for picture in draw_pictures(full).values():
        drawn = standalone(picture)
        root = ET.fromstring(drawn)  # noqa: S314 - our own drawing
        assert root.tag == "{http://www.w3.org/2000/svg}svg"
        assert root.findtext("{http://www.w3.org/2000/svg}title") == picture.alt
        assert "prefers-color-scheme:dark" in drawn
        assert drawn.count("http") == 1  # the name of the format
        for name in re.findall(r"var\((--\w+)\)", drawn):
            assert f"{name}:#" in drawn


def test_hostile_names_stay_text(full: ReportContents) -> None:
    """A file or a method may be called anything: it is shown as it is, in the page and in the pictures."""
    methods = tuple(replace(one, name=f"{one.name}{HOSTILE}", problem=one.problem and HOSTILE) for one in full.methods)
    page = render_report(replace(full, subject=HOSTILE, methods=methods, chosen=methods[0]))
    reader = Reader(page)
    assert "script" not in {tag for tag, _ in reader.tags}
    assert "<script" not in page
    assert any(HOSTILE in text for text in reader.text)
    assert f"center{HOSTILE}" in reader.text  # in a picture: a name, no formula


def test_the_page_is_small_quick_and_the_same_each_time(full: ReportContents, pages: dict[str, str]) -> None:
    """Under 3 MB, in a few seconds, and the same bytes for the same results."""
    started = time.monotonic()
    page = render_report(full)
    assert time.monotonic() - started < 20.0  # 2 s measured on a busy core
    assert len(page.encode()) < 3_000_000  # 0.25 MB measured
    assert page == pages["full"]
