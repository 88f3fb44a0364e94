"""Where artefacts lie: shipped ones beside this module, the tenants' own under the data directory.

    <folder>/<tenant>/<aligner_id>/<revision>/   manifest.json, aligner.safetensors: whole or not there, never changed
    <folder>/<tenant>/<aligner_id>/arrivals.json the revisions as they came, with the request that brought each

A shipped aligner is every tenant's, read-only, and older than anything a tenant keeps under the same name. Blocking;
call it from a thread.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import tempfile
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from isthmus.core.aligners import MANIFEST_NAME, Artefact, load_aligner
from isthmus.core.errors import ArtefactError

__all__ = ["SHIPPED_FOLDER", "Arrival", "ArtefactStore"]

log = logging.getLogger("isthmus.alignment")

SHIPPED_FOLDER: Final = Path(__file__).parent / "shipped"
"""Artefacts that come with Isthmus."""

_ARRIVALS_NAME: Final = "arrivals.json"
_NOTICE_NAME: Final = "NOTICE"
"""File beside a shipped artefact: one line that a person must know before using it."""


@dataclass(frozen=True, kw_only=True)
class Arrival:
    """A revision and the request that brought it."""

    revision: str
    request_id: str


class ArtefactStore:
    """Artefacts of all tenants.

    Args:
        folder: Made when absent.
        shipped: Folder of folders with artefacts that every tenant sees.

    Raises:
        ArtefactError: A shipped artefact is damaged, or two have one name.
    """

    def __init__(self, folder: Path, *, shipped: Path = SHIPPED_FOLDER) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        found = sorted(shipped.glob(f"*/{MANIFEST_NAME}"))
        artefacts = [Artefact.load(manifest.parent) for manifest in found]
        self._shipped: Mapping[str, Artefact] = {artefact.manifest.aligner_id: artefact for artefact in artefacts}
        if len(self._shipped) < len(artefacts):
            msg = "aligner: two shipped artefacts have one name"
            raise ArtefactError(msg)
        self._notices = {
            artefact.space: (manifest.parent / _NOTICE_NAME).read_text().strip()
            for artefact, manifest in zip(artefacts, found, strict=True)
            if (manifest.parent / _NOTICE_NAME).exists()
        }
        for artefact in artefacts:
            load_aligner(artefact)

    @property
    def shipped(self) -> Sequence[Artefact]:
        """The artefacts that every tenant sees, by name."""
        return tuple(self._shipped.values())

    def notice(self, artefact: Artefact) -> str:
        """Return what a person must know before using a shipped artefact; empty for all others."""
        return self._notices.get(artefact.space, "")

    def names(self, tenant: str) -> list[str]:
        """Return the names of all aligners the tenant sees, sorted."""
        own = self._folder / tenant
        kept = {path.name for path in own.iterdir() if path.is_dir()} if own.is_dir() else set()
        return sorted(kept | self._shipped.keys())

    def newest(self, tenant: str) -> list[Artefact]:
        """Return the newest revision of every aligner the tenant sees, by name.

        An artefact that does not verify is left out, and logged.
        """
        listed = []
        for name in self.names(tenant):
            try:
                artefact = self.find(tenant, name)
            except ArtefactError:
                log.warning("aligner left out of a list: it does not verify")
                continue
            if artefact is not None:
                listed.append(artefact)
        return listed

    def find(self, tenant: str, aligner_id: str, revision: str | None = None) -> Artefact | None:
        """Return one verified artefact, the newest when no revision is given, or None when there is none.

        Raises:
            ArtefactError: It is there and damaged.
        """
        shipped = self._shipped.get(aligner_id)
        if shipped is not None and shipped.revision == revision:
            return shipped
        revisions = [arrival.revision for arrival in self._arrivals(tenant, aligner_id)]
        wanted = revision if revision is not None else (revisions[-1] if revisions else None)
        if wanted is None:
            return shipped
        if wanted not in revisions:
            return None
        return Artefact.load(self._home(tenant, aligner_id) / wanted, expected_revision=wanted)

    def brought_by(self, tenant: str, aligner_id: str, request_id: str) -> str | None:
        """Return the revision that a request brought, or None when it brought none."""
        for arrival in self._arrivals(tenant, aligner_id):
            if arrival.request_id == request_id:
                return arrival.revision
        return None

    def keep(self, tenant: str, artefact: Artefact, *, request_id: str) -> None:
        """Keep an artefact, durably; it becomes the newest of its name. One that is there already changes nothing.

        Raises:
            OSError: The folder cannot be written.
        """
        name, revision = artefact.manifest.aligner_id, artefact.revision
        with self._lock:
            arrivals = self._arrivals(tenant, name)
            if not arrivals and name in self._shipped and self._shipped[name].revision == revision:
                return
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

    def _arrivals(self, tenant: str, aligner_id: str) -> list[Arrival]:
        try:
            text = (self._home(tenant, aligner_id) / _ARRIVALS_NAME).read_text()
        except FileNotFoundError:
            return []
        try:
            return [Arrival(**entry) for entry in json.loads(text)]
        except (TypeError, ValueError) as error:
            msg = "aligner: the list of its revisions is damaged"
            raise ArtefactError(msg) from error


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
