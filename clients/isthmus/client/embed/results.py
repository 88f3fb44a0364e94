"""What calls for embedding without storing return."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from isthmus.client.results import ItemError, Timings

__all__ = ["EmbedResult", "Embeddings"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Embeddings:
    """Embeddings of one modality, a row for each input that succeeded."""

    space: str
    """`encoder_id@revision`, or `aligner_id@revision` when aligned; empty when there is no row."""
    vectors: NDArray[np.float32]
    """(n, d) float32, rows of unit norm."""
    indexes: NDArray[np.int64]
    """(n,) int64: row i belongs to input number `indexes[i]`."""

    def __len__(self) -> int:
        return len(self.vectors)


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbedResult:
    """Embeddings of inputs. They are numbered as given; images come before texts."""

    images: Embeddings
    """Rows of the images."""
    texts: Embeddings
    """Rows of the texts."""
    errors: tuple[ItemError, ...]
    """One for each input that was refused."""
    truncated: tuple[int, ...]
    """Numbers of the texts that were cut to the model's context."""
    timings: Timings
    """Sums over the messages it took."""

    def vector(self, index: int) -> NDArray[np.float32]:
        """Return the embedding of input number `index`, (d,) float32.

        Raises:
            IsthmusError: that input was refused.
            IndexError: there was no such input.
        """
        for batch in (self.images, self.texts):
            found = np.flatnonzero(batch.indexes == index)
            if found.size:
                row: NDArray[np.float32] = batch.vectors[found[0]]
                return row
        for error in self.errors:
            if error.index == index:
                raise error.to_exception()
        msg = f"there is no input number {index}"
        raise IndexError(msg)

    def raise_for_errors(self) -> None:
        """Do nothing when every input has its row.

        Raises:
            IsthmusError: of the first input that was refused.
        """
        if self.errors:
            raise self.errors[0].to_exception()
