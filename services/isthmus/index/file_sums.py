"""Checksums of a table's data files, kept beside them: what Lance is given to read is what was written.

Every row has a digest of its own, but a row has to be decoded before it can be checked, and a single flipped bit can
make Lance's decoder ask for more memory than there is, which ends the process. A whole file is checked first. This is
for folders: an object store checks what it holds by itself.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from isthmus.runtime.base.errors import DataLossError

__all__ = ["DATA", "DELETIONS", "FileSums"]

DATA: Final = "data"
"""Folder of a table's data files."""
DELETIONS: Final = "_deletions"
"""Folder of the files that say which rows of a data file do not count any more."""

_FOLDER: Final = "_sums"
_HEX_COUNT: Final = 64


class FileSums:
    """SHA-256 sums of one table's data and deletion files; each is checked once in this object's life. For any threads.

    A sum that is absent or cut short, as a power loss may leave it, says nothing: its file is left to the row digests.

    Args:
        uri: Where the table lies.
    """

    def __init__(self, uri: str) -> None:
        self._root = None if "://" in uri else Path(uri)
        self._checked: set[str] = set()

    def note(self, names: Iterable[str], *, folder: str = DATA) -> None:
        """Write the sums of new files, before a commit names them."""
        if self._root is None:
            return
        sums = self._root / _FOLDER
        sums.mkdir(exist_ok=True)
        for name in names:
            (sums / name).write_text(_sum(self._root / folder / name))
            self._checked.add(name)

    def check(self, names: Iterable[str], *, folder: str = DATA) -> None:
        """Check files that were not checked yet.

        Raises:
            DataLossError: STORE_DAMAGED; a file is not what was written.
            OSError: a file is missing or cannot be read.
        """
        if self._root is None:
            return
        for name in set(names) - self._checked:
            known = self._known(name)
            if known and _sum(self._root / folder / name) != known:
                msg = "a data file of the store is not what was written"
                raise DataLossError(msg, reason="STORE_DAMAGED")
            self._checked.add(name)

    def forget_removed(self) -> None:
        """Remove the sums of files that a clean-up removed."""
        if self._root is None:
            return
        for file in (self._root / _FOLDER).glob("*"):
            if not any((self._root / folder / file.name).exists() for folder in (DATA, DELETIONS)):
                file.unlink(missing_ok=True)

    def _known(self, name: str) -> str:
        assert self._root is not None
        try:
            text = (self._root / _FOLDER / name).read_text()
        except (FileNotFoundError, UnicodeDecodeError):
            return ""
        return text if len(text) == _HEX_COUNT else ""


def _sum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
