"""How a collection is split over searcher groups: words that the searcher and those who ask it share.

An item belongs to one shard, by a hash of its id that depends on nothing else: every process, of every version, on
every machine, puts it into the same one. (docs/adr/0036-shards.md)
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

__all__ = ["SHARDS_MAX_COUNT", "WHOLE", "Shard", "shard_of"]

SHARDS_MAX_COUNT: Final = 64
"""Parts that a collection may be split into."""

_HASH_BYTES: Final = 8


def shard_of(item_id: str, count: int) -> int:
    """Return the number of the shard that holds an item, 0 to `count` - 1."""
    digest = hashlib.blake2b(item_id.encode(), digest_size=_HASH_BYTES).digest()
    return int.from_bytes(digest, "little") % count


@dataclass(frozen=True, slots=True)
class Shard:
    """One part of all items.

    Attributes:
        number: Which part, from 0.
        count: Parts there are; 1 means that nothing is split.

    Raises:
        ValueError: there is no such part.
    """

    number: int = 0
    count: int = 1

    def __post_init__(self) -> None:
        """Check that there is such a part."""
        if not 1 <= self.count <= SHARDS_MAX_COUNT:
            msg = f"shard_count must be 1 to {SHARDS_MAX_COUNT}; it is {self.count}"
            raise ValueError(msg)
        if not 0 <= self.number < self.count:
            msg = f"shard_number must be 0 to {self.count - 1}; it is {self.number}"
            raise ValueError(msg)

    @property
    def is_whole(self) -> bool:
        """True where nothing is split."""
        return self.count == 1

    def holds(self, ids: Sequence[str]) -> list[bool]:
        """Return of each item whether it belongs to this part."""
        if self.is_whole:
            return [True] * len(ids)
        return [shard_of(item_id, self.count) == self.number for item_id in ids]


WHOLE: Final = Shard()
"""All items."""
