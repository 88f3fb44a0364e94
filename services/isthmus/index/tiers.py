"""Which fragments of a table to write again as one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

__all__ = ["fragments_to_merge"]

_FRAGMENT_MAX_ROWS: Final = 1_000_000
"""A fragment of this size is never merged again."""


def fragments_to_merge(rows: Mapping[int, int], *, fan_out: int) -> set[int]:
    """Choose which fragments to merge into one, so that each row is written again a logarithmic number of times.

    Fragments fall into tiers by size, tier t holding those of fan_out^t rows and more. A tier that holds `fan_out` of
    them is merged into one, with all that is smaller.

    Args:
        rows: Rows of each fragment by its id.
        fan_out: Fragments that make a merge, at least 2.

    Returns:
        Fragment ids; empty when nothing is worth it.
    """
    tiers = {number: _tier(count, fan_out) for number, count in rows.items() if count < _FRAGMENT_MAX_ROWS}
    chosen: set[int] = set()
    for tier in range(max(tiers.values(), default=0) + 1):
        # What is chosen so far will be one fragment, of a tier that its rows decide.
        merged = bool(chosen) and _tier(sum(rows[number] for number in chosen), fan_out) == tier
        if sum(of_fragment == tier for of_fragment in tiers.values()) + merged >= fan_out:
            chosen = {number for number, of_fragment in tiers.items() if of_fragment <= tier}
    return chosen


def _tier(rows: int, fan_out: int) -> int:
    tier = 0
    while rows >= fan_out:
        rows //= fan_out
        tier += 1
    return tier
