"""What `isthmus match` and `isthmus audit` share: their options, their tables, and the CSV they write."""

from __future__ import annotations

import contextlib
import csv
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from isthmus.cli.failures import UsageError
from isthmus.cli.local import unwritable
from isthmus.cli.output import facts, percent
from isthmus.client import AuditedPair, AuditSummary, Impostor, MatchTerms

__all__ = [
    "FALSE_ACCEPT_RATE",
    "PAIR_COLUMNS",
    "Out",
    "Rate",
    "csv_rows",
    "match_terms",
    "pair_cells",
    "pair_document",
    "show_summary",
    "summary_document",
]

FALSE_ACCEPT_RATE: Final = 0.01
"""Of `isthmus match` unless it is told another one."""

Rate = Annotated[
    float | None,
    typer.Option(
        "--false-accept-rate",
        metavar="RATE",
        help="Share of impostor pairs that is accepted: .05, .01, .001 …",
        show_default=str(FALSE_ACCEPT_RATE),
    ),
]
Out = Annotated[Path | None, typer.Option(metavar="FILE.csv", help="Write every pair to this CSV file.")]

PAIR_COLUMNS: Final = (
    "image_id",
    "text_id",
    "pair_key",
    "probability",
    "cosine",
    "decision",
    "match_probability",
    "nearest_image_id",
    "nearest_text_id",
)
"""Of a pair of a collection, in CSV."""


def match_terms(false_accept_rate: float, *, impostor: Impostor = "random", prior: float | None = None) -> MatchTerms:
    """Return what was chosen.

    Raises:
        UsageError: a rate or a prior is not between 0 and 1.
    """
    try:
        return MatchTerms(false_accept_rate=false_accept_rate, impostor=impostor, prior=prior)
    except ValueError as error:
        raise UsageError(str(error)) from error


@contextlib.contextmanager
def csv_rows(path: Path | None, columns: Sequence[str]) -> Iterator[Callable[[Sequence[Any]], None]]:
    """Yield what writes a row to a CSV file with these headings; without a path it does nothing.

    Raises:
        CommandError: the file cannot be written.
    """
    if path is None:
        yield lambda _: None
        return
    try:
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(columns)
            yield lambda cells: writer.writerow(["" if cell is None else cell for cell in cells])
    except OSError as error:
        raise unwritable(path, error) from error


def pair_cells(pair: AuditedPair) -> list[Any]:
    """Return the cells of PAIR_COLUMNS."""
    return [getattr(pair, name) for name in PAIR_COLUMNS]


def pair_document(pair: AuditedPair) -> dict[str, Any]:
    """Return a pair as JSON."""
    return {name: getattr(pair, name) for name in (*PAIR_COLUMNS, "log_odds")}


def summary_document(summary: AuditSummary) -> dict[str, Any]:
    """Return what was found of all pairs as JSON; figures are fractions in [0, 1]."""
    decisions = {
        "match": summary.match_count,
        "undecided": summary.undecided_count,
        "no_match": summary.no_match_count,
    }
    return {
        "n": summary.pairs,
        "image_count": summary.image_count,
        "text_count": summary.text_count,
        "wrong_share": summary.wrong_share,
        "decisions": decisions if summary.decided else None,
        "aligner": summary.aligner,
        "revision": summary.revision,
    }


def show_summary(summary: AuditSummary) -> None:
    """Print what was found of all pairs for a person."""
    rows: list[tuple[str, object]] = [
        ("pairs", f"{summary.pairs} of {summary.image_count} images and {summary.text_count} texts"),
        ("probably wrong", f"{percent(summary.wrong_share)}, about {round(summary.wrong_share * summary.pairs)}"),
    ]
    if summary.decided:
        rows += [
            ("match", summary.match_count),
            ("undecided", summary.undecided_count),
            ("no match", summary.no_match_count),
        ]
    facts([*rows, ("aligner", summary.aligner or "none"), ("revision", summary.revision)])
