"""From what a person names to blocks: files, folders and globs, here or in an object store."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from pyarrow import fs

from isthmus.bulk.blocks import Block, Columns, SourceError, open_store
from isthmus.bulk.files import IMAGE_SUFFIXES, image_blocks, tar_blocks
from isthmus.bulk.tables import table_blocks

__all__ = ["plan_blocks"]

_WILD: Final = frozenset("*?[")
_TABLE: Final = ".parquet"
_SHARD: Final = ".tar"


@dataclass(frozen=True, slots=True)
class _File:
    """A file of a source.

    Attributes:
        root: The folder that was named, or that a glob begins in.
        below: Its path below that.
        size: Bytes.
        changed: When.
    """

    root: str
    below: str
    size: int
    changed: str

    @property
    def location(self) -> str:
        return f"{self.root.rstrip('/')}/{self.below}"

    @property
    def suffix(self) -> str:
        return PurePosixPath(self.below).suffix.lower()

    @property
    def identity(self) -> str:
        return f"{self.size} {self.changed}"


def plan_blocks(sources: Sequence[str], *, rows: int, columns: Columns) -> list[Block]:
    """Cut sources into blocks, the same on every run while they do not change.

    Images below a folder are one source, named after it; a parquet file or a shard is one each, named after its stem.

    Args:
        sources: Paths, `file://`, `s3://`, `gs://` or `az://`: of files, folders, or with `*`, `?`, `[…]` and `**`.
        rows: Of a block: images with their texts, or texts.
        columns: Of parquet files.

    Raises:
        SourceError: there is nothing to index, a file cannot be read, or two sources would give items the same ids.
    """
    names: dict[str, str] = {}
    blocks: list[Block] = []
    for source in sources:
        found = [file for file in _find(source) if not _hidden(file.below)]
        images = [file for file in found if file.suffix in IMAGE_SUFFIXES]
        others = [file for file in found if file.suffix in {_TABLE, _SHARD}]
        if not images and not others:
            msg = f"{source} names no image (jpg, jpeg, png, webp), no .parquet and no .tar"
            raise SourceError(msg)
        if images:
            root = images[0].root
            stem = _claim(names, PurePosixPath(open_store(_whole(root))[1]).name, root)
            listed = [(file.below, file.size, file.changed) for file in images]
            blocks += image_blocks(root, listed, stem=stem, rows=rows)
        for file in others:
            stem = _claim(names, PurePosixPath(file.below).stem, file.location)
            if file.suffix == _TABLE:
                blocks += table_blocks(file.location, stem=stem, identity=file.identity, rows=rows, columns=columns)
            else:
                blocks += tar_blocks(file.location, stem=stem, identity=file.identity, rows=rows)
    return blocks


def _claim(names: dict[str, str], stem: str, location: str) -> str:
    """Return a stem that no other source has.

    Raises:
        SourceError: another one has it.
    """
    other = names.setdefault(stem, location)
    if other != location:
        msg = f"{other} and {location} would give their items the same ids; rename one, or index them one by one"
        raise SourceError(msg)
    return stem


def _whole(location: str) -> str:
    """Return a local path in full, so that its last part is a name."""
    return location if "://" in location else str(Path(location).resolve())


def _hidden(below: str) -> bool:
    return any(part.startswith(".") for part in PurePosixPath(below).parts)


def _find(source: str) -> Iterator[_File]:
    """Yield the files that a source names, in the order of their paths.

    Raises:
        SourceError: there is none, or they cannot be listed.
    """
    root, pattern = _split(_whole(source.removeprefix("file://")))
    try:
        system, path = open_store(root)
        info = system.get_file_info(path)
        if info.type is fs.FileType.File and not pattern:
            folder, _, name = root.rpartition("/")
            yield _File(folder, name, int(info.size), _changed(info))
            return
        listed = (
            system.get_file_info(fs.FileSelector(path, recursive=True)) if info.type is fs.FileType.Directory else []
        )
    except (OSError, ValueError) as error:
        msg = f"{source} cannot be read"
        raise SourceError(msg) from error
    if info.type is fs.FileType.NotFound:
        msg = f"{source}: no such file or folder"
        raise SourceError(msg)
    found = {
        PurePosixPath(entry.path).relative_to(path).as_posix(): entry
        for entry in listed
        if entry.type is fs.FileType.File
    }
    for below in sorted(found):
        if not pattern or _matches(below.split("/"), pattern):
            yield _File(root, below, int(found[below].size), _changed(found[below]))


def _changed(info: fs.FileInfo) -> str:
    return str(info.mtime_ns)


def _split(location: str) -> tuple[str, list[str]]:
    """Return the folder before the first part with a wildcard, and the pattern from there."""
    scheme, mark, rest = location.rpartition("://")
    parts = rest.split("/")
    wild = next((place for place, part in enumerate(parts) if _WILD & set(part)), None)
    if wild is None:
        return location, []
    return f"{scheme}{mark}{'/'.join(parts[:wild])}", parts[wild:]


def _matches(parts: Sequence[str], pattern: Sequence[str]) -> bool:
    if not pattern:
        return not parts
    if pattern[0] == "**":
        return any(_matches(parts[skipped:], pattern[1:]) for skipped in range(len(parts) + 1))
    return bool(parts) and fnmatch.fnmatchcase(parts[0], pattern[0]) and _matches(parts[1:], pattern[1:])
