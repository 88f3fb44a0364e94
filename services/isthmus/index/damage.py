"""Tell a damaged store from one that does not answer, and a lost commit from none.

Lance raises the same kinds of errors for both, and it opens the version before without a word when the file that makes
a version, its manifest, is gone.
"""

from __future__ import annotations

import json
import logging
from typing import Final

import pyarrow as pa
from pyarrow import fs

from isthmus.index.catalog import StorePaths
from isthmus.runtime.base.errors import DataLossError, IsthmusError, UnavailableError

__all__ = ["as_store_error", "check_nothing_lost", "newest_commit"]

log = logging.getLogger("isthmus.index")

_MANIFESTS: Final = "_versions"
_HINT: Final = "latest_version_hint.json"
_TRANSACTIONS: Final = "_transactions"
_READING: Final = (OSError, ValueError, LookupError, RuntimeError, pa.ArrowException)
"""What Lance and Arrow raise for a file that is not as it should be."""


def newest_commit(paths: StorePaths, uri: str) -> int:
    """Return the newest version that is known to have been committed to a table, 0 when nothing says.

    Lance notes a version's number beside the manifests once the manifest is there, and names a transaction by the
    version that it was made from. Ask this before the table is opened: what is committed meanwhile is newer.

    Raises:
        OSError: the store cannot be read.
    """
    files, base = paths.reach.file_system(uri)
    known = [0]
    try:
        with files.open_input_stream(f"{base}/{_MANIFESTS}/{_HINT}") as hint:
            known.append(int(json.loads(hint.read())["version"]))
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        log.debug("a table has no note of its newest version")
    found = files.get_file_info(fs.FileSelector(f"{base}/{_TRANSACTIONS}", allow_not_found=True))
    known += [int(number) for entry in found if (number := entry.base_name.partition("-")[0]).isdecimal()]
    return max(known)


def check_nothing_lost(version: int, *, committed: int) -> None:
    """Refuse a table whose newest version is older than one that was committed.

    Args:
        version: The newest that the table has.
        committed: What `newest_commit` said before it was opened.

    Raises:
        DataLossError: STORE_DAMAGED.
    """
    if version < committed:
        msg = f"version {committed} of the table was committed and is gone; the newest left is {version}"
        raise DataLossError(msg, reason="STORE_DAMAGED", metadata={"version": str(version)})


def as_store_error(error: BaseException, paths: StorePaths, uri: str) -> IsthmusError:
    """Return what an error of reading a table means to a caller.

    A store that answers for every manifest of the table and still cannot be read is damaged. Any other is taken to be
    out of reach, and may be well again at the next attempt.
    """
    if isinstance(error, IsthmusError):
        return error
    if isinstance(error, _READING) and _answers(paths, uri):
        msg = "the collection's store is damaged"
        return DataLossError(msg, reason="STORE_DAMAGED")
    msg = "the collection's store cannot be read"
    return UnavailableError(msg, reason="BACKEND_UNAVAILABLE", retry_after_s=1.0)


def _answers(paths: StorePaths, uri: str) -> bool:
    try:
        files, base = paths.reach.file_system(uri)
        found = files.get_file_info(fs.FileSelector(f"{base}/{_MANIFESTS}"))
        for entry in found:
            with files.open_input_stream(entry.path) as manifest:
                manifest.read(1)
    except OSError:
        return False
    return bool(found)
