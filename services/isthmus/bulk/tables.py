"""Blocks of parquet files: a column of images, a column of texts, or both."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from isthmus.bulk.blocks import Block, Columns, Found, Refusal, SourceError, captioned, open_store, texts_alone
from isthmus.bulk.ids import stable_id

__all__ = ["TableReader", "table_blocks"]

_TEXT_COLUMNS: Final = ("captions", "caption", "text", "texts")
_READ_ROWS: Final = 64
_NAMES_KEPT_COUNT: Final = 4


def table_blocks(location: str, *, stem: str, identity: str, rows: int, columns: Columns) -> Iterator[Block]:
    """Cut a file into blocks.

    Raises:
        SourceError: it is no parquet file, or has none of the columns.
    """
    with _opened(location) as file:
        found = _columns(file, columns, location)
        total = int(file.metadata.num_rows)
    for first in range(0, total, rows):
        yield Block(
            kind="parquet",
            location=location,
            stem=stem,
            identity=identity,
            first=first,
            count=min(rows, total - first),
            columns=found,
        )


class TableReader:
    """Reads blocks. One that follows the block before it goes on where that ended: row groups are read from the top."""

    def __init__(self) -> None:
        self._file: pq.ParquetFile | None = None
        self._rows: Iterator[tuple[int, dict[str, Any]]] = iter(())
        self._at: tuple[str, Columns, int] | None = None

    def read(self, block: Block) -> Iterator[Found]:
        """Yield the items of a block.

        Raises:
            SourceError: the file is damaged or changed.
        """
        names = _names(block.location, block.identity, block.columns, block.stem)
        if self._at != (block.location, block.columns, block.first):
            self._open(block)
        self._at = None  # until it has ended well
        for _ in range(block.count):
            try:
                number, row = next(self._rows)
            except (StopIteration, OSError, pa.ArrowException) as error:
                msg = f"{block.location} is damaged, or has changed, near row {block.first}"
                raise SourceError(msg) from error
            yield from _items(block, number, names[number], row)
        self._at = (block.location, block.columns, block.first + block.count)

    def _open(self, block: Block) -> None:
        if self._file is not None:
            self._file.close(force=True)
        self._file = _opened(block.location)
        wanted = [block.columns.image, block.columns.texts, block.columns.pair]
        has = self._file.schema_arrow.names
        self._rows = _rows(self._file, [name for name in wanted if name and name in has], block.first)


def _opened(location: str) -> pq.ParquetFile:
    system, path = open_store(location)
    try:
        return pq.ParquetFile(system.open_input_file(path))
    except (OSError, pa.ArrowInvalid) as error:
        msg = f"{location} cannot be read as parquet"
        raise SourceError(msg) from error


def _rows(file: pq.ParquetFile, columns: Sequence[str], first: int) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (number, row) from a row on; row groups before it are not read."""
    start, group = 0, 0
    while group < file.num_row_groups and start + file.metadata.row_group(group).num_rows <= first:
        start += file.metadata.row_group(group).num_rows
        group += 1
    groups = list(range(group, file.num_row_groups))
    for batch in file.iter_batches(batch_size=_READ_ROWS, columns=list(columns), row_groups=groups):
        after = start + batch.num_rows
        if after > first:
            skipped = max(first - start, 0)
            for offset, row in enumerate(batch.slice(skipped).to_pylist()):
                yield start + skipped + offset, row
        start = after


def _columns(file: pq.ParquetFile, columns: Columns, location: str) -> Columns:
    """Return the columns that are there.

    Raises:
        SourceError: one that was named is not, or there are neither images nor texts.
    """
    schema = file.schema_arrow
    texts = columns.texts or next((name for name in _TEXT_COLUMNS if name in schema.names), None)
    image = columns.image if columns.image in schema.names and _holds_images(schema.field(columns.image).type) else ""
    named = [name for name in (columns.texts, columns.pair) if name is not None]
    missing = [name for name in named if name not in schema.names]
    if missing or (not image and texts is None):
        what = f"no column {missing[0]}" if missing else f"neither images in {columns.image} nor texts"
        msg = f"{location} has {what}; it has {', '.join(schema.names)}"
        raise SourceError(msg)
    return Columns(image=image, texts=texts, id=columns.id, pair=columns.pair)


def _holds_images(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind):
        return any(field.name == "bytes" for field in kind)
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


@functools.lru_cache(maxsize=_NAMES_KEPT_COUNT)
def _names(location: str, _identity: str, columns: Columns, stem: str) -> Sequence[str]:
    """Return the id of every row: its own, else its image's path, else its number; of two alike the first keeps it."""
    with _opened(location) as file:
        schema = file.schema_arrow
        wanted = [columns.id] if columns.id in schema.names else []
        image = schema.field(columns.image).type if columns.image else None
        if image is not None and pa.types.is_struct(image) and any(field.name == "path" for field in image):
            wanted.append(f"{columns.image}.path")
        rows = file.read(columns=wanted).to_pylist() if wanted else [{}] * int(file.metadata.num_rows)
    seen: set[str] = set()
    names = []
    for number, row in enumerate(rows):
        own = next((text for text in (row.get(columns.id), _path(row, columns.image)) if text not in {None, ""}), None)
        name = stable_id(stem, f"row-{number}" if own is None else str(own))
        if name in seen:
            name = stable_id(stem, f"row-{number}")
        seen.add(name)
        names.append(name)
    return names


def _path(row: Mapping[str, Any], image: str) -> str | None:
    found = row.get(image)
    path = found.get("path") if isinstance(found, dict) else None
    # A path that leads into somebody's machine is only good for its name.
    return PurePosixPath(path).name if path and PurePosixPath(path).is_absolute() else path


def _items(block: Block, number: int, item_id: str, row: Mapping[str, Any]) -> Iterator[Found]:
    columns = block.columns
    texts = _texts(row.get(columns.texts)) if columns.texts is not None else []
    own_pair = row.get(columns.pair) if columns.pair is not None else None
    pair_key = item_id if own_pair is None else str(own_pair)
    if not columns.image:
        yield from texts_alone(number, item_id, texts, pair_key=pair_key) if texts else [_empty(block, number, item_id)]
        return
    value = row.get(columns.image)
    image = value.get("bytes") if isinstance(value, dict) else value
    if image is None:
        yield _empty(block, number, item_id)
        yield from _lonely(number, item_id, texts, pair_key)
    else:
        yield from captioned(number, item_id, image, texts, pair_key=pair_key)


def _lonely(number: int, item_id: str, texts: Sequence[str], pair_key: str) -> Iterator[Found]:
    """Yield the texts of a row whose image is missing, under the ids that they have beside an image."""
    return iter(list(captioned(number, item_id, b"", texts, pair_key=pair_key))[1:])


def _empty(block: Block, number: int, item_id: str) -> Refusal:
    what = "bytes of an image" if block.columns.image else "text"
    message = f"the row holds no {what}"
    return Refusal(source=block.location, row=number, id=item_id, reason="EMPTY_INPUT", message=message)


def _texts(value: Any) -> list[str]:
    if value is None:
        return []
    return [str(text) for text in value if text is not None] if isinstance(value, list) else [str(value)]
