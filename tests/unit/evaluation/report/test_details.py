"""Slices and gains on the page: every figure said, nothing hidden, nothing where nobody asked."""

from __future__ import annotations

import html
from dataclasses import replace

import pytest

from isthmus.core.aligners import Label
from isthmus.core.details import DetailRequest
from isthmus.core.gain import GainRequest
from isthmus.core.modality import Modality
from isthmus.core.notes import ItemNotes
from isthmus.core.recipe import Verification, fit_calibrated, verify_artefact
from isthmus.core.slices import SliceRequest
from isthmus.evaluation.report import compared_contents, render_report
from isthmus.evaluation.report.details import gain_of, notes_of, slices_of
from tests.unit.evaluation.report.conftest import SUBJECT, pairs_with_gap

COUNT = 500
HOSTILE = "<script>winter</script>"


@pytest.fixture(scope="module")
def judged() -> tuple[Verification, str]:
    """A verification with slices of a hostile name, a list, and gains; and its page."""
    keys = range(COUNT)
    pairs = replace(
        pairs_with_gap(COUNT),
        notes={
            Modality.IMAGE: ItemNotes(
                ids=[f"photo-{row}" for row in keys], values=[HOSTILE if row % 50 == 0 else "summer" for row in keys]
            ),
            Modality.TEXT: ItemNotes(ids=[f"caption-{row}" for row in keys], values=[""] * COUNT),
        },
    )
    learned, held = pairs.split()
    artefact = fit_calibrated("center", learned, label=Label(aligner_id="center", created_by="test"))
    details = DetailRequest(
        slices=SliceRequest(by_attribute=True, query_ids=[*list(held.ids[Modality.TEXT])[:30], "gone"]),
        gains=GainRequest(
            query_ids=[*(f"caption-{row}" for row in keys), "gone"],
            item_ids=[*(f"photo-{row}" for row in keys), "gone"],
            gains=[12.5] * COUNT + [1.0],
        ),
        searched=pairs,
    )
    found = verify_artefact(artefact, held, learned=learned, details=details)
    return found, render_report(compared_contents(SUBJECT, pairs, {"center": (artefact, found)}, refused={}))


def test_every_slice_and_what_is_said_of_it_is_on_the_page(judged: tuple[Verification, str]) -> None:
    """Names as text, figures of before and after, the change with its range, and too few said as such."""
    found, page = judged
    names = [one.name for one in slices_of(found)]
    assert names == ["all questions", "summer", HOSTILE, "the listed questions"]
    assert HOSTILE not in page
    assert html.escape(HOSTILE) in page
    whole, _, winter, listed = slices_of(found)
    for one in (whole, winter, listed):
        for cell in one.cells:
            if cell is not None:
                assert f"{cell.before} → {cell.after}" in page
                assert cell.change in page
    assert {cell.said for cell in winter.cells if cell} == {"too few to tell"}
    assert [cell is None for cell in listed.cells] == [True, False, True, False]  # captions only
    assert notes_of(found) == [
        "30 of 31 listed questions could be judged.",
        "No pair has these of the list: 31.",
    ]
    assert all(note in page for note in notes_of(found))


def test_what_it_is_worth_is_on_the_page(judged: tuple[Verification, str]) -> None:
    """Before, after and change with their ranges, what could be had, and the rows that count for nothing."""
    found, page = judged
    gain = gain_of(found)
    assert gain is not None
    assert found.gain is not None
    assert (gain.shown, gain.said, gain.possible) == ("the first 10 answers", "better", "12,500.00")
    assert gain.rows[2][1] == f"{found.gain.after.value - found.gain.before.value:,.2f}"
    for text in (*[part for row in gain.rows for part in row], gain.based_on, *gain.skipped):
        assert text in page
    assert f"Rows that do not count, because their question is not in what was searched: {COUNT + 1}." in gain.skipped


def test_nobody_asked_and_nothing_is_there(pages: dict[str, str]) -> None:
    """A comparison and a measurement have neither section, nor links to them."""
    for page in pages.values():
        assert 'id="slices"' not in page
        assert "#gain" not in page
    assert (slices_of(None), notes_of(None), gain_of(None)) == ([], [], None)
