"""Hubness correction by item offsets, on top of any aligner.

Some items are near to everything. CSLS (Conneau et al. 2018, "Word translation without parallel data", eq. 5) scores
2 s(q, x) - r(q) - r(x), r the mean similarity to the nearest k of the other side. r(q) changes no ranking of one query
and r(x) is fixed when the item is indexed, so it costs an inner product and one coordinate for each query modality:

    item rows [x, -r_image(x)/2, -r_text(x)/2],   image queries [q, 1, 0],   text queries [q, 0, 1]

where r_p(x) is the mean cosine of x to its nearest 10 among a sample of modality p from the fit. (The split by query
modality is a reconstruction.) It is not monotone inside a modality: it is judged like an aligner, not like the merge.

Tensors: `hubness.image` (s, k) and `hubness.text` (t, k) float16, aligned unit rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from isthmus.core.errors import ArtefactError, NotEnoughItemsError
from isthmus.core.modality import Modality

if TYPE_CHECKING:
    from isthmus.core.aligners.artefact import Tensor, Tensors

__all__ = ["HUBNESS_NEIGHBOURS", "HUBNESS_SAMPLE_MAX", "ItemOffsets", "split_tensors"]

HUBNESS_NEIGHBOURS: Final = 10
"""Nearest sample vectors that an offset is the mean of."""
HUBNESS_SAMPLE_MAX: Final = 1_000
"""Sample vectors a modality."""

_PREFIX: Final = "hubness."
_SAME: Final = 0.999
"""Cosine from which a sample vector is taken for the item itself."""
_BLOCK_ROWS: Final = 1_024


@dataclass(frozen=True, kw_only=True)
class ItemOffsets:
    """The samples that offsets are measured against.

    Raises:
        NotEnoughItemsError: A sample holds fewer than 11 vectors.
    """

    samples: Mapping[Modality, NDArray[np.float32]]
    """(s, k) aligned unit rows each."""

    def __post_init__(self) -> None:
        """Check that there are neighbours to speak of."""
        least = min(len(sample) for sample in self.samples.values())
        if least <= HUBNESS_NEIGHBOURS:
            msg = f"hubness: {least} vectors of a modality to measure against, at least {HUBNESS_NEIGHBOURS + 1}"
            raise NotEnoughItemsError(msg)

    @classmethod
    def from_tensors(cls, tensors: Tensors, *, dimension: int) -> ItemOffsets:
        """Read them from the `hubness.` tensors of an artefact, named without that prefix.

        Raises:
            ArtefactError: One is missing or of another dimension.
        """
        if tensors.keys() != set(Modality) or any(
            value.ndim != 2 or value.shape[1] != dimension  # noqa: PLR2004
            for value in tensors.values()
        ):
            msg = f"tensors: hubness needs hubness.image and hubness.text of dimension {dimension}"
            raise ArtefactError(msg)
        return cls(samples={modality: tensors[modality].astype(np.float32) for modality in Modality})

    def to_tensors(self) -> dict[str, NDArray[np.float16]]:
        """Return the tensors by name."""
        return {f"{_PREFIX}{modality}": sample.astype(np.float16) for modality, sample in self.samples.items()}

    def offsets(self, aligned: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return r, (n, 2) float32 for (n, k) unit rows: against the images, then against the texts.

        A sample vector that is the row itself does not count: it would make the items of the fit look like hubs.
        """
        found = np.empty((len(aligned), len(Modality)), dtype=np.float32)
        for start in range(0, len(aligned), _BLOCK_ROWS):
            rows = slice(start, start + _BLOCK_ROWS)
            for column, modality in enumerate(Modality):
                scores = aligned[rows] @ self.samples[modality].T
                same = (scores >= _SAME).sum(axis=1)
                depth = min(HUBNESS_NEIGHBOURS + int(same.max(initial=0)), scores.shape[1])
                best = -np.sort(np.partition(-scores, depth - 1, axis=1)[:, :depth], axis=1)
                ranks = np.arange(depth)
                counted = (ranks >= same[:, None]) & (ranks < same[:, None] + HUBNESS_NEIGHBOURS)
                # Where everything is the row itself, it counts after all: a hub if ever there was one.
                counted[~counted.any(axis=1)] = True
                found[rows, column] = (best * counted).sum(axis=1) / counted.sum(axis=1)
        return found

    def item_rows(self, aligned: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return (n, k + 2): what an inner-product index holds for (n, k) aligned rows."""
        return np.concatenate([aligned, -0.5 * self.offsets(aligned)], axis=1)

    def query_rows(self, aligned: NDArray[np.float32], modality: Modality) -> NDArray[np.float32]:
        """Return (n, k + 2): what an inner-product index is asked with for (n, k) aligned rows of `modality`."""
        chosen = np.array([modality is column for column in Modality], dtype=np.float32)
        return np.concatenate([aligned, np.broadcast_to(chosen, (len(aligned), len(chosen)))], axis=1)


def split_tensors(tensors: Tensors) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return the tensors of the method itself, and those of a hubness correction without their prefix."""
    own = {name: value for name, value in tensors.items() if not name.startswith(_PREFIX)}
    return own, {name.removeprefix(_PREFIX): value for name, value in tensors.items() if name.startswith(_PREFIX)}
