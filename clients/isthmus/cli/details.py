"""What `align verify` may look at beside the whole: options, and the files of query ids and of gains."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from isthmus.cli.embeddings import PairedEmbeddings
from isthmus.cli.failures import CommandError
from isthmus.cli.local import unreadable
from isthmus.client import AnyModality, Gain, GainOptions, SliceOptions

if TYPE_CHECKING:
    from isthmus.core.details import DetailRequest
    from isthmus.core.modality import Modality
    from isthmus.core.notes import ItemNotes

__all__ = [
    "DetailOptions",
    "Details",
    "Gains",
    "GainsModality",
    "Queries",
    "SliceAttribute",
    "SliceCaptionLength",
    "TopK",
    "detail_request",
    "gain_options",
    "read_details",
    "read_notes",
    "slice_options",
]

SliceAttribute = Annotated[
    str, typer.Option(metavar="NAME", help="Also judge the queries of each value of this attribute by themselves.")
]
SliceCaptionLength = Annotated[
    bool, typer.Option("--slice-caption-length", help="Also judge captions of 1-5, 6-8, 9-12, … words by themselves.")
]
Queries = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Also judge these queries by themselves: one item id a line.")
]
Gains = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE.csv",
        help="Also say what answers are worth per 1,000 queries: columns query_id, item_id and gain (or cost).",
    ),
]
TopK = Annotated[int, typer.Option(min=1, max=1_000, metavar="K", help="With --gains: answers that are shown.")]
GainsModality = Annotated[AnyModality, typer.Option(help="With --gains: what is searched.", case_sensitive=False)]

_HEADER: Final = ("query_id", "item_id")
_COLUMNS: Final = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class DetailOptions:
    """The options as they were given.

    Attributes:
        attribute: Whose values become slices; empty for none.
        caption_length: Slice by words of the caption.
        queries: File of query ids.
        gains: CSV file of gains.
        top_k: Answers that are shown.
        searched: What is searched for the gain.
    """

    attribute: str
    caption_length: bool
    queries: Path | None
    gains: Path | None
    top_k: int
    searched: AnyModality


@dataclass(frozen=True, slots=True, kw_only=True)
class Details:
    """What was asked for, files read.

    Attributes:
        attribute: Whose values become slices; empty for none.
        caption_length: Slice by words of the caption.
        query_ids: One slice; none for no such slice.
        gains: Rows of the CSV file; none for no such figure.
        top_k: Answers that are shown.
        searched: What is searched for the gain.
    """

    attribute: str
    caption_length: bool
    query_ids: Sequence[str]
    gains: Sequence[Gain]
    top_k: int
    searched: AnyModality


def read_details(asked: DetailOptions) -> Details:
    """Read the files that the options name.

    Raises:
        CommandError: A file cannot be read, holds nothing, or has a row that is not what it should be.
    """
    return Details(
        attribute=asked.attribute,
        caption_length=asked.caption_length,
        query_ids=[] if asked.queries is None else _query_ids(asked.queries),
        gains=[] if asked.gains is None else list(_gain_rows(asked.gains)),
        top_k=asked.top_k,
        searched=asked.searched,
    )


def slice_options(details: Details) -> SliceOptions | None:
    """Return what the mesh is asked to slice by; None for nothing."""
    options = SliceOptions(
        attribute=details.attribute, caption_length=details.caption_length, query_ids=details.query_ids
    )
    return None if options == SliceOptions(query_ids=details.query_ids[:0]) else options


def gain_options(details: Details) -> GainOptions | None:
    """Return what the mesh is told that answers are worth; None for nothing."""
    if not details.gains:
        return None
    return GainOptions(rows=details.gains, top_k=details.top_k, modality=details.searched)


def read_notes(details: Details, pairs: PairedEmbeddings) -> dict[Modality, ItemNotes]:
    """Return what a file of embeddings says of its rows beside.

    Raises:
        CommandError: It does not hold what was asked for.
    """
    from isthmus.core.modality import Modality
    from isthmus.core.notes import ItemNotes, value_text

    values = pairs.values(details.attribute) if details.attribute else {}
    words = pairs.values("words") if details.caption_length else {}
    return {
        modality: ItemNotes(
            ids=pairs.ids[modality],
            values=["" if value is None else value_text(value) for value in values.get(modality, ())],
            words=[_words(pairs.path, count) for count in words.get(modality, ())],
        )
        for modality in Modality
    }


def detail_request(details: Details, searched: Any) -> DetailRequest:
    """Return what the numerics are asked.

    Args:
        details: What was asked for.
        searched: Every pair of the file: a gain's answers come from all of them.

    Raises:
        OptionError: As `isthmus.core.gain.GainRequest`.
    """
    from isthmus.core.details import DetailRequest
    from isthmus.core.gain import GainRequest
    from isthmus.core.modality import Modality
    from isthmus.core.slices import SliceRequest

    slices = SliceRequest(
        by_attribute=bool(details.attribute),
        by_caption_length=details.caption_length,
        query_ids=details.query_ids,
    )
    gains = None
    if details.gains:
        gains = GainRequest(
            query_ids=[row.query_id for row in details.gains],
            item_ids=[row.item_id for row in details.gains],
            gains=[row.gain for row in details.gains],
            top_k=details.top_k,
            item_modality=None if details.searched == "any" else Modality(details.searched),
        )
    return DetailRequest(slices=slices if slices.cuts else None, gains=gains, searched=searched)


def _words(path: Path, count: Any) -> int:
    if count is None:
        return 0
    if isinstance(count, bool) or not isinstance(count, int) or count < 0:
        msg = f"{path}: words must be whole numbers of at least 0"
        raise CommandError(msg, reason="INVALID_DATA")
    return count


def _query_ids(path: Path) -> list[str]:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise _unreadable(path, error) from error
    ids = [line for line in lines if line.strip()]
    if not ids:
        msg = f"{path} holds no id"
        raise CommandError(msg, reason="EMPTY_INPUT", hint="one item id a line")
    return ids


def _gain_rows(path: Path) -> Iterator[Gain]:
    """Yield the rows; a first row `query_id,item_id,gain` or `…,cost` is a header, and a cost is a gain below zero.

    Rows are counted from 1, without the header and without empty lines.

    Raises:
        CommandError: It cannot be read; a row has another number of columns, no id, or no finite number.
    """
    sign, number = 1.0, 0
    try:
        with path.open(encoding="utf-8-sig", newline="") as lines:
            for row in csv.reader(lines, strict=True):
                cells = [cell.strip() for cell in row]
                if not any(cells):
                    continue
                if number == 0 and tuple(cell.lower() for cell in cells[:2]) == _HEADER:
                    sign = _sign(path, cells)
                    continue
                number += 1
                yield _gain_row(path, number, cells, sign)
    except csv.Error as error:
        msg = f"{path}: row {number + 1} is not CSV"
        raise CommandError(msg, reason="INVALID_DATA") from error
    except (OSError, UnicodeDecodeError) as error:
        raise _unreadable(path, error) from error
    if not number:
        msg = f"{path} holds no row"
        raise CommandError(msg, reason="EMPTY_INPUT", hint="columns query_id, item_id and gain")


def _sign(path: Path, header: Sequence[str]) -> float:
    signs = {"gain": 1.0, "cost": -1.0}
    name = header[2].lower() if len(header) == _COLUMNS else ""
    if name not in signs:
        msg = f"{path}: the header must be query_id,item_id,gain or query_id,item_id,cost"
        raise CommandError(msg, reason="INVALID_DATA")
    return signs[name]


def _gain_row(path: Path, number: int, cells: Sequence[str], sign: float) -> Gain:
    if len(cells) != _COLUMNS:
        msg = f"{path}: row {number} has {len(cells)} columns; it must have {_COLUMNS}"
        raise CommandError(msg, reason="INVALID_DATA", hint="columns query_id, item_id and gain")
    query_id, item_id, text = cells
    if not (query_id and item_id):
        msg = f"{path}: row {number} lacks a query id or an item id"
        raise CommandError(msg, reason="INVALID_DATA")
    try:
        gain = float(text)
    except ValueError:
        gain = math.nan
    if not math.isfinite(gain):
        msg = f"{path}: row {number} has no finite number as its gain"
        raise CommandError(msg, reason="INVALID_DATA")
    return Gain(query_id, item_id, sign * gain)


def _unreadable(path: Path, error: OSError | UnicodeDecodeError) -> CommandError:
    if isinstance(error, OSError):
        return unreadable(path, error)
    return CommandError(f"{path} is not UTF-8", reason="INVALID_DATA")
