"""Parquet in the layout of Hugging Face data sets: a column of images, columns of texts, or both."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from isthmus.bulk.ids import source_name, stable_id
from isthmus.cli.sources.captions import Captions
from isthmus.cli.sources.images import Thumbnailer
from isthmus.cli.sources.record import Record, Refused, Source, SourceError, captioned, text_items
from isthmus.client import Modality

__all__ = ["open_parquet"]

_IMAGE: Final = "image"
_TEXT_COLUMNS: Final = ("captions", "caption", "text", "texts")
_ID: Final = "id"
_ROWS_AT_ONCE: Final = 64


def open_parquet(path: Path, captions: Captions, thumbnailer: Thumbnailer) -> Source:
    """Open a parquet file.

    `image` is a struct of bytes and path, or binary; `captions` (or caption, text, texts) is a string or a list of
    strings. Ids are the file's name without suffix and the row's `id` if there is one, else its image's path, else
    `row-N`; captions are numbered from `#0`. An image and its texts are a pair.

    Raises:
        SourceError: it is no parquet file, or has neither images nor texts.
    """
    try:
        file = pq.ParquetFile(path)
    except (OSError, pa.ArrowInvalid) as error:
        msg = f"{path} cannot be read as parquet"
        raise SourceError(msg) from error
    columns = file.schema_arrow.names
    has_image = _IMAGE in columns and _holds_images(file.schema_arrow.field(_IMAGE).type)
    texts = next((name for name in _TEXT_COLUMNS if name in columns), None)
    if not has_image and texts is None:
        msg = f"{path} has neither a column image nor a column captions or text; it has {', '.join(columns)}"
        raise SourceError(msg)
    wanted = [name for name in ([_IMAGE] if has_image else []) + [texts, _ID] if name is not None and name in columns]
    contents: set[Modality] = {"image"} if has_image else set()
    if texts is not None or not captions.is_empty:
        contents.add("text")
    return Source(
        path=path,
        records=lambda: _records(path, wanted, texts, captions, thumbnailer),
        total=_total(file, texts, captions, has_image=has_image),
        contents=frozenset(contents),
    )


def _total(file: pq.ParquetFile, texts: str | None, captions: Captions, *, has_image: bool) -> int | None:
    """Return how many items the file makes; None when only reading all of it would tell."""
    images = int(file.metadata.num_rows) if has_image else 0
    if texts is not None:
        return images + _count_texts(file, texts)
    return images if captions.is_empty else None


def _holds_images(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind):
        return any(field.name == "bytes" for field in kind)
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _count_texts(file: pq.ParquetFile, column: str) -> int:
    """Return how many texts a column holds."""
    values = file.read(columns=[column]).column(column)
    if pa.types.is_list(values.type) or pa.types.is_large_list(values.type):
        return int(pc.sum(pc.list_value_length(values)).as_py() or 0)
    return int(len(values) - values.null_count)


def _records(
    path: Path, columns: Sequence[str], texts: str | None, captions: Captions, thumbnailer: Thumbnailer
) -> Iterator[Record]:
    stem = PurePosixPath(source_name(path)).stem
    seen: set[str] = set()
    number = 0
    try:
        for batch in pq.ParquetFile(path).iter_batches(batch_size=_ROWS_AT_ONCE, columns=list(columns)):
            for row in batch.to_pylist():
                item_id, image = _identify(stem, row, number, seen)
                number += 1
                own = _texts(row.get(texts)) if texts is not None else []
                if _IMAGE not in columns:
                    yield from text_items(item_id, own, pair_key=item_id) if own else [_empty(item_id, "text")]
                elif image is None:
                    yield _empty(item_id, "bytes of an image")
                else:
                    found = own or captions.of(item_id, *_paths(row))
                    yield from captioned(item_id, image, found, thumbnail=thumbnailer(image))
    except (OSError, pa.ArrowException) as error:
        msg = f"{path} is damaged near row {number}"
        raise SourceError(msg) from error


def _empty(item_id: str, what: str) -> Refused:
    return Refused(item_id, "EMPTY_INPUT", f"the row holds no {what}")


def _identify(stem: str, row: dict[str, Any], number: int, seen: set[str]) -> tuple[str, bytes | None]:
    """Return the row's id and its image's bytes. A name that occurs again does not name its row."""
    name = next((text for text in (row.get(_ID), *_paths(row)) if text not in {None, ""}), None)
    item_id = stable_id(stem, f"row-{number}" if name is None else str(name))
    if item_id in seen:
        item_id = stable_id(stem, f"row-{number}")
    seen.add(item_id)
    image = row.get(_IMAGE)
    return item_id, image.get("bytes") if isinstance(image, dict) else image


def _paths(row: dict[str, Any]) -> list[str]:
    image = row.get(_IMAGE)
    path = image.get("path") if isinstance(image, dict) else None
    # A path that leads into somebody's machine is only good for its name.
    return [PurePosixPath(path).name if PurePosixPath(path).is_absolute() else path] if path else []


def _texts(value: Any) -> list[str]:
    if value is None:
        return []
    return [str(text) for text in value if text is not None] if isinstance(value, list) else [str(value)]
