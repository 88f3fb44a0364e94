"""Pairs from Hugging Face-style parquet: a column of images, a column of captions."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image, ImageOps

__all__ = ["PairData", "TrainingDataError", "read_pairs"]

_TEXT_COLUMNS: Final = ("captions", "caption", "text")
_READ_ROWS: Final = 256


class TrainingDataError(ValueError):
    """Training data that cannot be used; the message says which file and why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PairData:
    """Photos with their captions."""

    images: Sequence[bytes]
    """n image files."""
    captions: Sequence[Sequence[str]]
    """n lists of captions, none of them empty."""
    pair_keys: Sequence[str]
    """n keys; photos with the same key are the same thing."""

    def __len__(self) -> int:
        """Return the number of photos."""
        return len(self.images)

    def pictures(self) -> Iterator[Image.Image]:
        """Yield every photo, decoded, upright and in RGB, one at a time.

        Raises:
            TrainingDataError: A photo cannot be decoded.
        """
        for row, data in enumerate(self.images):
            try:
                with Image.open(io.BytesIO(data)) as picture:
                    yield ImageOps.exif_transpose(picture).convert("RGB")
            except OSError as error:
                msg = f"photo {row} cannot be decoded"
                raise TrainingDataError(msg) from error


def read_pairs(files: Sequence[Path]) -> PairData:
    """Read photos and captions.

    The column `image` holds structs with `bytes` (and perhaps `path`) or plain bytes; `captions`, `caption` or `text`
    holds one text or a list of texts. A photo's pair key is its path where there is one, else its place in its file.

    Args:
        files: Parquet files, or folders of them; read in the order of their names.

    Raises:
        TrainingDataError: A column is missing or empty, or there is no file.
    """
    found = sorted({file for path in files for file in (path.glob("*.parquet") if path.is_dir() else (path,))})
    if not found:
        msg = "no parquet file to train on"
        raise TrainingDataError(msg)
    images: list[bytes] = []
    captions: list[list[str]] = []
    keys: list[str] = []
    for file in found:
        for place, (image, texts) in enumerate(_rows(file)):
            data, name = (image.get("bytes"), image.get("path")) if isinstance(image, dict) else (image, None)
            told = [text for text in ([texts] if isinstance(texts, str) else texts or ()) if text and text.strip()]
            if not data or not told:
                msg = f"{file.name}: row {place} has no image bytes or no caption"
                raise TrainingDataError(msg)
            images.append(data)
            captions.append(told)
            keys.append(name or f"{file.name}:{place}")
    return PairData(images=images, captions=captions, pair_keys=keys)


def _rows(file: Path) -> Iterator[tuple[Any, Any]]:
    """Yield image and captions of each row.

    Raises:
        TrainingDataError: It is not parquet, or a column is missing.
    """
    try:
        with pq.ParquetFile(file) as parquet:
            names = parquet.schema_arrow.names
            text = next((name for name in _TEXT_COLUMNS if name in names), None)
            if "image" not in names or text is None:
                msg = f"{file.name}: needs a column image and one of {', '.join(_TEXT_COLUMNS)}"
                raise TrainingDataError(msg)
            for batch in parquet.iter_batches(batch_size=_READ_ROWS, columns=["image", text]):
                yield from zip(batch.column("image").to_pylist(), batch.column(text).to_pylist(), strict=True)
    except (OSError, pa.ArrowInvalid) as error:
        msg = f"{file.name}: cannot be read as parquet"
        raise TrainingDataError(msg) from error
