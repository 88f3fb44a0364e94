"""What became of the items of an `isthmus index`."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import Final

from isthmus.cli.output import facts, note, print_table, table
from isthmus.cli.sources.record import Refused
from isthmus.client import UpsertAck

__all__ = ["Tally"]

_REFUSALS_SHOWN_COUNT: Final = 10
_REFUSALS_KEPT_COUNT: Final = 1000


@dataclass(slots=True)
class Tally:
    """Counts, and the first refusals."""

    revision: int
    """Of the collection."""
    created: int = 0
    """Items that were not there before."""
    updated: int = 0
    """Items that replaced another version."""
    unchanged: int = 0
    """Items that were stored just so already."""
    refused: int = 0
    """Items that are not stored."""
    truncated: int = 0
    """Texts that were cut to the model's context."""
    refusals: list[Refused] = field(default_factory=list)
    """The first of the refused."""

    @property
    def stored(self) -> int:
        """Items that are in the collection now."""
        return self.created + self.updated + self.unchanged

    def add(self, ack: UpsertAck) -> None:
        """Count an acknowledgement."""
        self.created += ack.created
        self.updated += ack.updated
        self.unchanged += ack.unchanged
        self.revision = max(self.revision, ack.revision)
        self.truncated += len(ack.truncated)
        for error in ack.errors:
            self.refuse(Refused(error.id, error.reason, error.message))

    def refuse(self, refused: Refused) -> None:
        """Count a refusal."""
        self.refused += 1
        if len(self.refusals) < _REFUSALS_KEPT_COUNT:
            self.refusals.append(refused)

    def document(self, seconds: float) -> dict[str, object]:
        """Return everything as JSON."""
        return {
            "items": self.stored + self.refused,
            "created": self.created,
            "updated": self.updated,
            "unchanged": self.unchanged,
            "refused": self.refused,
            "truncated": self.truncated,
            "revision": self.revision,
            "seconds": round(seconds, 3),
            "refusals": [{"id": r.id, "reason": r.reason, "message": r.message} for r in self.refusals],
        }

    def show(self, collection: str, seconds: float) -> None:
        """Print everything for a person."""
        items = self.stored + self.refused
        facts(
            [
                ("collection", f"{collection}, revision {self.revision}"),
                ("created", self.created),
                ("updated", self.updated),
                ("unchanged", self.unchanged),
                ("refused", self.refused),
                ("time", f"{seconds:.1f} s, {items / max(seconds, 1e-9):.0f} items/s"),
            ]
        )
        if self.truncated:
            note(f"{self.truncated} texts were cut to the model's context")
        if self.refusals:
            first = itertools.islice(self.refusals, _REFUSALS_SHOWN_COUNT)
            print_table(table("refused", "reason", "message"), ((r.id, r.reason, r.message) for r in first))
        if self.refused > _REFUSALS_SHOWN_COUNT:
            note(f"and {self.refused - _REFUSALS_SHOWN_COUNT} more; --json lists the first {_REFUSALS_KEPT_COUNT}")
