"""Examples of a query on their way to the searcher."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from isthmus.core.modality import Modality
from isthmus.gateway.domain import Row

__all__ = ["ExampleRow", "ExampleRows", "by_space"]


@dataclass(frozen=True, slots=True)
class ExampleRow:
    """One example, embedded.

    Attributes:
        modality: What it was made from.
        space: Its raw space.
        row: The embedding.
        weight: How much it counts; negative where answers should be unlike it.
    """

    modality: Modality
    space: str
    row: Row
    weight: float


@dataclass(frozen=True, slots=True)
class ExampleRows:
    """Examples of one modality, one raw space and one dimension.

    Attributes:
        modality: What they were made from.
        space: Their raw space.
        rows: Their embeddings.
        weights: As many.
    """

    modality: Modality
    space: str
    rows: Sequence[Row]
    weights: Sequence[float]


def by_space(examples: Sequence[ExampleRow]) -> list[ExampleRows]:
    """Return examples in batches, each of one modality, space and dimension, in the order of their first."""
    batches: dict[tuple[Modality, str, int], list[ExampleRow]] = {}
    for example in examples:
        batches.setdefault((example.modality, example.space, len(example.row.data)), []).append(example)
    return [
        ExampleRows(modality, space, [each.row for each in batch], [each.weight for each in batch])
        for (modality, space, _), batch in batches.items()
    ]
