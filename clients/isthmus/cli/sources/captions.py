"""A file that says which captions an image has."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, Final

from isthmus.cli.sources.lines import read_lines
from isthmus.cli.sources.record import SourceError

__all__ = ["Captions"]

_FILE_KEYS: Final = ("file", "file_name", "filename", "image", "path", "id")
_CAPTION_KEYS: Final = ("captions", "caption", "text", "texts")


class Captions:
    """Captions by the name of their image.

    An image is looked up by its id, its path in its folder, its file name, and its file name without suffix; the first
    of these that the file knows counts.

    Args:
        by_name: Captions by name.
    """

    def __init__(self, by_name: Mapping[str, list[str]]) -> None:
        self._by_name = by_name
        self._used: set[str] = set()

    @classmethod
    def load(cls, path: Path | None) -> Captions:
        """Read a JSONL or TSV file; None gives no captions.

        JSONL has an object a line with `file` (or file_name, filename, image, path, id) and `captions` (or caption,
        text, texts; one or a list). TSV has file and caption, one caption a line; `#0` at the end of a file's name,
        as in Flickr8k's own file, is left out.

        Raises:
            SourceError: it cannot be read, or a line is not of that form.
        """
        if path is None:
            return cls({})
        read = _from_jsonl if path.suffix.lower() in {".jsonl", ".ndjson"} else _from_tsv
        by_name: dict[str, list[str]] = {}
        for number, line in read_lines(path):
            found = read(line)
            if found is None:
                msg = f"{path}, line {number}: a line of captions has a file and a caption"
                raise SourceError(msg)
            if number == 1 and found[0].lower() in _FILE_KEYS and read is _from_tsv:
                continue
            by_name.setdefault(found[0], []).extend(found[1])
        return cls(by_name)

    @property
    def is_empty(self) -> bool:
        """True when there are no captions at all."""
        return not self._by_name

    def of(self, *names: str) -> list[str]:
        """Return the captions of the image that goes by these names, the first that is known."""
        for name in names:
            path = PurePosixPath(name)
            for key in (name, path.name, path.stem):
                if key in self._by_name:
                    self._used.add(key)
                    return self._by_name[key]
        return []

    def unused(self) -> Iterator[str]:
        """Yield the names that no image asked for."""
        return (name for name in self._by_name if name not in self._used)


def _from_tsv(line: str) -> tuple[str, list[str]] | None:
    file, tab, caption = line.partition("\t")
    if not tab or not file:
        return None
    name, mark, number = file.rpartition("#")
    return (name if mark and number.isdecimal() else file), [caption]


def _from_jsonl(line: str) -> tuple[str, list[str]] | None:
    try:
        entry: Any = json.loads(line)
    except ValueError:
        return None
    if not isinstance(entry, dict):
        return None
    file = next((entry[key] for key in _FILE_KEYS if isinstance(entry.get(key), str)), None)
    captions = next((entry[key] for key in _CAPTION_KEYS if key in entry), None)
    if isinstance(captions, str):
        captions = [captions]
    if file is None or not isinstance(captions, list) or not all(isinstance(caption, str) for caption in captions):
        return None
    return file, captions
