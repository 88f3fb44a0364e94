"""Tables of pairs to match: CSV with a column for the image and one for the text of each row."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from isthmus.cli.sources.record import SourceError
from isthmus.client import Pair

__all__ = ["PairRow", "count_rows", "read_pair_rows"]

_IMAGE_COLUMNS: Final = ("image", "image_id")
_TEXT_COLUMNS: Final = ("text", "text_id")
_FIELD_MAX_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class PairRow:
    """A row of such a table.

    Attributes:
        number: Of the row, from 1, the heading not counted.
        image: What it names as its image.
        text: What it names as its text.
        pair: To judge; None when the row is bad.
        problem: What is wrong with it; empty for a good one.
    """

    number: int
    image: str
    text: str
    pair: Pair | None
    problem: str = ""


def count_rows(path: Path) -> int | None:
    """Return how many rows the table has, for a bar; None for a pipe, which can be read only once."""
    return sum(1 for _ in _records(path)) if path.is_file() else None


def read_pair_rows(path: Path) -> Iterator[PairRow]:
    """Yield the rows, one at a time; an image is a path, beside the table where it is relative.

    Columns are `image` (a path) or `image_id`, and `text` or `text_id`; where a table has both of a side, a row may
    use either.

    Raises:
        SourceError: the table cannot be read, is not UTF-8, or has no column for a side.
    """
    for number, record in enumerate(_records(path), 1):
        image = _given(record, _IMAGE_COLUMNS)
        text = _given(record, _TEXT_COLUMNS)
        yield _row(number, image, text, folder=path.parent)


def _row(number: int, image: Sequence[tuple[str, str]], text: Sequence[tuple[str, str]], *, folder: Path) -> PairRow:
    named = (image[0][1] if image else "", text[0][1] if text else "")
    for side, given, columns in (("image", image, _IMAGE_COLUMNS), ("text", text, _TEXT_COLUMNS)):
        if len(given) != 1:
            problem = f"the {side} is given {'twice' if given else 'nowhere'}: fill one of {', '.join(columns)}"
            return PairRow(number, *named, pair=None, problem=problem)
    values = dict([*image, *text])
    data = None
    if "image" in values:
        try:
            data = (folder / values["image"]).read_bytes()
        except OSError as error:
            return PairRow(number, *named, pair=None, problem=f"image: {error.strerror or error}")
        except ValueError:
            return PairRow(number, *named, pair=None, problem="image: that is no path")
    pair = Pair(image=data, image_id=values.get("image_id"), text=values.get("text"), text_id=values.get("text_id"))
    return PairRow(number, *named, pair=pair)


def _given(record: dict[str, str], columns: Sequence[str]) -> list[tuple[str, str]]:
    return [(name, record[name]) for name in columns if record.get(name)]


def _records(path: Path) -> Iterator[dict[str, str]]:
    csv.field_size_limit(_FIELD_MAX_BYTES)
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            columns = reader.fieldnames or []
            for wanted in (_IMAGE_COLUMNS, _TEXT_COLUMNS):
                if not set(wanted) & set(columns):
                    msg = f"{path} has no column {' or '.join(wanted)}; it has {', '.join(columns) or 'none'}"
                    raise SourceError(msg)
            yield from reader
    except UnicodeDecodeError as error:
        msg = f"{path} is not UTF-8"
        raise SourceError(msg) from error
    except csv.Error as error:
        msg = f"{path} cannot be read as CSV"
        raise SourceError(msg) from error
    except OSError as error:
        msg = f"{path}: {error.strerror or error}"
        raise SourceError(msg) from error
