"""TSV and JSONL files of texts."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from isthmus.bulk.ids import source_name, stable_id
from isthmus.cli.sources.lines import read_lines
from isthmus.cli.sources.record import Record, Refused, Source, text_item, text_items

__all__ = ["open_jsonl", "open_tsv"]

_TEXT_KEYS: Final = ("text", "caption", "captions", "texts")
_COLUMNS: Final = frozenset({*_TEXT_KEYS, "id", "pair_key"})


def open_tsv(path: Path) -> Source:
    """Open a TSV file: `text`, or `id` and `text`; with a header line, any of id, text (or caption) and pair_key.

    Raises:
        SourceError: it cannot be read.
    """
    total = sum(1 for _ in read_lines(path))
    return Source(path=path, records=lambda: _tsv(path), total=total, contents=frozenset({"text"}))


def open_jsonl(path: Path) -> Source:
    """Open a JSONL file: objects with `text` (or caption, captions, texts), and optionally id, pair_key, attributes.

    A list of texts is numbered from `#0` and belongs together.

    Raises:
        SourceError: it cannot be read.
    """
    total = sum(1 for _ in _jsonl(path))
    return Source(path=path, records=lambda: _jsonl(path), total=total, contents=frozenset({"text"}))


def _item_id(path: Path, given: str, number: int) -> str:
    """Return the id a line gives, else one made of the file's name and the line's number."""
    return stable_id(given) if given else stable_id(source_name(path), str(number))


def _header(cells: Sequence[str]) -> list[str] | None:
    """Return the names of the columns when the line is one of names."""
    names = [cell.strip().lower() for cell in cells]
    return names if set(names) & set(_TEXT_KEYS) and set(names) <= _COLUMNS else None


def _tsv(path: Path) -> Iterator[Record]:
    names: list[str] | None = None
    for number, line in read_lines(path):
        cells = line.split("\t")
        if number == 1 and (names := _header(cells)) is not None:
            continue
        row = dict(zip(names or (["text"] if len(cells) == 1 else ["id", "text"]), cells, strict=False))
        item_id = _item_id(path, row.get("id", "").strip(), number)
        text = next((row[key] for key in _TEXT_KEYS if key in row), None)
        if text is None:
            yield Refused(item_id, "INVALID_LINE", f"line {number} has no text")
        else:
            yield text_item(item_id, text, pair_key=row.get("pair_key", "").strip())


def _jsonl(path: Path) -> Iterator[Record]:
    for number, line in read_lines(path):
        here = _item_id(path, "", number)
        try:
            row: Any = json.loads(line)
        except ValueError:
            yield Refused(here, "INVALID_LINE", f"line {number} is not JSON")
            continue
        texts = _texts(row)
        if not texts:
            yield Refused(here, "INVALID_LINE", f"line {number} is not an object with a text")
            continue
        attributes = row.get("attributes", {})
        if not _are_attributes(attributes):
            yield Refused(here, "INVALID_ATTRIBUTES", f"line {number}: attributes must be text, numbers or booleans")
            continue
        item_id = _item_id(path, str(row.get("id", "")), number)
        for item in text_items(item_id, texts, pair_key=str(row.get("pair_key", ""))):
            yield dataclasses.replace(item, attributes={**item.attributes, **attributes})


def _texts(row: Any) -> list[str]:
    """Return the texts of a row; none when it holds something else."""
    if not isinstance(row, dict):
        return []
    found = next((row[key] for key in _TEXT_KEYS if key in row), None)
    texts: list[Any] = found if isinstance(found, list) else [found]
    return texts if all(isinstance(text, str) for text in texts) else []


def _are_attributes(found: Any) -> bool:
    return isinstance(found, dict) and all(isinstance(value, (str, int, float, bool)) for value in found.values())
