"""What a place for tenants' artefacts can do, whatever it is made of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from isthmus.core.aligners import Artefact

__all__ = ["Arrival", "KeptArtefacts"]


@dataclass(frozen=True, kw_only=True)
class Arrival:
    """A revision and the request that brought it."""

    revision: str
    request_id: str


class KeptArtefacts(Protocol):
    """The artefacts that tenants keep. Blocking; for any thread."""

    def names(self, tenant: str) -> set[str]:
        """Return the names of the tenant's aligners."""

    def arrivals(self, tenant: str, aligner_id: str) -> list[Arrival]:
        """Return the revisions of an aligner as they came, oldest first; none when there is no such aligner.

        Raises:
            ArtefactError: The list is damaged.
        """

    def load(self, tenant: str, aligner_id: str, revision: str) -> Artefact:
        """Return an artefact that has arrived, verified.

        Raises:
            ArtefactError: It is damaged.
        """

    def keep(self, tenant: str, artefact: Artefact, *, request_id: str) -> None:
        """Keep an artefact, durably; it has arrived when this returns. A revision arrives once.

        Raises:
            OSError: It cannot be written.
        """
