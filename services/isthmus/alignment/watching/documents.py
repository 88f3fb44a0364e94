"""Small documents beside the tenants' aligners, in their folder or in their object store. Blocking; for any thread.

Paths are names joined by slashes. No tenant's name begins with an underscore, so nothing of theirs is in the way.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Final, Protocol

from pyarrow import fs

from isthmus.alignment.store_errors import store_errors
from isthmus.runtime.base.object_store import ObjectStore

__all__ = ["Documents", "DocumentsInFolder", "DocumentsInObjectStore", "open_documents"]

_ROOT: Final = "_watch"
_MAX_BYTES: Final = 256 * 1024


class Documents(Protocol):
    """A place for documents.

    Every method raises OSError, or UnavailableError BACKEND_UNAVAILABLE, when the place does not answer.
    """

    def names(self, folder: str) -> list[str]:
        """Return the names in a folder, sorted; none when there is no such folder."""
        ...

    def read(self, path: str) -> bytes | None:
        """Return a document; None when there is none, or one that is too large to be ours."""
        ...

    def write(self, path: str, data: bytes) -> None:
        """Write a document whole, durably, in place of any of that name."""
        ...

    def remove(self, folder: str) -> None:
        """Remove a folder and what is in it."""
        ...


def open_documents(location: Path | str, reach: ObjectStore) -> Documents:
    """Return the documents beside the aligners at `location`.

    Raises:
        UnavailableError: BACKEND_UNAVAILABLE; the object store cannot be reached.
    """
    if isinstance(location, Path):
        return DocumentsInFolder(location / _ROOT)
    with store_errors():
        files, root = reach.file_system(location)
    return DocumentsInObjectStore(files, f"{root}/{_ROOT}")


class DocumentsInFolder:
    """`Documents` in a folder.

    Args:
        folder: Made when something is written.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def names(self, folder: str) -> list[str]:
        """Return the names in a folder; files that are being written are passed over."""
        home = self._folder / folder
        return sorted(path.name for path in home.iterdir() if path.name[0] != ".") if home.is_dir() else []

    def read(self, path: str) -> bytes | None:
        """Return a document."""
        try:
            with (self._folder / path).open("rb") as file:
                data = file.read(_MAX_BYTES + 1)
        except FileNotFoundError:
            return None
        return data if len(data) <= _MAX_BYTES else None

    def write(self, path: str, data: bytes) -> None:
        """Write a document: a reader and a crash see the old one or the new one."""
        target = self._folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("wb", dir=target.parent, prefix=f".{target.name}-", delete=False) as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(file.name).replace(target)
        descriptor = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def remove(self, folder: str) -> None:
        """Remove a folder."""
        shutil.rmtree(self._folder / folder, ignore_errors=True)


class DocumentsInObjectStore:
    """`Documents` in an object store.

    Args:
        files: The store.
        root: Where in it.
    """

    def __init__(self, files: fs.FileSystem, root: str) -> None:
        self._files = files
        self._root = root

    def names(self, folder: str) -> list[str]:
        """Return the names in a folder."""
        selector = fs.FileSelector(f"{self._root}/{folder}".rstrip("/"), allow_not_found=True)
        with store_errors():
            return sorted(entry.base_name for entry in self._files.get_file_info(selector))

    def read(self, path: str) -> bytes | None:
        """Return a document."""
        with store_errors():
            try:
                with self._files.open_input_file(f"{self._root}/{path}") as file:
                    data: bytes | None = file.read() if file.size() <= _MAX_BYTES else None
            except FileNotFoundError:
                return None
        return data

    def write(self, path: str, data: bytes) -> None:
        """Write a document."""
        with store_errors(), self._files.open_output_stream(f"{self._root}/{path}") as file:
            file.write(data)

    def remove(self, folder: str) -> None:
        """Remove a folder."""
        with store_errors():
            if self.names(folder):
                self._files.delete_dir(f"{self._root}/{folder}")
