"""Hubness correction by item offsets and query locations, on top of any aligner.

Some items are near to everything, and some queries are near to everything of one modality. CSLS (Conneau et al. 2018,
"Word translation without parallel data", eq. 5) scores 2 s(q, x) - r(q) - r(x), r the mean similarity to the nearest
10 of the other side. Here, with p the modality of the query and m that of the item,

    score = s(q, x) - r_p(x) / 2 - l_m(q) / 4

where r_p(x) is the mean cosine of x to its nearest 10 and l_m(q) that of q to its nearest 3 among a sample of modality
p, or m, from the fit. r changes rankings, so it is judged like an aligner. l is one number a query and modality: it
changes no ranking inside a modality, only how the two are merged. Both fit into an inner product:

    item rows  [x, -r_image(x)/2, -r_text(x)/2, [m = image], [m = text]],
    query rows [q, [p = image], [p = text], -l_image(q)/4, -l_text(q)/4].

(The split by modality, l and its weight are a reconstruction.)

Tensors: `hubness.image` (s, k) and `hubness.text` (t, k) float16, aligned unit rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from isthmus.core.checkpoint import checkpoint
from isthmus.core.errors import ArtefactError, NotEnoughItemsError
from isthmus.core.modality import Modality

if TYPE_CHECKING:
    from isthmus.core.aligners.artefact import Tensor, Tensors

__all__ = ["HUBNESS_NEIGHBOURS", "HUBNESS_SAMPLE_MAX", "LOCATION_NEIGHBOURS", "ItemOffsets", "split_tensors"]

HUBNESS_NEIGHBOURS: Final = 10
"""Nearest sample vectors that an offset is the mean of."""
LOCATION_NEIGHBOURS: Final = 3
"""Nearest sample vectors that a query's location is the mean of."""
HUBNESS_SAMPLE_MAX: Final = 1_000
"""Sample vectors a modality."""

_LOCATION_WEIGHT: Final = 0.25
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

    @property
    def extra_dimension(self) -> int:
        """How many coordinates they add."""
        return 2 * len(self.samples)

    def item_rows(self, aligned: NDArray[np.float32], modality: Modality) -> NDArray[np.float32]:
        """Return (n, k + 4): what an inner-product index holds for (n, k) aligned rows of `modality`."""
        offsets = np.stack([-0.5 * self.nearest_mean(aligned, m, count=HUBNESS_NEIGHBOURS) for m in Modality], axis=1)
        return np.concatenate([aligned, offsets, _indicator(modality, len(aligned))], axis=1)

    def query_rows(self, aligned: NDArray[np.float32], modality: Modality) -> NDArray[np.float32]:
        """Return (n, k + 4): what an inner-product index is asked with for (n, k) aligned rows of `modality`."""
        locations = [-_LOCATION_WEIGHT * self.nearest_mean(aligned, m, count=LOCATION_NEIGHBOURS) for m in Modality]
        return np.concatenate([aligned, _indicator(modality, len(aligned)), np.stack(locations, axis=1)], axis=1)

    def nearest_mean(self, aligned: NDArray[np.float32], modality: Modality, *, count: int) -> NDArray[np.float32]:
        """Return (n,) mean cosines of (n, k) unit rows to their nearest `count` in the sample of `modality`.

        A sample vector that is the row itself does not count: it would make the items of the fit look like hubs.
        """
        sample = self.samples[modality]
        found = np.empty(len(aligned), dtype=np.float32)
        for start in range(0, len(aligned), _BLOCK_ROWS):
            checkpoint()
            scores = aligned[start : start + _BLOCK_ROWS] @ sample.T
            same = (scores >= _SAME).sum(axis=1)
            depth = min(count + int(same.max(initial=0)), scores.shape[1])
            best = -np.sort(np.partition(-scores, depth - 1, axis=1)[:, :depth], axis=1)
            ranks = np.arange(depth)
            counted = (ranks >= same[:, None]) & (ranks < same[:, None] + count)
            # Where everything is the row itself, it counts after all: a hub if ever there was one.
            counted[~counted.any(axis=1)] = True
            found[start : start + len(scores)] = (best * counted).sum(axis=1) / counted.sum(axis=1)
        return found


def _indicator(modality: Modality, count: int) -> NDArray[np.float32]:
    """Return (count, 2) rows that say which modality they are of."""
    row = np.array([modality is column for column in Modality], dtype=np.float32)
    return np.broadcast_to(row, (count, len(row)))


def split_tensors(tensors: Tensors) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return the tensors of the method itself, and those of a hubness correction without their prefix."""
    own = {name: value for name, value in tensors.items() if not name.startswith(_PREFIX)}
    return own, {name.removeprefix(_PREFIX): value for name, value in tensors.items() if name.startswith(_PREFIX)}
