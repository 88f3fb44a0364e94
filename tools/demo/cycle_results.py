"""What became of an aligner in the demo, as plain values."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from isthmus.client import Neighbor
from tools.demo.colours import Colour

__all__ = ["DEPTHS", "Asked", "Cycle", "cycle_as_json", "found_share", "median_place"]

DEPTHS: Final = (1, 3, 10)
"""Depths at which the searches are counted."""


@dataclass(frozen=True)
class Asked:
    """One name that the mesh was never told, searched among all colours.

    Attributes:
        colour: Whose name.
        neighbors: Every answer as it came, best first.
        rank: 1-based place of the right colour.
    """

    colour: Colour
    neighbors: tuple[Neighbor, ...]
    rank: int


@dataclass(frozen=True)
class Cycle:
    """What became of an aligner.

    Attributes:
        colours: What was indexed.
        gaps: One number a measure, in the space of the active aligner, by collection.
        pair_counts: Pairs measured, by collection.
        too_few: Why nothing can be fitted to the photographs.
        shipped: The aligner that was active at first.
        fitted: The one that was fitted.
        judged_count: Held-out pairs that it was judged on.
        before: Their figures with the shipped aligner.
        after: Their figures with the fitted one.
        guard_reasons: Why the guard refuses it; empty when it does not.
        refusal: What the promotion was answered with; empty when it was not refused.
        override: The recorded reason for promoting it all the same; empty when none was needed.
        asked_before: Searches with the shipped aligner.
        asked_after: The same with the fitted one.
        compared_count: Answers that were compared bit for bit after the rollback.
        seconds: Time of each step, in order.
        page: What held-out pairs say, as the mesh draws it.
    """

    colours: tuple[Colour, ...]
    gaps: Mapping[str, Mapping[str, float | None]]
    pair_counts: Mapping[str, int]
    too_few: str
    shipped: str
    fitted: str
    judged_count: int
    before: Mapping[str, Any]
    after: Mapping[str, Any]
    guard_reasons: tuple[str, ...]
    refusal: str
    override: str
    asked_before: tuple[Asked, ...]
    asked_after: tuple[Asked, ...]
    compared_count: int
    seconds: Mapping[str, float]
    page: str


def found_share(asked: Sequence[Asked], *, top: int) -> float:
    """Return the share of searches, in [0, 1], whose colour is among the first `top`."""
    return sum(one.rank <= top for one in asked) / len(asked)


def median_place(asked: Sequence[Asked]) -> float:
    """Return the median place of the right colour, counted from 1."""
    return statistics.median(one.rank for one in asked)


def cycle_as_json(cycle: Cycle) -> dict[str, object]:
    """Return the cycle as plain JSON values: figures are fractions in [0, 1], times are seconds."""

    def searches(asked: Sequence[Asked]) -> dict[str, float]:
        shares = {f"r{top}": found_share(asked, top=top) for top in DEPTHS}
        return shares | {"median_rank": median_place(asked)}

    return {
        "n": {
            "colours": len(cycle.colours),
            "named": sum(colour.named for colour in cycle.colours),
            "asked": len(cycle.asked_before),
            "judged": cycle.judged_count,
        },
        "gap": {name: dict(gap) for name, gap in cycle.gaps.items()},
        "too_few": cycle.too_few,
        "aligners": {"shipped": cycle.shipped, "fitted": cycle.fitted},
        "before": dict(cycle.before),
        "after": dict(cycle.after),
        "guard": {"ok": not cycle.guard_reasons, "reasons": list(cycle.guard_reasons)},
        "refusal": cycle.refusal,
        "override": cycle.override,
        "search": {"before": searches(cycle.asked_before), "after": searches(cycle.asked_after)},
        "rollback": {"identical": True, "answers": cycle.compared_count},
        "timings_s": dict(cycle.seconds),
    }
