"""Where artefacts lie: shipped ones beside this module, the tenants' own in a folder or in an object store.

A shipped aligner is every tenant's, read-only, and older than anything a tenant keeps under the same name. Blocking;
call it from a thread.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from isthmus.alignment.kept import KeptArtefacts
from isthmus.alignment.kept_in_folder import KeptInFolder
from isthmus.alignment.kept_in_object_store import KeptInObjectStore
from isthmus.core.aligners import MANIFEST_NAME, Artefact, load_aligner
from isthmus.core.errors import ArtefactError
from isthmus.runtime.base.object_store import ObjectStore

__all__ = ["SHIPPED_FOLDER", "ArtefactStore"]

log = logging.getLogger("isthmus.alignment")

SHIPPED_FOLDER: Final = Path(__file__).parent / "shipped"
"""Artefacts that come with Isthmus."""

_NOTICE_NAME: Final = "NOTICE"
"""File beside a shipped artefact: one line that a person must know before using it."""


class ArtefactStore:
    """Artefacts of all tenants.

    Args:
        location: A folder, made when absent, or the URI of a place in an object store.
        reach: How an object store is reached.
        shipped: Folder of folders with artefacts that every tenant sees.

    Raises:
        ArtefactError: A shipped artefact is damaged, or two have one name.
        UnavailableError: BACKEND_UNAVAILABLE; the object store cannot be reached.
    """

    def __init__(
        self, location: Path | str, *, reach: ObjectStore | None = None, shipped: Path = SHIPPED_FOLDER
    ) -> None:
        self._kept: KeptArtefacts = (
            KeptInFolder(location)
            if isinstance(location, Path)
            else KeptInObjectStore(location, reach=reach or ObjectStore())
        )
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
        return sorted(self._kept.names(tenant) | self._shipped.keys())

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
        revisions = [arrival.revision for arrival in self._kept.arrivals(tenant, aligner_id)]
        wanted = revision if revision is not None else (revisions[-1] if revisions else None)
        if wanted is None:
            return shipped
        if wanted not in revisions:
            return None
        return self._kept.load(tenant, aligner_id, wanted)

    def brought_by(self, tenant: str, aligner_id: str, request_id: str) -> str | None:
        """Return the revision that a request brought, or None when it brought none."""
        for arrival in self._kept.arrivals(tenant, aligner_id):
            if arrival.request_id == request_id:
                return arrival.revision
        return None

    def keep(self, tenant: str, artefact: Artefact, *, request_id: str) -> None:
        """Keep an artefact, durably; it becomes the newest of its name. One that is there already changes nothing.

        Raises:
            OSError: The folder cannot be written.
            UnavailableError: BACKEND_UNAVAILABLE; the object store did not confirm it.
        """
        name, revision = artefact.manifest.aligner_id, artefact.revision
        shipped = self._shipped.get(name)
        if shipped is not None and shipped.revision == revision and not self._kept.arrivals(tenant, name):
            return
        self._kept.keep(tenant, artefact, request_id=request_id)
