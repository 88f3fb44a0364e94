"""Slices and gains as a page says them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from isthmus.core.changes import Change, Difference
from isthmus.core.gain import GainFinding
from isthmus.core.recipe import Verification
from isthmus.core.sliced import SliceFinding
from isthmus.core.slices import SliceKind
from isthmus.evaluation.report.words import percent, points, signed

__all__ = ["COMPARED", "GainWords", "SliceWords", "gain_of", "notes_of", "slices_of"]

COMPARED: Final = {
    "recall.i2t.r1": "image → text, right answer first",
    "recall.t2i.r1": "text → image, right answer first",
    "mixed.image_query.ndcg10": "quality of first ten, asked by image",
    "mixed.text_query.ndcg10": "quality of first ten, asked by text",
}
"""Name of a difference -> heading of its column."""

_SAID: Final = {
    Change.RISES: ("may", "better"),
    Change.FALLS: ("not", "worse"),
    Change.KEPT: ("none", "as good"),
    Change.TOO_FEW: ("none", "too few to tell"),
}
_SKIPPED: Final = {
    "unknown_query": "their question is not in what was searched",
    "unknown_item": "their answer is not in what was searched",
    "learned_query": "the method may have learned from their question",
    "query_itself": "they name a question as its own answer",
    "other_modality": "their answer is of a kind that was not searched",
}
_MOST_ROWS: Final = 30


@dataclass(frozen=True, kw_only=True)
class _Cell:
    """One figure of one slice in words."""

    before: str
    after: str
    change: str
    """With its range."""
    tag: str
    """Class of its mark."""
    said: str


@dataclass(frozen=True, kw_only=True)
class SliceWords:
    """One slice in words."""

    name: str
    pairs: str
    cells: tuple[_Cell | None, ...]
    """As COMPARED; None where nobody asked in that direction."""


@dataclass(frozen=True, kw_only=True)
class GainWords:
    """What answers are worth, in words."""

    shown: str
    """What was shown."""
    rows: tuple[tuple[str, str, str], ...]
    """What, the figure, its range."""
    tag: str
    said: str
    possible: str
    based_on: str
    skipped: tuple[str, ...]


def slices_of(found: Verification | None) -> list[SliceWords]:
    """Return every slice; none where nobody asked."""
    if found is None or found.slices is None:
        return []
    return [
        SliceWords(
            name=_name(one),
            pairs=f"{one.pair_count:,}",
            cells=tuple(_cell(one, name) for name in COMPARED),
        )
        for one in found.slices.slices
    ]


def notes_of(found: Verification | None) -> list[str]:
    """Return what is in no slice, and why."""
    if found is None or found.slices is None:
        return []
    told = [
        f"{count:,} questions are in no slice "
        + (
            "by length: it is not known."
            if kind is SliceKind.CAPTION_LENGTH
            else "of the attribute: they have no value."
        )
        for kind, count in found.slices.without.items()
        if count
    ]
    if (listed := found.slices.queries) is not None:
        told.append(f"{listed.judged:,} of {listed.given:,} listed questions could be judged.")
        if listed.learned:
            told.append(f"The method may have learned from these of the list: {_some(listed.learned)}.")
        if listed.unknown:
            told.append(f"No pair has these of the list: {_some(listed.unknown)}.")
    return told


def gain_of(found: Verification | None) -> GainWords | None:
    """Return what answers are worth; None where nobody asked."""
    gain = None if found is None else found.gain
    if gain is None:
        return None
    tag, said = _SAID[gain.difference.change]
    figures = (("before", gain.before), ("after", gain.after), ("change", gain.difference.figure))
    return GainWords(
        shown=f"the first {gain.top_k} {_searched(gain)}",
        rows=tuple((what, _money(one.value), f"{_money(one.low)} to {_money(one.high)}") for what, one in figures),
        tag=tag,
        said=said,
        possible=_money(gain.possible),
        based_on=f"{gain.query_count:,} questions of {gain.pair_count:,} pairs, {gain.used_count:,} rows",
        skipped=tuple(
            f"Rows that do not count, because {_SKIPPED[reason]}: {_some(rows)}."
            for reason, rows in gain.skipped.items()
        ),
    )


def _name(one: SliceFinding) -> str:
    names = {
        SliceKind.ALL: "all questions",
        SliceKind.QUERIES: "the listed questions",
        SliceKind.CAPTION_LENGTH: f"{one.value} words",
    }
    return names.get(one.kind, one.value)


def _cell(one: SliceFinding, name: str) -> _Cell | None:
    difference: Difference | None = one.differences.get(name)
    if difference is None:
        return None
    group, side, figure = name.split(".")
    tag, said = _SAID[difference.change]
    found = difference.figure
    return _Cell(
        before=percent(one.before[group][side][figure]),
        after=percent(one.after[group][side][figure]),
        change=f"{points(found.value)} ({points(found.low)} to {points(found.high)})",
        tag=tag,
        said=said,
    )


def _searched(gain: GainFinding) -> str:
    return "answers" if gain.item_modality is None else f"{gain.item_modality}s"


def _money(value: float) -> str:
    return signed(f"{value:,.2f}")


def _some(rows: tuple[int, ...]) -> str:
    told = ", ".join(map(str, rows[:_MOST_ROWS]))
    return told if len(rows) <= _MOST_ROWS else f"{told} and {len(rows) - _MOST_ROWS:,} more"
