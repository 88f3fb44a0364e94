"""What was active in a collection, for people: who is active, since when, and what was forced and why."""

from __future__ import annotations

import dataclasses
from typing import Final

from isthmus.cli.output import facts, note, print_table, table
from isthmus.client import Promotion, PromotionHistory

__all__ = ["history_document", "promotion_document", "show_active", "show_history"]

_KINDS: Final = {"created": "created with the collection", "promoted": "promoted", "rolled_back": "rolled back to"}


def history_document(history: PromotionHistory) -> dict[str, object]:
    """Return a history as `--json` prints it."""
    return {
        "promotions": [promotion_document(one) for one in history.promotions],
        "total_count": history.total_count,
    }


def promotion_document(promotion: Promotion) -> dict[str, object]:
    """Return one change of an active aligner as `--json` prints it."""
    return dataclasses.asdict(promotion) | {"time": promotion.time.isoformat(timespec="milliseconds")}


def show_active(history: PromotionHistory) -> None:
    """Print since when what is active now is active, and whether it was forced."""
    active, *_ = history.promotions
    facts([("active since", f"revision {active.revision}, {_time(active)}"), ("how", _how(active))])


def show_history(history: PromotionHistory) -> None:
    """Print what was active, the active one first."""
    print_table(
        table("since revision", "time (UTC)", "aligner", "how", right=("since revision",)),
        ((one.revision, _time(one), one.aligner or "none", _how(one)) for one in history.promotions),
    )
    untold = history.total_count - len(history.promotions)
    if untold:
        note(f"{untold} earlier ones are not shown")


def _time(promotion: Promotion) -> str:
    return f"{promotion.time:%Y-%m-%d %H:%M:%S}"


def _how(promotion: Promotion) -> str:
    how = _KINDS.get(promotion.kind, promotion.kind)
    if promotion.restored_revision:
        how += f", as of revision {promotion.restored_revision}"
    if promotion.override_reason:
        return f"{how}, FORCED: {promotion.override_reason}"
    return f"{how}, unverified" if promotion.unverified else how
