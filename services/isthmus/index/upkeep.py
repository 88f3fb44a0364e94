"""What keeps a collection's table small and quick: folding, merging of files, removal of old versions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from isthmus.index.config import IndexConfig
from isthmus.index.epoch import WriterEpoch
from isthmus.index.state import CollectionState
from isthmus.index.store import EventTable

__all__ = ["Tended", "tend"]

_DEAD_MIN_COUNT: Final = 256
_DEAD_SHARE: Final = 0.25
"""Events that count no more, over items: what a table may hold beside its items before it is folded."""
_ANSWERS_SHARE: Final = 1 / 16
"""The same over remembered answers, which every fold writes again."""


@dataclass(frozen=True, slots=True)
class Tended:
    """What was done.

    Attributes:
        folded_events: That were taken out.
        merged_fragments: That were merged away.
    """

    folded_events: int
    merged_fragments: int


def tend(table: EventTable, state: CollectionState, *, epoch: WriterEpoch, config: IndexConfig) -> Tended:
    """Fold when that is worth it, merge small files, remove old versions; blocks, and may run beside commits.

    A fold reads the numbers of every event and writes again the files that lost much, so it waits until the events that
    count no more are a quarter as many as the items.

    Raises:
        OSError: the store refused; nothing is lost, and the next time tries again.
        SupersededError: another writer has taken the store.
    """
    items, remembered = len(state.items), len(state.answers)
    least_dead = max(_DEAD_MIN_COUNT, int(_DEAD_SHARE * items), int(_ANSWERS_SHARE * remembered))
    folded = 0
    if table.view().rows - items >= least_dead:
        folded = table.fold(request_ids_count=config.request_ids_count, least_dead=least_dead)
    merged = table.maintain(fan_out=config.compact_fan_out, keep_versions_s=config.keep_versions_s)
    if folded:
        # The version of the last claim is kept for ever, and with it the files as they were before the fold.
        table.claim(check=epoch.check, pin=epoch.pin)
    return Tended(folded, merged)
