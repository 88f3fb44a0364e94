"""From what a person names to sources."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from isthmus.cli.sources.captions import Captions
from isthmus.cli.sources.images import IMAGE_SUFFIXES, Thumbnailer, files_under, open_images
from isthmus.cli.sources.record import Source, SourceError
from isthmus.cli.sources.texts import open_jsonl, open_tsv
from isthmus.cli.sources.vectors import open_npz
from isthmus.client import Modality

__all__ = ["open_sources"]

_PARQUET: Final = ".parquet"
_JSONL: Final = frozenset({".jsonl", ".ndjson"})
_TSV: Final = frozenset({".tsv", ".txt"})
_NPZ: Final = ".npz"


def open_sources(
    paths: Sequence[Path], *, captions: Captions, thumbnailer: Thumbnailer, spaces: Mapping[Modality, str]
) -> Iterator[Source]:
    """Yield the sources at `paths`: one each, and one more for every parquet file in a folder.

    Raises:
        SourceError: one of them is nothing that can be indexed.
        ImportError: parquet is given and pyarrow is not installed.
    """
    for path in paths:
        if not path.exists():
            msg = f"{path}: no such file or folder"
            raise SourceError(msg)
        if path.is_dir():
            files = list(files_under(path))
            images = [file for file in files if file.suffix.lower() in IMAGE_SUFFIXES]
            tables = [file for file in files if file.suffix.lower() == _PARQUET]
            if not images and not tables:
                msg = f"{path} holds no image (jpg, jpeg, png, webp) and no parquet file"
                raise SourceError(msg)
            if images:
                yield open_images(path, images, captions, thumbnailer)
            for file in tables:
                yield _open_table(file, captions, thumbnailer)
        else:
            yield _open_file(path, captions, thumbnailer, spaces)


def _open_file(path: Path, captions: Captions, thumbnailer: Thumbnailer, spaces: Mapping[Modality, str]) -> Source:
    suffix = path.suffix.lower()
    if suffix in IMAGE_SUFFIXES:
        return open_images(path, [path], captions, thumbnailer)
    if suffix == _PARQUET:
        return _open_table(path, captions, thumbnailer)
    if suffix in _JSONL:
        return open_jsonl(path)
    if suffix in _TSV:
        return open_tsv(path)
    if suffix == _NPZ:
        return open_npz(path, captions, spaces)
    msg = f"{path} is nothing that can be indexed: give folders of images, images, .parquet, .tsv, .jsonl or .npz"
    raise SourceError(msg)


def _open_table(path: Path, captions: Captions, thumbnailer: Thumbnailer) -> Source:
    # pyarrow is part of the extra serve: a client install has none.
    from isthmus.cli.sources.tables import open_parquet

    return open_parquet(path, captions, thumbnailer)
