"""All records of all sources as one stream of items, with what was refused on the way counted."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from isthmus.cli.sources.record import Record, Refused, Source
from isthmus.client import Item

__all__ = ["Feed"]


class Feed:
    """Iterates over the items of sources.

    Args:
        sources: Read one after the other.
        on_refused: Called with everything that is no item.

    Attributes:
        refused: What was no item, in the order found.
    """

    def __init__(self, sources: Sequence[Source], *, on_refused: Callable[[Refused], None] = lambda _: None) -> None:
        self._sources = sources
        self._on_refused = on_refused
        self.refused: list[Refused] = []

    def __iter__(self) -> Iterator[Item]:
        """Yield each item once: an id that occurs again in the same run would hide the item before it."""
        seen: set[str] = set()
        for source in self._sources:
            for record in source.records():
                checked = self._check(record, seen)
                if isinstance(checked, Refused):
                    self.refused.append(checked)
                    self._on_refused(checked)
                else:
                    yield checked

    @staticmethod
    def _check(record: Record, seen: set[str]) -> Record:
        if isinstance(record, Refused):
            return record
        if record.id in seen:
            return Refused(record.id, "DUPLICATE_ITEM_ID", "the id occurs twice in the sources")
        seen.add(record.id)
        return record
