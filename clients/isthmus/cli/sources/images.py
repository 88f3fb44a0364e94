"""Folders of images."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from isthmus.bulk.ids import source_name, stable_id
from isthmus.cli.sources.captions import Captions
from isthmus.cli.sources.record import Record, Refused, Source, captioned
from isthmus.client import Limits

__all__ = ["IMAGE_SUFFIXES", "Thumbnailer", "files_under", "open_images"]

IMAGE_SUFFIXES: Final = frozenset({".jpg", ".jpeg", ".png", ".webp"})
"""Suffixes of files that are taken for images."""

Thumbnailer = Callable[[bytes], bytes]
"""Makes a small picture of an image; empty when there is none to be made."""


def files_under(folder: Path) -> Iterator[Path]:
    """Yield the files below a folder in a fixed order, without hidden ones; links to folders are not followed."""
    for where, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(where, name) for name in sorted(files) if not name.startswith("."))


def open_images(root: Path, files: list[Path], captions: Captions, thumbnailer: Thumbnailer) -> Source:
    """Open images: those of a folder, or one alone.

    Ids are the folder's name and the path below it (`photos/2021/cat.jpg`); an image alone has its file name.

    Args:
        root: The folder, or the one image.
        files: The images.
        captions: Of any of them.
        thumbnailer: Makes their thumbnails.
    """
    alone = root.is_file()

    def names(file: Path) -> tuple[str, str]:
        """Return (id, path below the folder)."""
        below = file.name if alone else file.relative_to(root).as_posix()
        return stable_id("" if alone else source_name(root), below), below

    def records() -> Iterator[Record]:
        for file in files:
            item_id, below = names(file)
            content = _read(item_id, file)
            if isinstance(content, Refused):
                yield content
            else:
                yield from captioned(item_id, content, captions.of(item_id, below), thumbnail=thumbnailer(content))

    texts = [len(captions.of(*names(file))) for file in files]
    return Source(
        path=root,
        records=records,
        total=len(files) + sum(texts),
        contents=frozenset({"image", "text"} if any(texts) else {"image"}),
    )


def _read(item_id: str, file: Path) -> bytes | Refused:
    try:
        # What no message can hold is not even read.
        if file.stat().st_size > Limits().message_max_bytes:
            return Refused(item_id, "IMAGE_TOO_LARGE", f"the file has {file.stat().st_size} bytes")
        return file.read_bytes()
    except OSError as error:
        return Refused(item_id, "UNREADABLE_FILE", error.strerror or str(error))
