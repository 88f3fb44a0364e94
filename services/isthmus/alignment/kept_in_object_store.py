"""Artefacts in an object store, for any number of processes at a time.

    <root>/<tenant>/<aligner_id>/<revision>/   manifest.json, aligner.safetensors
    <root>/<tenant>/<aligner_id>/arrivals/     an object without content a revision: TIME~REVISION~REQUEST

Nothing is ever replaced by anything else: a revision is the digest of its files, so whoever writes them writes the
same, and an arrival has a name of its own. The arrival is written last; without it nothing has arrived.
"""

from __future__ import annotations

import time
from typing import Final

from pyarrow import fs

from isthmus.alignment.kept import Arrival
from isthmus.alignment.store_errors import store_errors
from isthmus.core.aligners import MANIFEST_MAX_BYTES, MANIFEST_NAME, TENSORS_MAX_BYTES, TENSORS_NAME, Artefact
from isthmus.core.errors import ArtefactError
from isthmus.runtime.base.object_store import ObjectStore

__all__ = ["KeptInObjectStore"]

_ARRIVALS: Final = "arrivals"
_SEPARATOR: Final = "~"  # occurs in no revision and no request id
_TIME_DIGITS: Final = 20


class KeptInObjectStore:
    """`KeptArtefacts` in an object store.

    Args:
        uri: Where.
        reach: How it is reached.

    Raises:
        UnavailableError: BACKEND_UNAVAILABLE; it cannot be reached.
    """

    def __init__(self, uri: str, *, reach: ObjectStore) -> None:
        with store_errors():
            self._files, self._root = reach.file_system(uri)

    def names(self, tenant: str) -> set[str]:
        """Return the names of the tenant's aligners."""
        found = self._list(f"{self._root}/{tenant}")
        return {entry.base_name for entry in found if entry.type == fs.FileType.Directory}

    def arrivals(self, tenant: str, aligner_id: str) -> list[Arrival]:
        """Return the revisions of an aligner as they came; of one that came twice at once, the first.

        Raises:
            ArtefactError: The list is damaged.
        """
        arrivals: dict[str, Arrival] = {}
        for name in self._arrival_names(tenant, aligner_id):
            try:
                _, revision, request_id = name.split(_SEPARATOR)
            except ValueError as error:
                msg = "aligner: the list of its revisions is damaged"
                raise ArtefactError(msg) from error
            arrivals.setdefault(revision, Arrival(revision=revision, request_id=request_id))
        return list(arrivals.values())

    def load(self, tenant: str, aligner_id: str, revision: str) -> Artefact:
        """Return an artefact that has arrived, verified.

        Raises:
            ArtefactError: It is damaged.
        """
        home = f"{self._root}/{tenant}/{aligner_id}/{revision}"
        artefact = Artefact.from_bytes(
            self._read(f"{home}/{MANIFEST_NAME}", MANIFEST_MAX_BYTES),
            self._read(f"{home}/{TENSORS_NAME}", TENSORS_MAX_BYTES),
        )
        if artefact.revision != revision:
            msg = "artefact: its revision is not the expected one"
            raise ArtefactError(msg)
        return artefact

    def keep(self, tenant: str, artefact: Artefact, *, request_id: str) -> None:
        """Keep an artefact, durably.

        Raises:
            UnavailableError: BACKEND_UNAVAILABLE; the store did not confirm it.
        """
        name, revision = artefact.manifest.aligner_id, artefact.revision
        home = f"{self._root}/{tenant}/{name}"
        manifest, tensors = artefact.to_bytes()
        self._write(f"{home}/{revision}/{MANIFEST_NAME}", manifest)
        self._write(f"{home}/{revision}/{TENSORS_NAME}", tensors)
        known = self._arrival_names(tenant, name)
        if any(arrival.split(_SEPARATOR)[1:2] == [revision] for arrival in known):
            return
        # Never before one that is there already, whatever the clocks of two machines say.
        stamp = max(time.time_ns() // 1000, *(_stamp(arrival) + 1 for arrival in known), 0)
        arrival = _SEPARATOR.join((f"{stamp:0{_TIME_DIGITS}d}", revision, request_id))
        self._write(f"{home}/{_ARRIVALS}/{arrival}", b"")

    def _arrival_names(self, tenant: str, aligner_id: str) -> list[str]:
        found = self._list(f"{self._root}/{tenant}/{aligner_id}/{_ARRIVALS}")
        return sorted(entry.base_name for entry in found if entry.type == fs.FileType.File)

    def _list(self, folder: str) -> list[fs.FileInfo]:
        with store_errors():
            found: list[fs.FileInfo] = self._files.get_file_info(fs.FileSelector(folder, allow_not_found=True))
            return found

    def _read(self, path: str, limit: int) -> bytes:
        with store_errors():
            try:
                with self._files.open_input_file(path) as file:
                    if file.size() > limit:
                        msg = f"artefact: a file of {file.size()} bytes, at most {limit}"
                        raise ArtefactError(msg)
                    data: bytes = file.read()
            except FileNotFoundError as error:
                msg = "artefact: a file is missing"
                raise ArtefactError(msg) from error
        return data

    def _write(self, path: str, data: bytes) -> None:
        with store_errors(), self._files.open_output_stream(path) as file:
            file.write(data)


def _stamp(arrival: str) -> int:
    stamp = arrival.partition(_SEPARATOR)[0]
    return int(stamp) if stamp.isdigit() else 0
