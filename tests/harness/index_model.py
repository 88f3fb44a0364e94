"""What the index promises, as a dictionary and one loop over all of it: the specification that answers are held to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from isthmus.core.aligners import Aligner
from isthmus.core.modality import Modality
from isthmus.runtime.base.digests import AttributeScalar
from isthmus.runtime.base.filters import Filter
from tests.unit.index.filter_model import holds

__all__ = ["Asked", "IndexModel", "Stored"]


@dataclass(frozen=True)
class Stored:
    """An item: what it is found by, and what is asked of it."""

    modality: Modality
    vector: bytes
    """Its raw vector, float32: bytes compare as a whole."""
    pair_key: str
    attributes: Mapping[str, AttributeScalar]

    @property
    def row(self) -> NDArray[np.float32]:
        """Its raw vector, (d,)."""
        return np.frombuffer(self.vector, dtype=np.float32)


@dataclass(frozen=True)
class Asked:
    """A search: weighted raw vectors with their modalities, and which items may answer it."""

    examples: Sequence[tuple[Modality, NDArray[np.float32], float]]
    modality: Modality | None
    where: Filter | None
    by_pair_key: bool
    excluded: frozenset[str]


@dataclass
class IndexModel:
    """A collection of one raw space."""

    items: dict[str, Stored] = field(default_factory=dict)
    aligner: Aligner | None = None
    revision: int = 1

    def upsert(self, given: Mapping[str, Stored]) -> None:
        """Store items; what changes nothing is no revision."""
        self.revision += any(self.items.get(item_id) != item for item_id, item in given.items())
        self.items |= given

    def delete(self, ids: Iterable[str]) -> int:
        """Delete items; return how many there were."""
        count = sum(self.items.pop(item_id, None) is not None for item_id in ids)
        self.revision += bool(count)
        return count

    def answers(self, asked: Asked) -> list[tuple[str, float]]:
        """Return all answers with their scores, best first."""
        rows = [weight * self._unit(row, modality) for modality, row, weight in asked.examples]
        query = np.sum(rows, axis=0) / np.linalg.norm(np.sum(rows, axis=0))
        scores = {
            item_id: float((self._unit(item.row, item.modality) * query).sum())
            for item_id, item in self.items.items()
            if item_id not in asked.excluded
            and asked.modality in {None, item.modality}
            and (asked.where is None or holds(asked.where, item.attributes))
        }
        found, keys = [], set[str]()
        for item_id in sorted(scores, key=lambda key: (-scores[key], self.items[key].modality is Modality.TEXT, key)):
            key = self.items[item_id].pair_key
            if not (asked.by_pair_key and key and key in keys):
                found.append((item_id, scores[item_id]))
            keys.add(key)
        return found

    def _unit(self, row: NDArray[np.float32], modality: Modality) -> NDArray[np.float64]:
        aligned = row if self.aligner is None else self.aligner.align(row[None], modality)[0]
        wide: NDArray[np.float64] = aligned.astype(np.float64)
        wide /= np.linalg.norm(wide)
        return wide
