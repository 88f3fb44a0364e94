"""Artefacts in a folder, for one process at a time.

<folder>/<tenant>/<aligner_id>/<revision>/   manifest.json, aligner.safetensors: whole or not there, never changed
<folder>/<tenant>/<aligner_id>/arrivals.json the revisions as they came, with the request that brought each
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from isthmus.alignment.kept import Arrival
from isthmus.core.aligners import Artefact
from isthmus.core.errors import ArtefactError

__all__ = ["KeptInFolder"]

_ARRIVALS_NAME: Final = "arrivals.json"


class KeptInFolder:
    """`KeptArtefacts` in a folder.

    Args:
        folder: Made when absent.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()

    def names(self, tenant: str) -> set[str]:
        """Return the names of the tenant's aligners."""
        own = self._folder / tenant
        return {path.name for path in own.iterdir() if path.is_dir()} if own.is_dir() else set()

    def arrivals(self, tenant: str, aligner_id: str) -> list[Arrival]:
        """Return the revisions of an aligner as they came.

        Raises:
            ArtefactError: The list is damaged.
        """
        try:
            text = (self._home(tenant, aligner_id) / _ARRIVALS_NAME).read_text()
        except FileNotFoundError:
            return []
        try:
            return [Arrival(**entry) for entry in json.loads(text)]
        except (TypeError, ValueError) as error:
            msg = "aligner: the list of its revisions is damaged"
            raise ArtefactError(msg) from error

    def load(self, tenant: str, aligner_id: str, revision: str) -> Artefact:
        """Return an artefact that has arrived, verified.

        Raises:
            ArtefactError: It is damaged.
        """
        return Artefact.load(self._home(tenant, aligner_id) / revision, expected_revision=revision)

    def keep(self, tenant: str, artefact: Artefact, *, request_id: str) -> None:
        """Keep an artefact, durably.

        Raises:
            OSError: The folder cannot be written.
        """
        name, revision = artefact.manifest.aligner_id, artefact.revision
        with self._lock:
            arrivals = self.arrivals(tenant, name)
            home = self._home(tenant, name)
            known = any(arrival.revision == revision for arrival in arrivals)
            try:
                artefact.save(home / revision)
            except FileExistsError:
                # Damaged since, or cut off by a crash before it was promised: what came now verifies, that does not.
                shutil.rmtree(home / revision)
                artefact.save(home / revision)
            if not known:
                _write_arrivals(home, [*arrivals, Arrival(revision=revision, request_id=request_id)])

    def _home(self, tenant: str, aligner_id: str) -> Path:
        return self._folder / tenant / aligner_id


def _write_arrivals(home: Path, arrivals: Sequence[Arrival]) -> None:
    """Replace the list in one step, so that a reader and a crash see the old one or the new one."""
    text = json.dumps([vars(arrival) for arrival in arrivals], indent=2) + "\n"
    with tempfile.NamedTemporaryFile("w", dir=home, prefix=f".{_ARRIVALS_NAME}-", delete=False) as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    Path(file.name).replace(home / _ARRIVALS_NAME)
    descriptor = os.open(home, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
