"""Which aligners were active in a collection, since when, and which were forced: read from its events, never kept.

A SETTINGS event says which one a rollback from it returns to. One that says "the one before me" was a promotion; any
other was a rollback itself, to whatever its own predecessor would have returned to.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from isthmus.index.events import Answer, Op
from isthmus.index.model import attributes_from_json
from isthmus.index.store import EventView

__all__ = [
    "OVERRIDE_REASON",
    "PROMOTIONS_MAX_COUNT",
    "UNVERIFIED",
    "Promotion",
    "PromotionHistory",
    "PromotionKind",
    "read_history",
]

PROMOTIONS_MAX_COUNT: Final = 100
"""Changes of the active aligner that are told, newest first."""

OVERRIDE_REASON: Final = "override_reason"
"""Attribute of a SETTINGS event: why the aligner was taken against the guard's word."""
UNVERIFIED: Final = "unverified"
"""Attribute of a SETTINGS event: true when the aligner was taken without a verdict."""

_COLUMNS: Final = ("revision", "op", "time", "space", "attributes", "answer")


class PromotionKind(StrEnum):
    """How an aligner became the active one."""

    CREATED = "created"
    PROMOTED = "promoted"
    ROLLED_BACK = "rolled_back"


@dataclass(frozen=True, slots=True, kw_only=True)
class Promotion:
    """One change of the active aligner."""

    aligner: str
    """`aligner_id@revision`; empty when none was active from then on."""
    revision: int
    """Of the collection, from which it was active."""
    time_us: int
    """When it was committed, in microseconds since 1970."""
    kind: PromotionKind
    override_reason: str = ""
    """Why it was taken against the guard's word. Of a rollback: why what it restored was."""
    unverified: bool = False
    """Whether it was taken without a verdict. Of a rollback: whether what it restored was."""
    restored_revision: int = 0
    """Of a rollback: revision of the change that it restored."""


@dataclass(frozen=True, slots=True)
class PromotionHistory:
    """What was active in a collection.

    Attributes:
        promotions: Newest first, so the active one is the first; at most PROMOTIONS_MAX_COUNT.
        total_count: How many there were in all.
    """

    promotions: tuple[Promotion, ...]
    total_count: int


def read_history(view: EventView) -> PromotionHistory:
    """Read the changes of a collection's active aligner; blocks, and reads no artefact.

    Raises:
        OSError: the table cannot be read.
    """
    rows = [row for batch in view.scan(_COLUMNS, op=Op.SETTINGS) for row in batch.to_pylist()]
    promotions = _promotions(sorted(rows, key=lambda row: int(row["revision"])))
    return PromotionHistory(tuple(reversed(promotions[-PROMOTIONS_MAX_COUNT:])), len(promotions))


def _promotions(rows: Sequence[dict[str, Any]]) -> list[Promotion]:
    """Return the changes that SETTINGS events made, given and returned oldest first."""
    found: list[Promotion] = []
    active: list[Promotion] = []  # the active one last, before it what each further rollback returns to
    for row in rows:
        before = Answer.from_json(row["answer"], op=Op.SETTINGS, revision=row["revision"]).before
        if before is None or before == (active[-1].revision if active else 0):
            noted = attributes_from_json(row["attributes"])[0] if row["attributes"] else {}
            promotion = Promotion(
                aligner=row["space"],
                revision=row["revision"],
                time_us=row["time"],
                kind=PromotionKind.PROMOTED if found else PromotionKind.CREATED,
                override_reason=str(noted.get(OVERRIDE_REASON, "")),
                unverified=noted.get(UNVERIFIED) is True,
            )
        else:
            _, restored = active.pop(), active.pop()
            promotion = Promotion(
                aligner=row["space"],
                revision=row["revision"],
                time_us=row["time"],
                kind=PromotionKind.ROLLED_BACK,
                override_reason=restored.override_reason,
                unverified=restored.unverified,
                restored_revision=restored.restored_revision or restored.revision,
            )
        found.append(promotion)
        active.append(promotion)
    return found
