"""Was every item a register? Histories of reads and writes that overlap, and a search for an order that explains them.

The check is Wing and Gong's, with Lowe's memo of states seen ("Testing for linearizability", 2017): an item's history
is explained when its operations can be put in one order in which each read sees the write before it, and in which no
operation comes before one that had ended when it began. An operation that failed may have happened, at any later time,
or never.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

__all__ = ["Operation", "unexplained_items"]


@dataclass(frozen=True, slots=True)
class Operation:
    """One call that concerned one item.

    Attributes:
        item: Its id.
        kind: What was done.
        value: What was written, or what was read; None for no item.
        begin: When it was sent.
        end: When it was answered; infinite for one that failed.
    """

    item: str
    kind: Literal["read", "write"]
    value: int | None
    begin: float
    end: float = math.inf


def unexplained_items(history: Iterable[Operation]) -> list[str]:
    """Return the items whose operations no order explains; every item is absent at first."""
    by_item: dict[str, list[Operation]] = defaultdict(list)
    for operation in history:
        # A read that failed says nothing.
        if operation.kind == "write" or operation.end < math.inf:
            by_item[operation.item].append(operation)
    return sorted(item for item, operations in by_item.items() if not _is_explained(operations))


def _is_explained(operations: Sequence[Operation]) -> bool:
    must = frozenset(number for number, operation in enumerate(operations) if operation.end < math.inf)
    seen: set[tuple[frozenset[int], int | None]] = set()
    pending: list[tuple[frozenset[int], int | None]] = [(frozenset(range(len(operations))), None)]
    while pending:
        state = pending.pop()
        if state in seen:
            continue
        seen.add(state)
        left, value = state
        if not left & must:
            return True
        # Whatever comes next began before every operation that is left had ended.
        due = min(operations[number].end for number in left)
        for number in left:
            operation = operations[number]
            if operation.begin > due:
                continue
            if operation.kind == "write":
                pending.append((left - {number}, operation.value))
            elif operation.value == value:
                pending.append((left - {number}, value))
    return False
