"""The demo's page: whole in itself, safe, and saying what the run found."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser

from tools.demo.page import render_page
from tools.demo.results import Run

_VOID = {"meta", "link", "br", "img", "hr"}


class _Balance(HTMLParser):
    """Collects visible text, class names and tags that are closed out of order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.crossed: list[str] = []
        self.classes: list[str] = []
        self.words: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.classes += [name for key, value in attrs if key == "class" for name in (value or "").split()]
        if tag not in _VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.crossed.append(tag)

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def _parsed(page: str) -> _Balance:
    parser = _Balance()
    parser.feed(page)
    parser.close()
    return parser


def test_page_needs_no_other_file_no_network_and_no_script(run: Run) -> None:
    """Everything that the page shows is inside it."""
    page = render_page(run)
    assert re.findall(r"https?://|<script|<link|<img|@import|src=", page) == []
    addresses = re.findall(r"url\(([^)]{30})", page)
    assert addresses
    assert all(address.startswith("data:image/jpeg;base64,") for address in addresses)


def test_each_thumbnail_stands_in_the_page_once(run: Run) -> None:
    """A thumbnail and a crop for each picture, however often they are shown."""
    assert render_page(run).count("data:image/jpeg") == 2 * len(run.pictures)


def test_every_tag_is_closed_in_order(run: Run) -> None:
    """The page is well-formed: a browser has nothing to mend."""
    parser = _parsed(render_page(run))
    assert parser.crossed == []
    assert parser.open == []


def test_page_states_the_share_and_lists_every_miss(run: Run) -> None:
    """The reader sees the share in the top 3 with its count, and each sentence that failed."""
    text = re.sub(r"\s+", " ", " ".join(_parsed(render_page(run)).words))
    assert "83.3 %" in text
    assert "in the top 3: 10 of 12" in text
    assert "Misses (2)" in text
    for miss in run.misses():
        assert miss.query in text


def test_page_names_what_was_left_out(run: Run) -> None:
    """A picture that the wheels do not carry is named with the reason."""
    page = render_page(run)
    assert "skimage/data/gone.png" in page
    assert "not carried by the installed scikit-image" in page


def test_a_sentence_is_shown_as_text_never_as_markup(run: Run) -> None:
    """Whatever a sentence holds, it cannot become a tag."""
    first = run.searches[0]
    page = render_page(replace(run, searches=(replace(first, query="<b>bold & brave</b>"), *run.searches[1:])))
    assert "<b>bold" not in page
    assert "&lt;b&gt;bold &amp; brave&lt;/b&gt;" in page


def test_ranks_are_marked_first_near_or_miss(run: Run) -> None:
    """Eight captions come first, two within three, two later: each rank carries its mark."""
    page = render_page(run)
    section = page[page.index('id="text-image"') : page.index('id="image-text"')]
    marks = re.findall(r'class="rank (\w+)"', section)
    assert {mark: marks.count(mark) for mark in set(marks)} == {"first": 8, "near": 2, "miss": 2}


def test_page_without_a_miss_says_so(run: Run) -> None:
    """When all is found there is no empty table."""
    perfect = tuple(replace(s, rank=1) for s in run.searches)
    page = render_page(replace(run, searches=perfect))
    assert "Every sentence has its photograph in the top 3." in page
    assert "came first</th>" not in page


def test_page_shows_each_name_before_and_after_with_the_right_colour_marked(run: Run) -> None:
    """Two names with two rows of answers each; the override's reason stays text; the report is named."""
    page = render_page(run)
    section = page[page.index('id="aligner"') : page.index("<footer>")]
    assert section.count('class="swatch right"') == 4
    assert re.findall(r'class="rank \w+">(\d+)<', section) == ["3", "1", "2", "2"]
    assert "we know &lt;better&gt;" in section
    assert 'href="colours.html"' in section
    assert "all 6 answers were what they had been before the promotion, bit for bit" in section
