"""What is known of one watched collection: its latest figures and its proposals, in memory and on disk."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Self

from isthmus.alignment.watching.documents import Documents
from isthmus.alignment.watching.proposals import Proposal
from isthmus.core.watch import WatchFigures

__all__ = ["CollectionWatch", "FigureBook"]

log = logging.getLogger("isthmus.alignment")

_FIGURES: Final = "figures.json"
_NOT_YET: Final = "nobody has looked yet"


@dataclass(frozen=True, kw_only=True)
class CollectionWatch:
    """The latest look at a collection."""

    collection: str
    uid: str = ""
    """Of the collection; empty when it is not known yet."""
    aligner: str = ""
    """The aligner that was active then; empty for none."""
    revision: int = 0
    """Of the collection; 0 when nobody has looked yet."""
    time_micros: int = 0
    figures: WatchFigures | None = None
    unmeasured: str = _NOT_YET
    """Why there are no figures; empty when there are."""
    proposals: tuple[Proposal, ...] = field(default=(), compare=False)
    """All of them, oldest first."""

    @property
    def open_proposals(self) -> tuple[Proposal, ...]:
        """Those that nobody has acted on."""
        return tuple(one for one in self.proposals if one.is_open)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values, without the proposals."""
        figures: Mapping[str, Any] = {} if self.figures is None else self.figures.to_dict()
        return {
            "collection": self.collection,
            "aligner": self.aligner,
            "revision": self.revision,
            "time_micros": self.time_micros,
            "unmeasured": self.unmeasured,
            **figures,
        }

    @classmethod
    def from_dict(cls, document: Mapping[str, Any], *, uid: str) -> Self:
        """Read what `to_dict` wrote.

        Raises:
            KeyError, TypeError, ValueError: It is something else.
        """
        return cls(
            collection=document["collection"],
            uid=uid,
            aligner=document["aligner"],
            revision=document["revision"],
            time_micros=document["time_micros"],
            unmeasured=document["unmeasured"],
            figures=None if document["unmeasured"] else WatchFigures.from_dict(document),
        )


class FigureBook:
    """The latest figures of all collections, so that a restart does not forget them. Blocking.

    Args:
        documents: Where they are kept.
    """

    def __init__(self, documents: Documents) -> None:
        self._documents = documents

    def kept(self) -> list[tuple[str, str]]:
        """Return tenant and name of every collection that something is kept of."""
        return [(tenant, name) for tenant in self._documents.names("") for name in self._documents.names(tenant)]

    def load(self, tenant: str, collection: str) -> CollectionWatch | None:
        """Return what was known of a collection; None when nothing was, or it cannot be read."""
        data = self._documents.read(f"{tenant}/{collection}/{_FIGURES}")
        if data is None:
            return None
        try:
            document = json.loads(data)
            return CollectionWatch.from_dict(document, uid=document["uid"])
        except (AttributeError, KeyError, TypeError, ValueError):
            log.warning("the figures of a collection cannot be read; they are taken anew")
            return None

    def save(self, tenant: str, watch: CollectionWatch) -> None:
        """Keep the figures; a later look replaces them."""
        document = watch.to_dict() | {"uid": watch.uid}
        path = f"{tenant}/{watch.collection}/{_FIGURES}"
        self._documents.write(path, json.dumps(document, sort_keys=True).encode())
